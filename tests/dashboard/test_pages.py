"""Every page with data, without, and when it fails; driven by Streamlit's own test driver on real data."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from spanfold.analytics import queries
from spanfold.analytics.queries import Reader
from spanfold.dashboard import backend, grids, states, transcripts
from spanfold.dashboard.backend import Backend
from spanfold.state.price_overrides import PriceOverride
from spanfold.state.price_sources import ExchangeRate
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.dashboard import story
from tests.dashboard.conftest import NOW, open_page, parts, texts
from tests.flow.sending import NOON, product, span, traces

LISTS = ("overview", "traces", "conversations", "review", "costs", "quality")
DETAILS = {
    "trace_detail": {"trace": story.hex_trace(story.AGENT)},
    "conversation": {"conversation": "s-chat"},
}
CALLS = 60 + 3 + 4 + 2 + 1 + 1


@pytest.fixture
def nothing(tmp_path: Path) -> Iterator[Backend]:
    """A data directory that nothing was ever sent to."""
    st.cache_data.clear()
    made = Backend(
        data=tmp_path, reader=Reader(tmp_path), state=StateStore.open(tmp_path), reviewer="tester",
        listening=lambda: ("127.0.0.1:4317", "127.0.0.1:4318"), status=dict, now=lambda: NOW,
    )  # fmt: skip
    backend.install(made)
    yield made
    made.state.close()


def cells(app: Any, key: str, label: str) -> list[Any]:
    """The cells of one column of the grid that has it."""
    for grid in parts(app, "grid"):
        labels = [column["label"] for column in grid["columns"]]
        if key in labels[0:3] and label in labels:
            at = labels.index(label)
            return [row["cells"][at] for row in grid["rows"]]
    raise AssertionError(f"no grid has the columns {key} and {label}")


def shown(cell: Any) -> Any:
    return cell["t"] if isinstance(cell, dict) else cell


@pytest.mark.parametrize("page", LISTS)
def test_page_with_data(house: Backend, page: str) -> None:
    """Every page draws the story without an error card."""
    app = open_page(page, range="6h")
    assert "could not be drawn" not in texts(app)
    assert page[:6] in app.title[0].value.lower()


@pytest.mark.parametrize("page", DETAILS)
def test_detail_with_data(house: Backend, page: str) -> None:
    """A trace and a conversation open by their URL alone (BR-054, TB-056)."""
    app = open_page(page, **DETAILS[page])
    assert "could not be drawn" not in texts(app)
    assert parts(app, "heading")


@pytest.mark.parametrize("page", [*LISTS, *DETAILS])
def test_page_before_anything_was_received(nothing: Backend, page: str) -> None:
    """Before the first span every page says where to send it, and gives a command that sends one."""
    app = open_page(page)
    assert "Waiting for the first span" in texts(app)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318" in texts(app)
    command = next(code.value for code in app.code if code.value.startswith("curl"))
    body = json.loads(command.split(" -d ")[1].strip("'"))
    assert body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] == "chat gpt-4o-mini"


@pytest.mark.parametrize("page", ["overview", "traces", "conversations", "costs"])
def test_page_with_an_empty_range(house: Backend, page: str) -> None:
    """A range without data is said to be empty, and the shortest range that has some is one press away."""
    later = dataclasses.replace(house, now=lambda: NOW.replace(month=12))
    backend.install(later)
    app = open_page(page)
    assert "in this range" in texts(app)
    app.button(key="empty-widen").click().run()
    assert parts(app, "visit")[0]["change"] == {"range": ["90d"]}
    assert "in this range" not in texts(open_page(page, range="90d"))


@pytest.mark.parametrize("page", ["overview", "traces", "conversations", "costs"])
def test_page_whose_filters_exclude_all(house: Backend, page: str) -> None:
    """When filters leave nothing the tightest one is named, and one press removes it."""
    app = open_page(page, range="6h", service=["shop"], model=["house-model-7"])
    assert "match all of these filters" in texts(app)
    assert "The tightest one is Model: without it there are 60 traces." in texts(app)
    app.button(key="empty-drop").click().run()
    assert "match all" not in texts(app)
    assert app.multiselect(key="service").value == ["shop"]


@pytest.mark.parametrize("page", [*LISTS, *DETAILS])
def test_failure_is_one_card(house: Backend, page: str, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """What a page raises is one card with an id; the traceback stands in the log under it, never on screen."""

    def broken(self: Reader, name: str, *_: Any, **__: Any) -> Any:
        if name in ("overview_tiles", "traces_page", "conversations_page", "review_queue",
        "cost_table",
                    "quality_totals", "trace_row", "conversation_row"):  # fmt: skip
            raise duckdb.IOException("secret path /data/x of the lake")
        return real(self, name, *_, **__)

    real = Reader.query
    monkeypatch.setattr(Reader, "query", broken)
    with caplog.at_level(logging.ERROR, logger="spanfold.dashboard.states"):
        app = open_page(page, range="6h", **DETAILS.get(page, {}))
    found = re.search(r"Error id ([0-9a-f]{8})", texts(app))
    assert found
    assert "secret path" not in texts(app)
    assert "Traceback" not in texts(app)
    assert caplog.records[-1].getMessage() == f"view failed id={found[1]}"
    assert caplog.records[-1].exc_info
    assert app.button(key="retry").label == "Try again"


def test_a_query_without_end_is_stopped(house: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """[69] A query that does not end is stopped at its limit; the card says so, and the next page is drawn as ever."""

    def endless(name: str, *given: Any, **params: Any) -> Any:
        text = "SELECT sum(a) FROM range(1000000000000) t(a)"
        query = real(name, *given, **params)
        return SimpleNamespace(text=text, parameters={}) if name == "cost_table" else query

    real = queries.Query
    monkeypatch.setattr(queries, "Query", endless)
    backend.install(dataclasses.replace(house, reader=Reader(house.data, None, seconds=0.3)))
    found = texts(open_page("costs", range="6h"))
    assert "This took longer than 0.3 s and was stopped: choose a shorter range or more filters." in found
    backend.install(dataclasses.replace(house, reader=Reader(house.data, None, seconds=30)))
    assert "could not be drawn" not in texts(open_page("traces", range="6h"))


def test_stale_banner(house: Backend) -> None:
    """When folding is far behind what was accepted, every page says so."""
    status = dict(house.status()) | {"lag_seconds": states.STALE_SECONDS + 60}
    backend.install(dataclasses.replace(house, status=lambda: status))
    (notice,) = parts(open_page("traces", range="6h"), "notice")
    assert notice["text"].startswith("Not up to date: data accepted 90 s ago is not on screen yet")


def test_overview_numbers(house: Backend) -> None:
    """The tiles say what a stock DuckDB counts, and the cost of unpriced calls is not 0 (TB-054, TC-014)."""
    tiles = {tile["label"]: tile for tile in parts(open_page("overview", range="6h"), "tiles")[0]["tiles"]}
    with duckdb.connect(str(house.data / "spanfold.duckdb"), read_only=True) as stock:
        calls, cost, tokens = stock.sql(
            "SELECT count(*), sum(cost), sum(input_tokens) + sum(output_tokens) FROM calls"
        ).fetchall()[0]
    assert calls == CALLS
    assert tiles["Calls"]["value"] == str(CALLS)
    assert tiles["Cost"]["value"] == f"${cost:.4f}"
    assert tiles["Cost"]["delta"] == "nothing before · 1 unpriced"
    assert tiles["Tokens"]["value"] == f"{tokens / 1000:.1f}k"


def test_traces_are_paged_by_key(house: Backend) -> None:
    """Pages of fifty in one order, none twice, none left out; the first comes again (TB-055)."""
    app = open_page("traces", range="6h")
    seen = [row["id"] for row in parts(app, "grid")[0]["rows"]]
    assert len(seen) == grids.PAGE
    app.button(key="pages-traces-older").click().run()
    rest = [row["id"] for row in parts(app, "grid")[0]["rows"]]
    assert len(seen) + len(rest) == len({*seen, *rest}) == 68
    app.button(key="pages-traces-newer").click().run()
    assert [row["id"] for row in parts(app, "grid")[0]["rows"]] == seen


def test_traces_show_what_is_known(house: Backend) -> None:
    """First words, unpriced as a dash with its count, errors, tokens (TB-028, TB-055)."""
    app = open_page("traces", range="6h", service=["batch"])
    costs = dict(zip((row["id"] for row in parts(app, "grid")[0]["rows"]), cells(app, "Name", "Cost"), strict=True))
    unpriced = costs[story.hex_trace(story.UNPRICED)]
    assert (unpriced["t"], unpriced["sub"]) == ("–", "1 unpriced")
    app = open_page("traces", range="6h", service=["helper"])
    (name,), (status,) = cells(app, "Name", "Name"), cells(app, "Name", "Status")
    assert name["sub"] == "Can I have my money back?"
    assert status["t"] == "Has errors"


def test_filters_come_from_the_url(house: Backend) -> None:
    """A link carries every filter: range, lists, text (TB-053)."""
    app = open_page("traces", range="6h", service=["support"], q="s-chat")
    rows = parts(app, "grid")[0]["rows"]
    assert sorted(row["id"] for row in rows) == [story.hex_trace(story.CHAT + i) for i in range(4)]
    assert [(c["label"], c["value"]) for c in parts(app, "chips")[0]["chips"]] == [
        ("Service", "support"), ("Search", "s-chat"),
    ]  # fmt: skip


def test_unknown_trace_and_conversation(house: Backend) -> None:
    """An id that is not stored is said to be unknown, with a way on."""
    assert "This trace is not here" in texts(open_page("trace_detail", trace="f" * 32))
    assert "This conversation is not here" in texts(open_page("conversation", conversation="nobody"))


def test_trace_detail_tree(house: Backend) -> None:
    """The waterfall holds the tree with sums on parents, and begins at the first error (BR-055, LL-034)."""
    (tree,) = parts(open_page("trace_detail", trace=story.hex_trace(story.AGENT)), "waterfall")
    spans = tree["spans"]
    assert spans["name"] == [
        "invoke_agent helper", "chat", "execute_tool search_docs", "chat", "execute_tool pay_back", "chat",
    ]  # fmt: skip
    assert spans["depth"] == [0, 1, 1, 1, 1, 1]
    assert spans["tokens"][0] == "3.4k"
    assert spans["sum"] == [True, False, True, False, True, False]
    assert tree["selected"] == story.hex_span(15)


def test_span_in_the_url(house: Backend) -> None:
    """A link names the span: its messages show the new ones, the repeated folded (BR-001)."""
    app = open_page("trace_detail", trace=story.hex_trace(story.AGENT), span=story.hex_span(16))
    (shown,) = parts(app, "transcript")
    assert [item["label"] for item in shown["items"] if item["type"] == "fold"] == ["4 repeated messages"]
    words = [part["text"] for item in shown["items"] if item["type"] == "message" for part in item["parts"]]
    assert words == ["Well?", "The bank is slow today."]


def test_missing_parent_is_a_gap(house: Backend) -> None:
    """Spans whose parent never came stand under a row that says so."""
    (tree,) = parts(open_page("trace_detail", trace=story.hex_trace(story.ORPHAN)), "waterfall")
    spans = tree["spans"]
    assert list(zip(spans["name"], spans["kind"], spans["depth"], spans["badge"], strict=True)) == [
        ("parent not received", "gap", 0, "gap"), ("chat", "model", 1, "orphan"), ("chat", "model", 1, "orphan"),
    ]  # fmt: skip


def test_conversation_shows_what_was_new(house: Backend) -> None:
    """Each call shows its new messages only, repeats are folded, a changed system text is a diff (TC-001)."""
    (chat,) = parts(open_page("conversation", conversation="s-chat"), "transcript")
    items = chat["items"]
    assert [item["title"] for item in items if item["type"] == "turn"] == ["Call 1", "Call 2", "Call 3", "Call 4"]
    assert [item["label"] for item in items if item["type"] == "fold" and "repeated" in item["label"]] == [
        "2 repeated messages", "4 repeated messages", "6 repeated messages",
    ]  # fmt: skip
    (diff,) = [item for item in items if item["type"] == "diff"]
    assert [run for run in diff["runs"] if run[0] != "same"] == [["drop", "brief."], ["add", "brief and kind."]]


def test_conversations_show_the_time_they_are_sorted_by(house: Backend) -> None:
    """The time column is the last activity, latest first; the start is its tooltip."""
    app = open_page("conversations", range="6h")
    (head,) = [grid["columns"][0]["label"] for grid in parts(app, "grid")]
    assert head == "Last activity"
    times = [row["cells"][0] for row in parts(app, "grid")[0]["rows"]]
    assert [time["t"] for time in times] == sorted((time["t"] for time in times), reverse=True)
    assert ("13:23:00", "Started 20 Nov 13:20:00") in [(time["t"], time["title"]) for time in times]


def test_a_call_without_usage_is_not_unpriced(own_house: Backend) -> None:
    """A failed call whose model has a price says that it reported no usage; one without a price is unpriced."""
    used = {"gen_ai__usage__input_tokens": 7, "gen_ai__usage__output_tokens": 1}
    calls = [
        span(8000 + i, 8000 + i, start=NOON + i * story.MINUTE, session__id="s-failed", gen_ai__operation__name="chat",
             gen_ai__provider__name="openai", gen_ai__request__model=model, **use)
        for i, (model, use) in enumerate([("gpt-4o", {}), ("house-model-7", {}), ("house-model-7", used)])
    ]  # fmt: skip
    for call in calls:
        call.status.code = 2
    with product(own_house.data) as running:
        running.send(traces(calls, service="failing"))
        running.fold()
    app = open_page("conversation", conversation="s-failed")
    turns = [item["meta"] for item in parts(app, "transcript")[0]["items"] if item["type"] == "turn"]
    assert turns[0].endswith("·  no usage reported")
    assert "tokens unknown" not in turns[0]
    assert [turn.endswith("unpriced") for turn in turns] == [False, True, True]
    rows = own_house.reader.rows("conversation_row", conversation="s-failed")
    assert rows[0]["unpriced_calls"] == 2


def test_costs_list_what_has_no_price(house: Backend) -> None:
    """A model without a price is listed with its volume; its row shows a dash (TB-044)."""
    app = open_page("costs", range="6h")
    rows = dict(zip(map(shown, cells(app, "Model", "Model")), cells(app, "Model", "Cost"), strict=True))
    assert (rows["house-model-7"]["t"], rows["house-model-7"]["sub"]) == ("–", "1 unpriced")
    unpriced = next(grid for grid in parts(app, "grid") if grid["columns"][-1]["label"] == "Nearest known")
    assert [row["cells"][0]["t"] for row in unpriced["rows"]] == ["house-model-7"]


def test_costs_by_other_prices_and_in_other_money(own_house: Backend) -> None:
    """Today's prices in euros: the table follows both choices, and the rate stands there with its day (TB-043)."""
    state, since = own_house.state, dt.datetime(2025, 12, 1, tzinfo=dt.UTC)
    state.prices.add(
        [PriceOverride(provider="openai", model_pattern="gpt-4o-mini", bucket="uncached_input", price=Decimal("0.001"),
                       unit="token", valid_from=since, source="test")], who="test",
    )  # fmt: skip
    state.price_sources.add_rates(
        [ExchangeRate(currency="EUR", day=dt.date(2025, 1, 1), usd=Decimal(2), source="test")], who="test"
    )
    story.publish_reviews(own_house.data)
    with duckdb.connect(str(own_house.data / "spanfold.duckdb"), read_only=True) as stock:
        told = "SELECT sum(cost_today) / 2, sum(cost) FROM call_costs WHERE model = 'gpt-4o-mini'"
        ((euros, dollars),) = stock.sql(told).fetchall()
    app = open_page("costs", range="6h", basis="Prices today", currency="EUR")

    def cost() -> Any:
        return dict(zip(map(shown, cells(app, "Model", "Model")), cells(app, "Model", "Cost"), strict=True))[
            "gpt-4o-mini"
        ]

    assert euros > 100 * dollars
    assert cost()["v"] == pytest.approx(euros, rel=1e-9)
    assert cost()["t"].endswith(" EUR")
    said = [caption.value for caption in app.caption]
    assert "Priced as if each call were made today. 1 EUR = 2 USD from 2025-01-01 on." in said
    app.selectbox(key="basis").set_value("Prices then").run()
    app.selectbox(key="currency").set_value("USD").run()
    assert cost()["v"] == pytest.approx(dollars, rel=1e-9)
    assert cost()["t"].startswith("$")


