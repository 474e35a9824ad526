"""What only a browser can tell: keys, links, what is drawn, what is fetched. Real process, real Chromium."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from spanfold.state.reviews import ReviewEvent
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.dashboard import story
from tests.dashboard.driving import LOW_CONTRAST, PATIENCE, act, chromium, serving, settled, until, visit
from tests.flow.sending import SECOND, chat, product, span, traces

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(chromium() is None, reason="NOT TESTED IN A BROWSER: install chromium"),
]
expect.set_options(timeout=PATIENCE)
BIG, MANY = 9000, 2000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The story, ending a few minutes ago, and a trace of 2,000 spans."""
    start = time.time_ns() - 100 * story.MINUTE
    folder = tmp_path_factory.mktemp("browsed") / "data"
    story.fill(folder, start)
    with product(folder) as running:
        running.send(traces(big_trace(start), service="big"))
        running.fold()
    return folder


def big_trace(start: int) -> list:
    """A root, tools below it, calls below those; the last one fails."""
    spans = [span(BIG, 10_000, name="root of many", start=start, ms=400_000)]
    for at in range(1, MANY):
        parent = 10_000 if at % 10 == 1 else 10_000 + at - (at - 1) % 10
        spans.append(chat(BIG, 10_000 + at, parent, name=f"step {at}", start=start + at * SECOND // 10, ms=80))
    spans[-1].status.code = 2
    return spans


@pytest.fixture(scope="module")
def address(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(data, tmp_path_factory.mktemp("log") / "dashboard.log") as url:
        yield url


@pytest.fixture
def page(browser: BrowserContext, address: str) -> Iterator[Page]:
    """A tab that records what it was refused and what it asked of others."""
    tab = browser.new_page()
    tab.strangers = []  # type: ignore[attr-defined]
    tab.on("request", lambda r: tab.strangers.append(r.url) if not _ours(r.url, address) else None)  # type: ignore[attr-defined]
    tab.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    yield tab
    tab.close()


def _ours(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.evaluate("location.href")).query)


def deck_state(data: Path) -> dict[str, int]:
    with StateStore.open(data) as state:
        return state.reviews.counts()


def trail_of(data: Path) -> list[ReviewEvent]:
    with StateStore.open(data) as state:
        return state.reviews.events(limit=10_000)


def test_a_link_opens_a_span(page: Page, address: str) -> None:
    """A URL names trace and span: both are open, and the span's words are on screen."""
    visit(page, f"{address}/trace?trace={story.hex_trace(story.AGENT)}&span={story.hex_span(16)}")
    expect(page.get_by_role("heading", name="invoke_agent helper")).to_be_visible()
    expect(page.locator("[role=treeitem][aria-selected=true]")).to_contain_text("chat")
    expect(page.get_by_text("The bank is slow today.")).to_be_visible()
    page.get_by_text("4 repeated messages").click()
    expect(page.get_by_text("Can I have my money back?")).to_be_visible()


def test_keys_walk_the_tree(page: Page, address: str) -> None:
    """j and k move, e goes to the error, arrows fold; the span panel and the URL follow."""
    visit(page, f"{address}/trace?trace={story.hex_trace(story.AGENT)}&span={story.hex_span(11)}")
    expect(page.locator("[role=treeitem]")).to_have_count(6)
    page.keyboard.press("j")
    expect(page.get_by_text("search_docs()")).to_be_visible()
    until(lambda: query(page).get("span") == [story.hex_span(12)])
    page.keyboard.press("e")
    until(lambda: query(page).get("span") == [story.hex_span(15)])
    expect(page.get_by_text("the bank did not answer")).to_be_visible()
    page.keyboard.press("h")
    page.keyboard.press("h")
    expect(page.locator("[role=treeitem]")).to_have_count(1)
    page.keyboard.press("l")
    expect(page.locator("[role=treeitem]")).to_have_count(6)


def test_two_thousand_spans_stay_light(page: Page, address: str) -> None:
    """A large trace draws only the rows in sight; the last span is one key away."""
    visit(page, f"{address}/trace?trace={story.hex_trace(BIG)}")
    expect(page.get_by_text(f"{MANY} spans")).to_be_visible()
    assert page.locator("[role=treeitem]").count() < 80
    tree = page.get_by_role("tree")
    tree.focus()
    page.keyboard.press("End")
    expect(page.locator("[role=treeitem][aria-selected=true]")).to_contain_text(f"step {MANY - 1}")
    page.get_by_placeholder("Find span").fill("step 77")
    expect(page.get_by_text(f"11 of {MANY} spans")).to_be_visible()


def test_rows_open_and_escape_returns(page: Page, address: str) -> None:
    """A trace's name opens it in place; Esc goes back to the list with its filters."""
    visit(page, f"{address}/traces?range=6h&service=helper")
    page.get_by_role("link", name="invoke_agent helper").click()
    expect(page.get_by_role("tree")).to_be_visible()
    assert query(page)["trace"] == [story.hex_trace(story.AGENT)]
    settled(page)
    page.wait_for_timeout(500)  # the key listener is the last thing on the page
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="invoke_agent helper")).to_be_visible()
    assert query(page) == {"range": ["6h"], "service": ["helper"]}


