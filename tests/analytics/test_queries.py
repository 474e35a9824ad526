"""The named queries: all run, page by key, and say the same as SQL text; a person's SQL reaches nothing else."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from spanfold.analytics.errors import QueryRefused
from spanfold.analytics.filters import Filters
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.queries import Reader
from spanfold.analytics.snapshot import publish
from spanfold.analytics.statements import DIMENSIONS, PAGED, Query, literal
from tests.analytics.lake import DAY, NOON, Lake, chain, context, rollup, span, usage

BOOK = PriceBook.load()
MIB = 1 << 20
PARTS = {
    "cost",
    "macros",
    "trace_rows",
    "conversation_rows",
    "rollup_delta",
    "facts_rollup",
    "facts_calls",
    "facts_edges",
    "rollup_calls",
    "rollup_repriced",
    "changed_calls",
    "price_difference",
    "recent_turns",
    "whatif",
    "whatif_calls",
    "kept_calls",
}  # bound inside other text or over tables of their caller: not queries by themselves
NAMES = sorted(
    name
    for name in (path.name.removesuffix(".sql") for path in (resources.files("spanfold.analytics") / "sql").iterdir())
    if name not in PARTS and not name.startswith(("view_", "lake_", "filter_s", "filter_rol", "filter_rev"))
)
DAY_RANGE = Filters(start=dt.datetime(2026, 11, 2), end=dt.datetime(2026, 11, 3))
ARGUMENTS: dict[str, Any] = {
    "trace_id": f"{3:032x}", "span_id": f"{3:016x}", "conversation": "c1", "day": DAY, "tenant": "default",
    "models": ["gpt-5"], "ids": [b"\1" * 16], "session": None,
    "trace_ids": [f"{3:032x}"], "first_day": DAY, "last_day": DAY,
    "after_received": None, "since": DAY, "where": "true", "limit": 7,
    "mapped": [r"\S+ gen_ai\..*"],
}  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.add("spans", [
        span(n, trace=n - n % 2, parent_span_id=f"{n - 1:016x}" if n % 2 else None,
             status=("success", "error")[n % 5 == 0],
             service_name=f"s{n % 3}", conversation_id=f"c{n % 4}", tags=["vip"] if n % 7 == 0 else None,
             request_model=("gpt-5", "own")[n % 6 == 0], response_model=None,
             **usage(uncached_input=1000 * n, cache_read=10 * n, text_output=n))
        for n in range(2, 60)
    ])  # fmt: skip
    lake.add("messages", chain(4))
    lake.add("contexts", [context(3, trace=2, depth=1), context(3, trace=2, depth=2, first=2, direction="output")])
    lake.add("rollup", [rollup(calls=4, hour=h, cost="0.25", model=m, input_tokens=h) for h in (1, 12) for m in "ab"])
    review = {"tenant": "default", "kind": "trace", "span_id": "", "message_id": "", "revision": 1}
    reviews = [review | {"trace_id": f"{n:032x}", "state": state} for n, state in ((4, "flagged"), (6, "approved"))]
    publish(lake.data, lake.manifest(), BOOK, {"reviews": pa.Table.from_pylist(reviews)})
    return Reader(lake.data)


def text_of(name: str) -> str:
    return (resources.files("spanfold.analytics") / "sql" / f"{name}.sql").read_text()


def arguments(name: str) -> dict[str, Any]:
    text = text_of(name)
    if "scope." in text and name not in PAGED:
        text += "$trace_ids $first_day $last_day"
    return {key: value for key, value in ARGUMENTS.items() if f"${key}" in text}


FILTERED = {
    "range": DAY_RANGE,
    "calls": Filters(start=DAY_RANGE.start, end=DAY_RANGE.end, statuses=("error",), models=("gpt-5",), text="CHAT"),
    "edges": Filters(start=dt.datetime(2026, 11, 2, 11, 30), end=dt.datetime(2026, 11, 2, 12, 0, 40)),
    "review": Filters(start=DAY_RANGE.start, end=DAY_RANGE.end, services=("s1",), review_states=("flagged",)),
}
CASES = [(name, kind) for name in NAMES for kind in FILTERED
         if kind == "range" or any(part in text_of(name) for part in ("{facts}", "{filter_spans}"))]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_copied_sql_gives_the_same_rows(reader: Reader, name: str, kind: str) -> None:
    """`as_sql` is text that a stock DuckDB runs on the published file to exactly the rows of `query`."""
    params, filters = arguments(name), FILTERED[kind]
    found = reader.query(name, filters, **params)
    text = reader.as_sql(name, filters, **params)
    assert "$" not in re.sub("--.*", "", text)
    with duckdb.connect(str(reader.data / "spanfold.duckdb"), read_only=True) as connection:
        again = connection.sql(text).to_arrow_table()
    assert again.schema.names == found.schema.names
    assert sorted(map(repr, again.to_pylist())) == sorted(map(repr, found.to_pylist()))


def test_pages_of_traces_meet_without_gap_or_overlap(reader: Reader) -> None:
    """Walking by the last row's key gives every trace once, newest first, with its totals and review state."""
    seen: list[dict[str, Any]] = []
    after: dict[str, Any] = {}
    while page := reader.rows("traces_page", DAY_RANGE, limit=7, **after):
        seen += page
        after = {"before_time": page[-1]["page_time"], "before_id": page[-1]["trace_id"]}
    assert [row["trace_id"] for row in seen] == [f"{n:032x}" for n in range(58, 0, -2)]
    assert {row["spans"] for row in seen} == {2}
    assert {row["trace_id"]: row["review_state"] for row in seen if row["review_state"] != "unreviewed"} == {
        f"{4:032x}": "flagged", f"{6:032x}": "approved",
    }  # fmt: skip
    whole = {row["trace_id"]: row for row in reader.sql("SELECT * FROM traces").to_pylist()}
    assert all(row["cost"] == whole[row["trace_id"]]["cost"] for row in seen)
    assert reader.rows("traces_count", DAY_RANGE) == [{"traces": 29, "spans": 58}]