def test_price_rows_in_use(house: Backend) -> None:
    """The price rows behind the sums are shown, per million tokens."""
    app = open_page("costs", range="6h")
    prices = next(grid for grid in parts(app, "grid") if grid["columns"][-1]["label"] == "From")
    rates = {row["cells"][0]["t"]: [shown(cell) for cell in row["cells"][2:5]] for row in prices["rows"]}
    assert rates["gpt-4o-mini"] == ["$0.15", "$0.075", "$0.6"]


def test_waste_by_other_prices_and_in_other_money(own_house: Backend) -> None:
    """The choice of prices and currency stands on the waste part too, and its total is that of the spend part."""
    state = own_house.state
    state.price_sources.add_rates(
        [ExchangeRate(currency="EUR", day=dt.date(2025, 1, 1), usd=Decimal(2), source="test")], who="test"
    )
    story.publish_reviews(own_house.data)
    chosen = {"range": "6h", "basis": "Prices today", "currency": "EUR"}
    total = next(grid["foot"] for grid in parts(open_page("costs", **chosen), "grid") if "Total" in grid["foot"])
    app = open_page("costs", show="Waste", **chosen)
    said = [caption.value for caption in app.caption]
    assert "Priced as if each call were made today. 1 EUR = 2 USD from 2025-01-01 on." in said
    tiles = {tile["label"]: tile for tile in parts(app, "tiles")[0]["tiles"]}
    assert tiles["Resending"]["value"].endswith(" EUR")
    assert tiles["Resending"]["delta"].split("of ")[1] == total.split("Total ")[1].split(", and")[0]