def test_filters_live_in_the_url(page: Page, address: str) -> None:
    """A filter chosen, clicked in a cell or removed is in the URL at once, and a reload keeps it."""
    visit(page, f"{address}/traces?range=6h")
    act(page, lambda: page.get_by_role("button", name="support", exact=True).first.click())
    assert query(page) == {"range": ["6h"], "service": ["support"]}
    page.reload()
    settled(page)
    expect(page.locator("tbody tr")).to_have_count(4)
    act(page, lambda: page.get_by_role("button", name="Remove Service support").click())
    assert query(page) == {"range": ["6h"]}
    page.keyboard.press("/")
    page.keyboard.type("s-agent")
    act(page, lambda: page.keyboard.press("Enter"))
    expect(page.locator("tbody tr")).to_have_count(1)
    assert query(page)["q"] == ["s-agent"]


def test_a_filter_is_chosen_in_the_bar(page: Page, address: str) -> None:
    """A value picked in a filter's menu narrows the page and stands in the URL."""
    visit(page, f"{address}/traces?range=6h")
    page.get_by_role("button", name="Service", exact=True).first.click()
    page.get_by_role("combobox", name="Service").click()
    act(page, lambda: page.get_by_role("option", name="helper").click())
    assert query(page) == {"range": ["6h"], "service": ["helper"]}
    expect(page.locator("tbody tr")).to_have_count(1)


def test_picks_survive_paging_and_are_decided_together(page: Page, address: str, data: Path) -> None:
    """Rows picked on two pages are flagged in one act with one comment (TB-061)."""
    visit(page, f"{address}/traces?range=6h&service=shop")
    expect(page.locator("tbody tr")).to_have_count(50)
    for key in ("j", "x", "j", "X"):
        page.keyboard.press(key)
    expect(page.get_by_text("2 picked")).to_be_visible()
    act(page, lambda: page.get_by_role("button", name="Older").click())
    expect(page.locator("tbody tr")).to_have_count(10)
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("3 picked")).to_be_visible()
    page.get_by_placeholder("Comment for all of them").fill("look again")
    act(page, lambda: page.keyboard.press("Enter"))
    act(page, lambda: page.get_by_role("button", name="Flag", exact=True).click())
    with StateStore.open(data) as state:
        events = state.reviews.events()[-3:]
    assert [event.to_state for event in events] == ["flagged"] * 3
    assert len({event.batch_id for event in events}) == 1
    assert all(event.has_comment for event in events)
    expect(page.locator("tbody").get_by_text("Flagged")).to_have_count(1)


def test_a_stray_key_on_many_picks_is_asked_about(page: Page, address: str, data: Path) -> None:
    """A key on more picks than fifty asks first: Esc keeps everything, Enter stores it, u takes exactly that back."""
    visit(page, f"{address}/traces?range=6h&service=shop")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.keyboard.press("j")
    page.keyboard.press("x")
    act(page, lambda: page.get_by_role("button", name="Pick all 60").click())
    expect(page.locator("tbody tr.picked")).to_have_count(50)
    before = trail_of(data)
    act(page, lambda: page.keyboard.press("r"))
    expect(page.locator(".st-key-bulk-question")).to_contain_text("Reject 60 traces at once?")
    act(page, lambda: page.keyboard.press("Escape"))
    expect(page.get_by_text("60 picked")).to_be_visible()
    assert trail_of(data) == before
    act(page, lambda: page.keyboard.press("r"))
    act(page, lambda: page.keyboard.press("Enter"))
    expect(page.get_by_text("60 traces rejected")).to_be_visible()
    expect(page.locator("tbody tr.picked")).to_have_count(0)
    assert len(trail_of(data)) == len(before) + 60
    act(page, lambda: page.keyboard.press("u"))
    expect(page.get_by_text("60 traces rejected")).to_have_count(0)
    stored, undone = trail_of(data)[len(before) : len(before) + 60], trail_of(data)[len(before) + 60 :]
    assert sorted(event.undo_of or 0 for event in undone) == [event.seq for event in stored]
    page.keyboard.press("j")
    act(page, lambda: page.keyboard.press("a"))
    expect(page.get_by_text("1 trace approved")).to_be_visible()
    act(page, lambda: page.keyboard.press("u"))
    assert len(trail_of(data)) == len(before) + 122