def test_filters_keep_what_they_name(reader: Reader) -> None:
    """Each field of the filter record narrows; a trace is kept when one of its spans is."""

    def spans(**fields: Any) -> int:
        return int(reader.rows("traces_count", Filters(start=DAY_RANGE.start, end=DAY_RANGE.end, **fields))[0]["spans"])

    assert spans() == 58
    assert spans(services=("s0", "s1")) == 38
    assert spans(statuses=("error",)) == 11
    assert spans(models=("own",)) == 9
    assert spans(tags=("vip", "other")) == 8
    assert spans(text="OWN") == 9
    assert spans(text="100% '; DROP") == 0
    assert spans(review_states=("flagged",)) == 2
    assert spans(tenants=("nobody",)) == 0
    later = Filters(start=NOON + dt.timedelta(seconds=30), end=NOON + dt.timedelta(seconds=40))
    assert reader.rows("traces_count", later)[0]["spans"] == 10


def test_conversations_page_and_their_calls(reader: Reader) -> None:
    """A conversation's row sums all its calls, and its calls come in order."""
    page = reader.rows("conversations_page", DAY_RANGE, limit=3)
    assert [row["conversation"] for row in page] == ["c3", "c2", "c1"]
    calls = reader.rows("conversation_calls", DAY_RANGE, conversation="c1")
    assert [row["span_id"] for row in calls] == [f"{n:016x}" for n in range(5, 60, 4)]
    row = page[2]
    assert (row["calls"], row["input_tokens"]) == (14, sum(1010 * n for n in range(5, 60, 4)))
    assert row["cost"] == pytest.approx(sum(call["cost"] or 0 for call in calls), abs=1e-12)


def test_tiles_compare_with_the_period_before(reader: Reader) -> None:
    """The previous period has the same length and ends where this one begins."""
    noon = Filters(start=dt.datetime(2026, 11, 2, 12), end=dt.datetime(2026, 11, 2, 23))
    current, previous = reader.rows("overview_tiles", noon)
    assert (current["period"], current["calls"], current["cost"], current["input_tokens"]) == ("current", 8, 0.5, 24)
    assert (previous["period"], previous["calls"], previous["cost"]) == ("previous", 8, 0.5)
    nothing = Filters(start=dt.datetime(2020, 1, 1), end=dt.datetime(2020, 1, 2))
    current, previous = reader.rows("overview_tiles", nothing)
    assert (current["calls"], current["cost"], previous["p95_ms"]) == (0, None, None)