def test_quality_names_orphans_and_unpriced(house: Backend) -> None:
    """What is missing is listed with its count, an example and what to do, worst first (TB-002)."""
    app = open_page("quality", range="6h")
    found = dict(zip(map(shown, cells(app, "What", "What")), map(shown, cells(app, "What", "Count")), strict=True))
    assert found["No price known"] == "1"
    assert found["Parent not received"] == "2"
    days = "Whole days (UTC) from 20 Nov 2025 to 20 Nov 2025; the figures above count the chosen range."
    assert days in [caption.value for caption in app.caption]


def test_quality_shows_which_attributes_no_rule_reads(house: Backend) -> None:
    """On demand, by emitter and version: attributes that no rule reads first."""
    app = open_page("quality", range="6h")
    app.toggle(key="coverage-shown").set_value(True).run()
    read = [shown(cell) for cell in cells(app, "Attribute", "Read")]
    assert read == sorted(read, reverse=True)
    assert "gen_ai.request.model" in [shown(cell) for cell in cells(app, "Attribute", "Attribute")]


@pytest.mark.parametrize("page", [*LISTS, *DETAILS])
def test_words_are_never_markup(house: Backend, page: str) -> None:
    """Nothing that a span says reaches an element that reads Markdown or HTML."""
    query = {"trace": story.hex_trace(story.HOSTILE), "conversation": "s-chat"}
    app = open_page(page, range="6h", **(query if page in DETAILS else {}))
    elements = [
        *app.title,
        *app.header,
        *app.caption,
        *app.markdown,
        *app.get("html"),
        *app.button,
        *app.get("popover"),
    ]
    for element in elements:
        assert "onerror" not in str(element.proto), element