def test_a_row_is_decided_by_a_key(page: Page, address: str, data: Path) -> None:
    """a, f, r decide on the row under the cursor, and show at once (TB-060)."""
    visit(page, f"{address}/traces?range=6h&service=support")
    before = deck_state(data)["approved"]
    expect(page.locator("tbody tr")).to_have_count(4)
    page.keyboard.press("j")
    page.keyboard.press("a")
    expect(page.locator("tbody tr").first.get_by_text("Approved")).to_be_visible()
    until(lambda: deck_state(data)["approved"] == before + 1)


def test_a_refused_decision_is_said_at_once(page: Page, address: str, data: Path) -> None:
    """Somebody else was faster: the notice comes with that key press, on the item the deck went on to."""
    visit(page, f"{address}/review?range=6h")
    expect(page.locator(".entry")).to_have_count(40)
    href = page.locator(".deck .title").get_attribute("href") or ""
    with StateStore.open(data) as state:
        state.reviews.decide([Target.trace(parse_qs(urlsplit(href).query)["trace"][0])], "flagged", who="bob")
    page.keyboard.press("a")
    expect(page.get_by_role("alert").filter(has_text="bob decided “flagged” in the meantime")).to_be_visible()
    expect(page.get_by_text("1 not stored")).to_be_visible()
    expect(page.get_by_text("All decisions saved")).to_have_count(0)
    page.get_by_role("button", name="Go to it").click()
    expect(page.locator(".deck .title")).to_have_attribute("href", href)
    page.keyboard.press("a")
    expect(page.get_by_text("All decisions saved")).to_be_visible()
    expect(page.locator(".clash.on")).to_have_count(0)
    page.get_by_role("button", name="Load the next items").click()


def test_forty_keys_are_forty_decisions(page: Page, address: str, data: Path) -> None:
    """Decisions at key speed are all stored, none twice, and undo takes the last one back."""
    visit(page, f"{address}/review?range=6h")
    expect(page.locator(".entry")).to_have_count(40)
    with StateStore.open(data) as state:
        before = state.reviews.last_event()
    for key in "afr" * 13 + "a":
        page.keyboard.press(key)
    expect(page.get_by_text("40 of 40 reviewed")).to_be_visible()
    expect(page.get_by_text("All decisions saved")).to_be_visible()
    with StateStore.open(data) as state:
        events = [event for event in state.reviews.events() if event.seq > before]
    assert len(events) == 40
    assert len({event.target for event in events}) == 40
    assert [event.to_state for event in events] == ["approved", "flagged", "rejected"] * 13 + ["approved"]
    page.keyboard.press("u")
    expect(page.get_by_text("39 of 40 reviewed")).to_be_visible()
    expect(page.get_by_text("All decisions saved")).to_be_visible()
    with StateStore.open(data) as state:
        assert state.reviews.events()[-1].undo_of == events[-1].seq


def test_keys_rest_while_typing_and_in_dialogs(page: Page, address: str, data: Path) -> None:
    """A comment may hold the letters of keys; it is kept with the decision. `?` lists the keys and stops them."""
    visit(page, f"{address}/review?range=6h&queue=all")
    expect(page.locator(".entry").first).to_be_visible()
    before = sum(deck_state(data).values())
    page.keyboard.press("n")
    page.keyboard.type("a far jar of ruff")
    assert page.locator(".deck textarea").input_value() == "a far jar of ruff"
    page.keyboard.press("Escape")
    act(page, lambda: page.keyboard.press("?"))
    expect(page.get_by_role("dialog")).to_contain_text("Approve, flag, reject, and go on")
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert sum(deck_state(data).values()) == before
    page.keyboard.press("r")
    until(lambda: sum(deck_state(data).values()) >= before)
    expect(page.get_by_text("All decisions saved")).to_be_visible()
    page.get_by_text("Audit trail").click()
    expect(page.get_by_role("cell", name="a far jar of ruff")).to_be_visible()


def test_keys_go_to_pages(page: Page, address: str) -> None:
    """g and a letter opens a page without loading it anew."""
    visit(page, f"{address}/traces?range=6h")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(page.get_by_role("heading", name="Costs", exact=True)).to_be_visible()
    assert query(page) == {"range": ["6h"]}