def test_periods_are_exact_to_the_second(tmp_path: Path) -> None:
    """Wherever a range begins and ends: the calls from its start on and before its end count, the period before has the
    same length, and hours that lie within come from the rollup."""
    lake, minutes = Lake(tmp_path), (5, 50, 70, 95, 100, 121, 150, 179, 200)
    times = [NOON + dt.timedelta(minutes=at) for at in minutes]
    lake.add("spans", [
        span(n, start_time=time, **usage(uncached_input=at))
        for n, (time, at) in enumerate(zip(times, minutes, strict=True), 1)
    ])  # fmt: skip
    hours = [[at for at in minutes if at // 60 == hour] for hour in range(4)]
    lake.add("rollup", [rollup(calls=len(of), hour=12 + h, input_tokens=sum(of)) for h, of in enumerate(hours)])
    publish(lake.data, lake.manifest(), BOOK, {})
    reader = Reader(lake.data)
    for start, end in itertools.combinations((49, 60, 71, 95, 100, 120, 130, 180, 181), 2):
        filters = Filters(start=NOON + dt.timedelta(minutes=start), end=NOON + dt.timedelta(minutes=end))
        before = 2 * start - end
        expected = [sum(start <= at < end for at in minutes), sum(before <= at < start for at in minutes)]
        tiles = reader.rows("overview_tiles", filters)
        assert [tile["calls"] for tile in tiles] == expected, (start, end)
        assert tiles[0]["input_tokens"] == (sum(at for at in minutes if start <= at < end) or None)
        (total,) = reader.rows("quality_totals", filters)
        assert (total["calls"] or 0) == expected[0]
        moved = reader.rows("top_movers", filters, by="service")
        assert sum(row["calls"] for row in moved) == expected[0]
        assert sum(row["previous_calls"] for row in moved) == expected[1]


def test_what_moved_is_unknown_without_a_price(reader: Reader) -> None:
    """Calls without a price have no cost, and no change of it; a period without calls cost nothing."""
    filters = Filters(start=NOON, end=NOON + dt.timedelta(hours=1), statuses=("success",))
    moved = {row["key"]: row for row in reader.rows("top_movers", filters, by="model")}
    assert (moved["own"]["cost"], moved["own"]["previous_cost"], moved["own"]["change"]) == (None, 0, None)
    assert moved["gpt-5"]["cost"] == moved["gpt-5"]["change"] > 0
    assert [row["key"] for row in reader.rows("top_movers", filters, by="model")] == ["gpt-5", "own"]


def test_health_figures_keep_to_the_filters(reader: Reader) -> None:
    """Models without a price are counted among the calls that the filters keep."""
    failed = Filters(start=DAY_RANGE.start, end=DAY_RANGE.end, statuses=("error",))
    direct = reader.sql("SELECT count(*) AS n FROM calls WHERE status = 'error' AND model = 'own'").to_pylist()
    assert [(row["model"], row["calls"]) for row in reader.rows("unpriced_models", failed)] == [("own", direct[0]["n"])]


def test_rollup_and_calls_answer_alike(reader: Reader) -> None:
    """Facts from the calls themselves (a status filter needs them) equal sums over `calls`."""
    errors = Filters(start=DAY_RANGE.start, end=DAY_RANGE.end, statuses=("error",))
    by_service = {row["key"]: row for row in reader.rows("cost_table", errors, by="service")}
    direct = reader.sql(
        "SELECT service_name, count(*) AS n, sum(cost) AS cost, sum(input_tokens)::BIGINT AS t "
        "FROM calls WHERE status = 'error' GROUP BY 1"
    ).to_pylist()
    assert len(direct) == len(by_service) == 3
    for row in direct:
        found = by_service[row["service_name"]]
        assert (found["calls"], found["input_tokens"], found["errors"]) == (row["n"], row["t"], row["n"])
        assert found["cost"] == pytest.approx(row["cost"], abs=1e-9)


@pytest.mark.parametrize("by", list(DIMENSIONS))
def test_every_dimension_breaks_costs_down(reader: Reader, by: str) -> None:
    """Each dimension parts the same total."""
    rows = reader.rows("cost_table", DAY_RANGE, by=by, then_by="model")
    assert sum(row["cost"] for row in rows) == 1.0


def test_price_used_explains_the_cost(reader: Reader) -> None:
    """The buckets of one call with their rates add up to its cost."""
    found = reader.rows("price_used", trace_id=f"{2:032x}", span_id=f"{3:016x}")
    assert {row["bucket"]: row["tokens"] for row in found} == {
        "uncached_input": 3000,
        "cache_read": 30,
        "text_output": 3,
    }
    assert sum(row["amount"] for row in found) == pytest.approx(found[0]["cost"], abs=1e-15)


def test_unknown_dimension_or_missing_parameter_is_an_error() -> None:
    """A misspelt request never becomes SQL text."""
    with pytest.raises(KeyError):
        Query("cost_table", DAY_RANGE, by="model; DROP TABLE x")
    with pytest.raises(TypeError, match="span_id"):
        Query("price_used", trace_id="x")


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 1.5, "it's $start -- '", "\0x", ["a'b", None], dt.datetime(2026, 1, 2, 3, 4, 5, 6),
     dt.date(2026, 1, 2), b"\x00\xff'"],
)  # fmt: skip
def test_literals_mean_their_value(value: Any) -> None:
    """A parameter written out as SQL reads back as the same value, whatever it holds."""
    with duckdb.connect() as connection:
        assert connection.sql(f"SELECT {literal(value)}").fetchall() == [(value,)]