def test_no_markup_sink_in_the_source() -> None:
    """No component writes HTML, and no page allows it."""
    folder = Path(backend.__file__).parent
    for path in [*folder.rglob("*.py"), *folder.rglob("*.js")]:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|unsafe_allow|eval\(", path.read_text()
        ), path


@pytest.mark.parametrize("page", [*LISTS, *DETAILS])
def test_without_keys(house: Backend, page: str) -> None:
    """A process without the keys shows everything but the words, and says why."""
    st.cache_data.clear()
    backend.install(story.without_keys(house))
    app = open_page(page, range="6h", **DETAILS.get(page, {}))
    assert "could not be drawn" not in texts(app)
    assert "money back" not in json.dumps([json.loads(e.proto.json) for e in app.get("bidi_component") if e.proto.json])
    if page == "conversation":
        assert transcripts.CLOSED in json.dumps(parts(app, "transcript"))


def test_a_decision_shows_at_once(own_house: Backend) -> None:
    """A review is laid over a snapshot that does not know it yet."""
    target = Target.trace(story.hex_trace(story.AGENT))
    own_house.state.reviews.decide([target], "flagged", who="ann", comment="look here")
    app = open_page("traces", range="6h", service=["helper"])
    assert cells(app, "Name", "Review") == ["flagged"]
    app = open_page("trace_detail", trace=target.trace_id)
    assert ["Flagged", "warn"] in parts(app, "heading")[0]["pills"]
    assert "look here" in json.dumps(parts(app, "grid"))


