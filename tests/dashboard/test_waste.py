"""The waste part of the Costs screen: the figures of the views, on screen and in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.dashboard.driving import PATIENCE, act, browsing, chromium, serving, visit
from tests.flow.sending import product, traces
from tests.flow.test_waste import pairs, repeating, resending

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(chromium() is None, reason="NOT TESTED IN A BROWSER: install chromium"),
]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("wasteful")
    data: Path = folder / "data"
    with product(data) as running:
        running.send(traces([*resending(), *pairs(), *repeating()]))
        running.fold()
    with serving(data, folder / "dashboard.log") as url:
        yield url


def test_costs_show_what_was_paid_for_nothing_new(address: str) -> None:
    """Costs > Waste names the causes with their money, the tools whose words were sent again, and the loop; a miss
    opens the call whose input parts from the one before."""
    with browsing() as browser:
        page = browser.new_page()
        visit(page, f"{address}/costs?range=all")
        act(page, lambda: page.get_by_text("Waste", exact=True).click())
        cause = page.locator("tr", has_text="Clock in system text").first
        expect(cause).to_contain_text("$0.0063")
        expect(cause).to_contain_text("5.0k")
        lookup = page.locator("tr", has_text="lookup").filter(has_text="Loop")
        expect(lookup).to_contain_text("$0.0125")  # 0.005 + 0.0075
        expect(page.locator("tr", has_text="search").filter(has_text="assistant, tool")).to_contain_text("$0.0026")
        act(page, lambda: page.get_by_text("Thread", exact=True).click())
        expect(page.get_by_role("heading", name="Sent again, by thread")).to_be_visible()
        page.locator("tr", has_text="message 2, assistant").get_by_role("link").first.click()
        expect(page.locator("[role=treeitem][aria-selected=true]")).to_contain_text("chat")