@pytest.mark.parametrize(
    "where", ["1=1) UNION SELECT * FROM calls WHERE (true", "true; DROP TABLE x", "nonsense = 3", "true) --"]
)
def test_a_condition_is_only_a_condition(reader: Reader, where: str) -> None:
    """What is passed as a condition on calls cannot become another statement or query."""
    with pytest.raises(QueryRefused):
        list(reader.call_records(where))


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM read_text('/etc/passwd')", "COPY (SELECT 1) TO '/tmp/x'", "SELECT 1; SELECT 2", "SET threads = 1",
     "ATTACH '/tmp/y.db'", "INSTALL httpfs", "CREATE TEMP TABLE t AS SELECT 1", "SELECT * FROM '/etc/passwd'",
     "EXPLAIN SELECT 1", "SELEC"],
)  # fmt: skip
def test_sql_of_a_person_reads_the_views_and_nothing_else(reader: Reader, text: str) -> None:
    """One SELECT over the views: no other file, statement or setting."""
    assert reader.sql("SELECT count(*) AS n FROM calls").to_pylist() == [{"n": 58}]
    with pytest.raises(QueryRefused):
        reader.sql(text)


def test_export_condition_filters(reader: Reader, tmp_path: Path) -> None:
    """A condition on any column of `calls` chooses the records."""
    found = [record["span_id"] for record in reader.call_records("status = 'error' AND cost > 0.01")]
    assert found == [f"{n:016x}" for n in (10, 15, 20, 25, 35, 40, 45, 50, 55)]


def test_filters_offer_what_fits_on_a_page(tmp_path: Path) -> None:
    """[23] Thousands of models, and one of a mebibyte: the thousand most used are offered, the giant is not."""
    lake = Lake(tmp_path)
    lake.add("rollup", [rollup(calls=n, model=f"m{n}") for n in range(1, 1203)] + [rollup(calls=9999, model="m" * MIB)])
    publish(lake.data, lake.manifest(), BOOK, {})
    offered = Reader(lake.data).rows("filter_values")
    models = [row["value"] for row in offered if row["dimension"] == "model"]
    assert models == [f"m{n}" for n in range(1202, 202, -1)]
    assert {row["value"] for row in offered if row["dimension"] == "service"} == {"shop"}