def test_trace_is_reviewed_with_a_comment(own_house: Backend) -> None:
    """Approve, flag, reject with a comment from the trace itself; the trail keeps each (TB-050, TB-051, TB-056)."""
    target = Target.trace(story.hex_trace(story.AGENT))
    app = open_page("trace_detail", trace=target.trace_id)
    app.text_area(key="trace-comment").input("wrong tool").run()
    app.button(key="trace-rejected").click().run()
    (event,) = own_house.state.reviews.history(target)
    assert (event.who, event.from_state, event.to_state, event.comment) == (
        "tester",
        "unreviewed",
        "rejected",
        "wrong tool",
    )


@pytest.mark.slow
def test_sql_of_every_table_runs_elsewhere(house: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Copy as SQL` gives text that a stock DuckDB runs on the published file to the same rows, on every page."""
    asked: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(grids, "sql_button", lambda name, *, key, **params: asked.append((name, params)))
    for page in LISTS:
        open_page(page, range="6h")
        open_page(page, range="6h", status=["success"], service=["shop"])
    for page, query in DETAILS.items():
        app = open_page(page, **query)
        if page == "trace_detail":
            app.query_params["span"] = story.hex_span(12)
            app.run()
    assert {name for name, _ in asked} >= {
        "overview_tiles", "cost_by_day", "top_movers", "traces_page", "conversations_page", "review_queue",
        "cost_table",
        "unpriced_models", "prices_of_models", "quality_table", "quality_totals", "redaction_table", "trace_spans",
        "conversation_calls",
    }  # fmt: skip
    with duckdb.connect(str(house.data / "spanfold.duckdb"), read_only=True) as stock:
        for name, params in asked:
            text = house.reader.as_sql(name, **params)
            ours = house.reader.query(name, **params).to_pylist()
            assert stock.sql(text).to_arrow_table().to_pylist() == ours, name


def test_a_span_explains_its_columns(house: Backend) -> None:
    """The tab Explain of a span names for each column the attribute and the rule that filled it."""
    trace = story.hex_trace(story.AGENT)
    spans = house.reader.rows("trace_spans", trace_id=trace)
    call = next(row for row in spans if row["operation"] == "chat")

    def page() -> None:
        import streamlit as st

        from spanfold.dashboard import span_explained
        from spanfold.dashboard.backend import backend

        found = backend().reader.span(st.query_params["span"], trace_id=st.query_params["trace"])
        span_explained.draw({**(found or {}), "closed": False}, "UTC")

    app = AppTest.from_function(page)
    app.query_params["trace"], app.query_params["span"] = trace, call["span_id"]
    app.run()
    assert not app.exception
    rule = next(cell for cell, name in zip(cells(app, "Column", "Rule"), cells(app, "Column", "Column"), strict=True)
                if name["t"] == "operation")  # fmt: skip
    assert shown(rule).startswith("otel-new: fields.operation")