def test_words_stay_words(page: Page, address: str) -> None:
    """Markup in names, ids, services and messages is shown as text: nothing runs, nothing is fetched."""
    trace = story.hex_trace(story.HOSTILE)
    for path in (
        "traces?range=6h",
        "?range=6h",
        "conversations?range=6h",
        "review?range=6h",
        "costs?range=6h",
        "quality?range=6h",
    ):
        visit(page, f"{address}/{path}")
    visit(page, f"{address}/trace?trace={trace}")
    expect(page.get_by_text("<script>fetch(", exact=False).first).to_be_visible()
    for tab in ("Tools", "Attributes", "Events", "Cost", "Raw", "Explain", "Messages"):
        page.get_by_role("tab", name=tab, exact=True).click()
        time.sleep(0.5)
    assert page.locator("img[onerror], a[href^='javascript:']").count() == 0
    assert page.strangers == []  # type: ignore[attr-defined]


def test_every_page_is_confined(address: str) -> None:
    """Answers forbid other origins, and a foreign host name gets no session (DNS rebinding)."""
    policy = ask(address, "/").getheader("content-security-policy") or ""
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    upgrade = {"Host": "evil.example", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    assert ask(address, "/_stcore/stream", upgrade).status == 403


def test_the_api_shares_the_port(address: str) -> None:
    """Screens and API are one process on one port (BR-056)."""
    assert ask(address, "/api/healthz").status == 200


def ask(address: str, path: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """The answer to one GET, its body left aside."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)) as connection:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer


def test_numbers_lead_to_their_rows(page: Page, address: str) -> None:
    """The calls of a model open the traces of that model; a tile opens what it counts."""
    visit(page, f"{address}/costs?range=6h")
    row = page.locator("tr", has=page.get_by_role("button", name="house-model-7")).first
    row.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_role("heading", name="Traces", exact=True)).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert query(page) == {"range": ["6h"], "model": ["house-model-7"]}
    visit(page, f"{address}/?range=6h")
    page.locator("[data-tile='Error rate']").click()
    expect(page.get_by_role("heading", name="Traces", exact=True)).to_be_visible()
    assert query(page)["status"] == ["error"]


def test_sql_is_shown_to_copy(page: Page, address: str) -> None:
    """Every group of numbers has its SQL one press away."""
    visit(page, f"{address}/?range=6h")
    act(page, lambda: page.get_by_role("button", name="SQL").first.click())
    expect(page.locator("[data-testid=stPopoverBody] code")).to_contain_text("The tiles of the overview")


def test_new_spans_come_by_themselves(page: Page, address: str, data: Path) -> None:
    """A page follows the newest snapshot: what was just folded appears without a touch."""
    visit(page, f"{address}/traces?range=1h&service=fresh")
    with product(data) as running:
        running.send(traces([chat(7000, 7000, start=time.time_ns() - SECOND)], service="fresh"))
        running.fold()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_first_span_replaces_the_welcome(browser: BrowserContext, tmp_path: Path) -> None:
    """A fresh data directory says where to send spans; the first one turns the page into the product."""
    folder = tmp_path / "data"
    with serving(folder, tmp_path / "log") as url:
        tab = browser.new_page()
        visit(tab, url)
        expect(tab.get_by_role("heading", name="Waiting for the first span")).to_be_visible()
        with product(folder) as running:
            running.send(traces([chat(1, 1, start=time.time_ns() - SECOND)], service="first"))
            running.fold()
        expect(tab.get_by_role("heading", name="Overview")).to_be_visible()
        tab.close()


def test_a_failure_in_the_middle_is_a_card(browser: BrowserContext, data: Path, tmp_path: Path) -> None:
    """When a click fails below the screens, the person sees one card with an id; the log holds the rest."""
    folder, log = tmp_path / "data", tmp_path / "log"
    shutil.copytree(data, folder)
    with serving(folder, log) as url:
        tab = browser.new_page()
        visit(tab, f"{url}/traces?range=6h&service=helper")
        expect(tab.locator("tbody tr")).to_have_count(1)
        with contextlib.closing(sqlite3.connect(folder / "state.db")) as state:
            state.executescript("DROP TABLE reviews")
        act(tab, lambda: tab.get_by_role("button", name="helper", exact=True).first.click())
        expect(tab.get_by_text("This view could not be drawn")).to_be_visible()
        ident = tab.get_by_text("Error id").inner_text().split()[2].rstrip(":")
        assert "no such table" not in tab.locator("body").inner_text()
        assert f"id={ident}" in log.read_text()
        assert "no such table: reviews" in log.read_text()
        tab.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(page: Page, address: str, theme: str) -> None:
    """Text of our components stands out from its ground by 4.5 to 1 in both themes."""
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    for path in ("?range=6h", "traces?range=6h", "review?range=6h", f"trace?trace={story.hex_trace(story.AGENT)}"):
        visit(page, f"{address}/{path}")
        expect(page.locator(".tile, tbody tr, .entry, [role=treeitem]").first).to_be_visible()
        assert page.evaluate(LOW_CONTRAST) == [], path
