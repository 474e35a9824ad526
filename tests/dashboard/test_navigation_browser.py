"""Ways through the screens in real Chromium: every view is its URL, and the browser's Back goes to the view before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.dashboard import story
from tests.dashboard.driving import PATIENCE, act, chromium, serving, settled, until, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(chromium() is None, reason="NOT TESTED IN A BROWSER: install chromium"),
]
expect.set_options(timeout=PATIENCE)
HELPER = {"range": ["6h"], "service": ["helper"], "status": ["error"]}
AT_HELPER = "traces?range=6h&service=helper&status=error"
Seen = tuple[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "dashboard.log"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[str]:
    """The story, ending a few minutes ago."""
    folder = tmp_path_factory.mktemp("walked") / "data"
    story.fill(folder, time.time_ns() - 100 * story.MINUTE)
    with serving(folder, log) as url:
        yield url


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    tab = browser.new_page()
    yield tab
    tab.close()


def seen(page: Page) -> Seen:
    """The page's name and its query, as they stand in the URL."""
    split = urlsplit(page.evaluate("location.href"))
    return split.path.strip("/"), parse_qs(split.query)


def chips(page: Page) -> set[str]:
    return set(page.locator(".chip > span").all_inner_texts())


def entries(page: Page) -> int:
    return int(page.evaluate("history.length"))


def calm(page: Page) -> None:
    """Settled, and past what the server may still say of the address after a run."""
    settled(page)
    page.wait_for_timeout(500)


def test_the_sidebar_keeps_filters_in_the_url(page: Page, address: str) -> None:
    """Whatever screen is opened from the sidebar or by a key, the URL says the filters that its chips show."""
    visit(page, f"{address}/{AT_HELPER}")
    calm(page)
    ways = {"costs": "Costs", "conversations": "Conversations", "": "Overview", "quality": "Data quality"}
    for name, title in ways.items():
        before = entries(page)
        act(page, page.get_by_role("link", name=title).first.click)
        calm(page)
        assert seen(page) == (name, HELPER)
        assert chips(page) == {"helper", "error"}
        assert entries(page) == before + 1
    link = page.get_by_role("link", name="Review queue").first.get_attribute("href") or ""
    assert parse_qs(urlsplit(link).query) == HELPER
    page.keyboard.press("g")
    act(page, lambda: page.keyboard.press("t"))
    calm(page)
    assert seen(page) == ("traces", HELPER)
    for name in reversed(ways):
        act(page, page.go_back)
        calm(page)
        assert (seen(page), chips(page)) == ((name, HELPER), {"helper", "error"})


def test_back_leaves_a_trace_for_its_list(page: Page, address: str) -> None:
    """A trace is one entry of the history however many of its spans were looked at."""
    visit(page, f"{address}/traces?range=6h&service=helper")
    calm(page)
    before = entries(page)
    act(page, page.get_by_role("link", name="invoke_agent helper").click)
    expect(page.get_by_role("tree")).to_be_visible()
    calm(page)
    first = seen(page)[1]["span"]
    page.keyboard.press("j")
    until(lambda: seen(page)[1]["span"] != first)
    calm(page)
    opened = seen(page)
    assert opened[1] | {"span": []} == {
        "trace": [story.hex_trace(story.AGENT)],
        "range": ["6h"],
        "service": ["helper"],
        "span": [],
    }
    assert entries(page) == before + 1
    act(page, page.go_back)
    calm(page)
    assert (seen(page), chips(page)) == (("traces", {"range": ["6h"], "service": ["helper"]}), {"helper"})
    expect(page.locator("tbody tr")).to_have_count(1)
    act(page, page.go_forward)
    calm(page)
    assert seen(page) == opened


def test_back_undoes_a_change_of_filters(page: Page, address: str) -> None:
    """A tile, a choice in the bar, and all chips cleared at once: each is one entry, and Back restores what was."""
    visit(page, f"{address}/?range=6h")
    calm(page)
    before = entries(page)
    act(page, page.locator("[data-tile='Flagged for review']").click)
    calm(page)
    assert (seen(page), entries(page)) == (("traces", {"range": ["all"], "review": ["flagged"]}), before + 1)
    act(page, page.go_back)
    calm(page)
    assert (seen(page), chips(page)) == (("", {"range": ["6h"]}), set())

    visit(page, f"{address}/{AT_HELPER}")
    calm(page)
    before = entries(page)
    act(page, page.get_by_role("button", name="Clear all").click)
    calm(page)
    assert (seen(page), entries(page)) == (("traces", {"range": ["6h"]}), before + 1)
    page.get_by_role("button", name="Service", exact=True).first.click()
    page.get_by_role("combobox", name="Service").click()
    act(page, page.get_by_role("option", name="support").click)
    calm(page)
    assert (seen(page), entries(page)) == (("traces", {"range": ["6h"], "service": ["support"]}), before + 2)
    page.keyboard.press("Escape")
    act(page, page.go_back)
    calm(page)
    assert (seen(page), chips(page)) == (("traces", {"range": ["6h"]}), set())
    act(page, page.go_back)
    calm(page)
    assert (seen(page), chips(page)) == (("traces", HELPER), {"helper", "error"})


def test_a_link_says_what_its_click_shows(page: Page, address: str) -> None:
    """Ctrl-click on a count opens the same view in a tab as a click does here: same range, same filters."""
    visit(page, f"{address}/costs?range=6h&status=success")
    calm(page)
    under = seen(page)[1]
    count = page.locator("tbody tr a").first
    with page.context.expect_page() as opened:
        count.click(modifiers=["Control"])
    tab = opened.value
    calm(tab)
    there = seen(tab)
    tab.close()
    act(page, count.click)
    calm(page)
    assert seen(page) == there
    assert there[0] == "traces"
    assert there[1].items() > under.items()


def test_what_a_chart_shows_is_in_the_url(page: Page, address: str) -> None:
    """Measure and split of the charts stand in the URL, and a reload draws the same."""
    visit(page, f"{address}/?range=6h")
    calm(page)
    for choice in ("Errors", "Service"):
        act(page, page.get_by_test_id("stButtonGroup").get_by_text(choice, exact=True).click)
    calm(page)
    assert seen(page) == ("", {"range": ["6h"], "measure": ["Errors"], "by": ["Service"]})
    page.reload()
    calm(page)
    assert seen(page) == ("", {"range": ["6h"], "measure": ["Errors"], "by": ["Service"]})
    visit(page, f"{address}/costs?range=6h&cost-by=Key")
    expect(page.get_by_role("heading", name="By key")).to_be_visible()
    calm(page)
    assert seen(page) == ("costs", {"range": ["6h"], "cost-by": ["Key"]})


def test_nothing_is_said_twice_to_a_widget(page: Page, address: str, log: Path) -> None:
    """No widget got both a default and a value: the first of both would win on some pages and lose on others."""
    visit(page, f"{address}/?range=6h")
    act(page, page.locator("[data-tile='Flagged for review']").click)
    visit(page, f"{address}/?range=1h&service=nobody")
    act(page, page.get_by_role("button", name="Clear all filters").click)
    assert "created with a default value" not in log.read_text()
