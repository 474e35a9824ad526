"""The public views over hand-made lakes: each promise of docs/sql.md, on DuckDB 2 and, where it is there, 1.4."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanfold.analytics.prices import PriceBook
from spanfold.analytics.snapshot import publish
from spanfold.semconv.schema import PROMOTED
from tests.analytics.lake import DAY, NOON, Lake, chain, context, message_key, rollup, span, usage

CONTRACT = {  # view -> the columns that design.md section 3 promises, in any order
    "spans": """date tenant trace_id span_id parent_span_id name kind operation start_time end_time duration_ms status
        error_type error_message service_name service_version environment project session_id conversation_id user_id
        key_label provider request_model response_model agent_name tool_name tags dialect scope_name is_call attributes
        attributes_typed""",
    "calls": """date tenant trace_id span_id parent_span_id name kind operation start_time end_time duration_ms status
        error_type service_name service_version environment project session_id conversation_id user_id key_label
        provider request_model response_model agent_name tool_name tags dialect scope_name input_tokens output_tokens
        uncached_input_tokens cache_read_tokens cache_write_tokens cache_write_1h_tokens audio_input_tokens
        image_input_tokens text_output_tokens reasoning_tokens audio_output_tokens usage_verdict cost currency
        price_confidence streaming ttft_ms finish_reasons response_id prompt_fingerprint prompt_name prompt_version
        thread_id input_head output_head context_messages new_messages system_id tools_id""",
    "messages": """date tenant message_id parent_id content_id thread_id depth role chars redactions first_seen
        content""",
    "span_messages": "date trace_id span_id direction position message_id is_new",
    "call_messages": "date trace_id span_id direction position message_id is_new",
    "rollup_hourly": """hour tenant project service_name environment provider model operation key_label calls errors
        canceled input_tokens output_tokens uncached_input_tokens cache_read_tokens cache_write_tokens
        cache_write_1h_tokens audio_input_tokens image_input_tokens text_output_tokens reasoning_tokens
        audio_output_tokens cost unpriced_calls duration_ms latency_buckets""",
    "rollup_daily": """date tenant project service_name environment provider model operation key_label calls errors
        canceled input_tokens output_tokens uncached_input_tokens cache_read_tokens cache_write_tokens
        cache_write_1h_tokens audio_input_tokens image_input_tokens text_output_tokens reasoning_tokens
        audio_output_tokens cost unpriced_calls duration_ms latency_buckets""",
    "traces": """tenant trace_id name service_name start_time end_time duration_ms spans errors calls cost models status
        lifecycle""",
    "conversations": "tenant conversation start_time end_time calls turns cost models worst_status",
    "logs": "date tenant trace_id span_id time severity_text event_name body attributes",
    "metrics": "date tenant name unit type time value count sum buckets attributes",
    "suppressed": "date tenant trace_id span_id reason merged_into",
    "prices": """price_key provider model bucket unit price tier_start valid_from valid_to source book_version
        known_from""",
    "exchange_rates": "currency day usd from_day until_day",
    "call_costs": "date tenant trace_id span_id cost cost_believed cost_today currency price_confidence rate_id",
    "unpriced": "tenant provider model calls input_tokens output_tokens first_seen last_seen suggestion",
    "redactions": "date tenant rule service_name place count",
    "deploys": "tenant id service version completed_at source",
    "anomalies": "tenant id metric window_start window_end expected actual",
    "reviews": "tenant kind trace_id span_id message_id state revision updated_at who",
    "review_events": "seq tenant kind trace_id decided_at who from_state to_state",
    "message_costs": "date tenant trace_id span_id position message_id role tool_name resent tokens cost",
    "cache_use": """date tenant trace_id span_id expected_tokens cache_read_tokens missed_tokens missed_cost cause
        diverged_position diverged_id expected_id""",
    "repeats": "date tenant trace_id span_id kind tool_name nth other_trace_id other_span_id cost",
    "data_quality": "date tenant service_name scope_name kind detail count first_seen",
    "attributes_seen": "date tenant service_name dialect scope_name scope_version key spans example_trace_id",
}
EMPTY = {
    "deploys",
    "anomalies",
    "reviews",
    "review_events",
    "exchange_rates",
    "cache_use",
    "repeats",
    "attributes_seen",
}
BOOK = PriceBook.load()
OLD_DUCKDB = os.environ.get("SPANFOLD_DUCKDB_1_4")  # a Python that has duckdb 1.4


def snapshot(lake: Lake, **state: Any) -> duckdb.DuckDBPyConnection:
    publish(lake.data, lake.manifest(), BOOK, state)
    return duckdb.connect(str(lake.data / "spanfold.duckdb"), read_only=True)


def rows(lake: Lake, sql: str) -> list[dict[str, Any]]:
    with snapshot(lake) as connection:
        found: list[dict[str, Any]] = connection.sql(sql).to_arrow_table().to_pylist()
    return found


def full_lake(data: Path) -> Lake:
    """One row or more of every table."""
    lake = Lake(data)
    lake.add("spans", [
        span(1, operation="invoke_agent", is_container=True, request_model=None, response_model=None, provider=None,
             **usage(uncached_input=30, text_output=3)),
        span(2, trace=1, parent_span_id=f"{1:016x}", conversation_id="c", **usage(uncached_input=30, text_output=3)),
        span(3, provider="acme", request_model="own-1", response_model=None, status="error",
             **usage(uncached_input=7)),
    ])  # fmt: skip
    lake.add("suppressed", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{1:016x}", "revision": 1,
                             "reason": "container"}])  # fmt: skip
    lake.add("messages", chain(3))
    lake.add("contexts", [context(2, trace=1, depth=1), context(2, trace=1, depth=2, direction="output", first=2)])
    lake.add("links", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{2:016x}", "revision": 1,
                        "root": "c", "shared_messages": 1}])  # fmt: skip
    lake.add("rollup", [rollup(calls=1, model="gpt-5"), rollup(calls=1, provider="acme", model="own-1", priced=0)])
    lake.add("logs", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{2:016x}", "time": NOON,
                       "severity_text": "INFO", "log_id": message_key(5), "attributes": '{"a":1}'}])  # fmt: skip
    lake.add("metrics", [{"tenant": "default", "name": "m", "type": "sum", "time": NOON, "value": 2.0,
                          "point_id": message_key(6)}])  # fmt: skip
    lake.add("redactions", [{"tenant": "default", "rule": "email", "service_name": "shop", "place": "content",
                             "count": n} for n in (2, 3)])  # fmt: skip
    lake.add("quality", [{"tenant": "default", "service_name": "shop", "kind": "bad_json", "detail": "k", "count": 4,
                          "first_seen": NOON}])  # fmt: skip
    return lake


@pytest.mark.parametrize("empty", [True, False])
def test_every_view_has_the_promised_columns(tmp_path: Path, empty: bool) -> None:
    """Each view of the contract exists and selects, with and without stored rows."""
    lake = Lake(tmp_path) if empty else full_lake(tmp_path)
    with snapshot(lake) as connection:
        for view, columns in CONTRACT.items():
            table = connection.sql(f"SELECT * FROM {view}").to_arrow_table()
            assert set(columns.split()) <= set(table.column_names), view
            if not empty and view not in EMPTY:
                assert table.num_rows, f"{view} is empty"


_OLD = """
import duckdb, json, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
out = {"version": duckdb.__version__}
for view in json.loads(sys.argv[2]):
    out[view] = len(connection.execute(f"SELECT * FROM {view}").fetchall())
out["p50"] = connection.execute("SELECT latency_quantile(latency_buckets, 0.5) FROM rollup_daily").fetchall()[0][0]
print(json.dumps(out))
"""


@pytest.mark.skipif(not OLD_DUCKDB, reason="SPANFOLD_DUCKDB_1_4 names no Python with duckdb 1.4 (.ci/run makes one)")
def test_duckdb_1_4_reads_every_view(tmp_path: Path) -> None:
    """A stock DuckDB 1.4 gives as many rows of each view as DuckDB 2."""
    lake = full_lake(tmp_path)
    with snapshot(lake) as connection:
        here = {view: len(connection.sql(f"SELECT * FROM {view}").fetchall()) for view in CONTRACT}
    command = [str(OLD_DUCKDB), "-c", _OLD, str(lake.data / "spanfold.duckdb"), json.dumps(list(CONTRACT))]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found.pop("version").startswith("1.4")
    assert found.pop("p50") == pytest.approx(1000, rel=0.3)
    assert found == here


def test_another_catalog_may_attach_the_snapshot(tmp_path: Path) -> None:
    """The views answer under any name that the file is attached as."""
    lake = full_lake(tmp_path)
    snapshot(lake).close()
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{lake.data / 'spanfold.duckdb'}' AS elsewhere (READ_ONLY)")
        assert connection.sql("SELECT count(*) FROM elsewhere.calls").fetchall() == [(2,)]


def test_paths_are_no_patterns(tmp_path: Path) -> None:
    """A data directory with quotes, spaces and glob characters in its name reads its own files and no others."""
    lake = Lake(tmp_path / "it's [a] da*a dir")
    lake.add("spans", [span(1)])
    other = Lake(tmp_path / "it's a data dir")
    other.add("spans", [span(2), span(3)])
    assert rows(lake, "SELECT span_id FROM spans") == [{"span_id": f"{1:016x}"}]


def test_attributes_are_whole_again(tmp_path: Path) -> None:
    """Promoted attributes stand in `attributes` exactly where their bit is set, beside the stored rest, nulls kept."""
    bits = {item.key: 1 << bit for bit, item in enumerate(PROMOTED)}
    lake = Lake(tmp_path)
    lake.add("spans", [
        span(1, promoted=bits["gen_ai.request.model"] | bits["gen_ai.usage.input_tokens"]
             | bits["gen_ai.request.stream"] | bits["gen_ai.response.finish_reasons"],
             attributes='{"x":{"y":null},"q\\"k":1}', request_model='a"b', input_tokens=5, streaming=True,
             finish_reasons=["stop", "length"]),
        span(2, promoted=bits["gen_ai.request.model"]),
        span(3, attributes="{}"),
        span(4, promoted=bits["gen_ai.system"] | bits["gen_ai.provider.name"], attributes='{"a":1}'),
    ])  # fmt: skip
    found = [json.loads(row["attributes"]) for row in rows(lake, "SELECT attributes FROM spans ORDER BY span_id")]
    assert found == [
        {"x": {"y": None}, 'q"k': 1, "gen_ai.request.model": 'a"b', "gen_ai.usage.input_tokens": 5,
         "gen_ai.request.stream": True, "gen_ai.response.finish_reasons": ["stop", "length"]},
        {"gen_ai.request.model": "gpt-5"},
        {},
        {"a": 1, "gen_ai.provider.name": "openai", "gen_ai.system": "openai"},
    ]  # fmt: skip


def test_span_times_and_private_columns(tmp_path: Path) -> None:
    """end = start + duration to the microsecond, whatever clock the sender had; private text is NULL."""
    lake = Lake(tmp_path)
    lake.add("spans", [
        span(1, start_nanos=900, duration_ns=1_000_100),
        span(2, duration_ns=-5_000_000),
        span(3, start_time=dt.datetime(2554, 7, 21), duration_ns=2**63 - 1),
        span(4, start_time=dt.datetime(1970, 1, 1), duration_ns=-(2**63)),
    ])  # fmt: skip
    found = rows(
        lake,
        "SELECT epoch_us(end_time) - epoch_us(start_time) AS took, * FROM spans ORDER BY span_id",
    )
    assert [row["took"] for row in found[:2]] == [1001, -5000]
    assert [row["duration_ms"] for row in found[:2]] == [1.0001, -5.0]
    assert {row["error_message"] for row in found} == {None}


def test_calls_are_candidates_that_count(tmp_path: Path) -> None:
    """A suppressed candidate is no call; the highest revision decides, also when it takes a suppression back."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(n, **usage(uncached_input=10)) for n in range(1, 5)] + [span(5, is_candidate=False)])
    decided = {"tenant": "default", "merged_into": None}
    lake.add("suppressed", [
        decided | {"trace_id": f"{n:032x}", "span_id": f"{n:016x}", "revision": revision, "reason": reason}
        for n, revision, reason in ((2, 1, "twin"), (3, 1, "container"), (3, 2, None), (4, 1, None), (4, 3, "mirror"))
    ])  # fmt: skip
    assert [row["span_id"] for row in rows(lake, "SELECT span_id FROM calls ORDER BY 1")] == [
        f"{n:016x}" for n in (1, 3)
    ]
    assert [row["is_call"] for row in rows(lake, "SELECT is_call FROM spans ORDER BY span_id")] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert [(r["reason"]) for r in rows(lake, "SELECT reason FROM suppressed ORDER BY span_id")] == ["twin", "mirror"]


def test_what_a_call_takes_from_others_stands_instead_of_its_own(tmp_path: Path) -> None:
    """Fills of the winning decision: what it lacked, or a finer split of its tokens; the price follows them."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1, provider=None, request_model=None, response_model=None, response_id="mine",
                            **usage(text_output=100))])  # fmt: skip
    fills = {"provider": "openai", "request_model": "gpt-5", "response_id": "other", "uncached_input_tokens": 1000,
             "input_tokens": 1000, "ttft_ms": 12.5, "streaming": True}  # fmt: skip
    lake.add("suppressed", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{1:016x}", "revision": 1,
                             "fills": json.dumps(fills)}])  # fmt: skip
    (row,) = rows(lake, "SELECT * FROM calls")
    names = ("provider", "request_model", "response_id", "input_tokens", "ttft_ms", "streaming")
    assert [row[name] for name in names] == ["openai", "gpt-5", "other", 1000, 12.5, True]
    assert row["cost"] == pytest.approx((1000 * 1.25 + 100 * 10) / 1e6, abs=1e-12)


def test_cost_is_null_without_a_price(tmp_path: Path) -> None:
    """An unpriced model has no cost, no currency and stands in `unpriced` with its volume; never 0."""
    lake = full_lake(tmp_path)
    (row,) = rows(lake, "SELECT cost, currency, price_confidence FROM calls WHERE provider = 'acme'")
    assert row == {"cost": None, "currency": None, "price_confidence": "unpriced"}
    assert rows(lake, "SELECT provider, model, calls FROM unpriced") == [
        {"provider": "acme", "model": "own-1", "calls": 1}
    ]
    assert rows(lake, "SELECT sum(cost) AS cost FROM rollup_daily WHERE model = 'own-1'") == [{"cost": None}]


def test_context_columns_of_calls(tmp_path: Path) -> None:
    """Heads, counts and conversation come from the highest revision; new = not seen by the continued call."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1, **usage(uncached_input=1)), span(2, session_id="s", **usage(uncached_input=1))])
    lake.add("messages", chain(40))
    lake.add("contexts", [
        context(1, depth=3, revision=1), context(1, depth=33, revision=2, system=900, tools=901),
        context(1, depth=34, first=34, direction="output"),
    ])  # fmt: skip
    lake.add("links", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{1:016x}", "revision": 7,
                        "root": "r", "shared_messages": 32, "continues_span_id": "x"}])  # fmt: skip
    first, second = rows(lake, "SELECT * FROM calls ORDER BY span_id")
    assert (first["context_messages"], first["new_messages"], first["output_messages"]) == (34, 2, 1)
    assert (first["input_head"], first["output_head"]) == (message_key(33).hex(), message_key(34).hex())
    assert (first["system_id"], first["tools_id"]) == (message_key(900).hex(), message_key(901).hex())
    assert (first["conversation"], second["conversation"]) == ("r", "s")
    assert (second["context_messages"], second["input_head"]) == (None, None)


@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 70))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_unfolding_by_anchors_gives_the_whole_path(
    tmp_path_factory: pytest.TempPathFactory, length: int, first: int, shared: int
) -> None:
    """For any history and any answer behind it, span_messages lists exactly the chain, in order, without recursion."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    first = min(first, length)
    lake.add("spans", [span(1, **usage(uncached_input=1))])
    lake.add("messages", chain(length + 2))
    lake.add("messages", chain(length + 2))  # twice until compaction: must not show
    lake.add("contexts", [context(1, depth=length), context(1, depth=length + 1, first=first, direction="output")])
    lake.add("links", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{1:016x}", "revision": 1,
                        "shared_messages": shared}])  # fmt: skip
    found = rows(lake, "SELECT direction, position, message_id, is_new FROM call_messages ORDER BY 1, 2")
    given = [("input", n, message_key(n).hex(), n >= shared) for n in range(length + 1)]
    said = [("output", n - first, message_key(n).hex(), True) for n in range(first, length + 2)]
    assert [tuple(row.values()) for row in found] == given + said


def test_messages_stand_once_a_day(tmp_path: Path) -> None:
    """A message that lies in several files of a day is one row: earliest sight, parent from its path."""
    lake = Lake(tmp_path)
    early = dt.datetime(2026, 11, 2, 1)
    lake.add("messages", chain(18))
    lake.add("messages", [row | {"first_seen": early} for row in chain(18)])
    lake.add("messages", chain(1), date=DAY + dt.timedelta(days=1))
    found = rows(lake, "SELECT * FROM messages ORDER BY date, depth")
    assert len(found) == 19
    assert [row["parent_id"] for row in found[:18]] == [None, *(message_key(n).hex() for n in range(17))]
    assert {row["first_seen"] for row in found[:18]} == {early}
    assert {row["content"] for row in found} == {None}


def test_rollups_add_up_deltas(tmp_path: Path) -> None:
    """Negative rows take back; a group that comes to nothing is gone; days are sums of hours; unknown stays NULL."""
    lake = Lake(tmp_path)
    lake.add("rollup", [
        rollup(calls=3, cost="0.3", input_tokens=30), rollup(calls=-1, cost="-0.1", input_tokens=-10),
        rollup(hour=1, calls=1, cost="0.000000000001", input_tokens=5), rollup(calls=2, model="gone"),
        rollup(calls=-2, model="gone"),
    ])  # fmt: skip
    hourly = rows(lake, "SELECT hour, calls, cost, input_tokens, reasoning_tokens FROM rollup_hourly ORDER BY hour")
    assert [tuple(row.values())[1:] for row in hourly] == [(2, 0.2, 20, None), (1, 1e-12, 5, None)]
    (day,) = rows(lake, "SELECT date, calls, cost_exact, input_tokens FROM rollup_daily")
    assert (day["date"], day["calls"], str(day["cost_exact"]), day["input_tokens"]) == (DAY, 3, "0.200000000001", 25)


def test_latency_quantiles(tmp_path: Path) -> None:
    """Buckets merge over rows and give a quantile inside the bucket that holds it; no calls, no latency."""
    lake = Lake(tmp_path)
    lake.add("rollup", [rollup(calls=4, latency={10: 4}), rollup(calls=4, hour=1, latency={20: 4})])
    (row,) = rows(lake, """SELECT latency_quantile(latency_buckets, 0.25) AS low, latency_quantile(latency_buckets, 0.5)
        AS mid, latency_quantile(latency_buckets, 0.9) AS high, latency_quantile([0, 0], 0.5) AS none,
        latency_bounds()[20] AS bound FROM rollup_daily""")  # fmt: skip
    assert 2**5 < row["low"] < 2**5.5
    assert row["mid"] == pytest.approx(2**5.5)
    assert 2**10 < row["high"] < 2**10.5
    assert (row["none"], row["bound"]) == (None, 2.0**10)


def test_traces_and_their_lifecycle(tmp_path: Path) -> None:
    """One row a trace: named by its root, counted by its calls; running, failed, needs_review or completed."""
    lake = Lake(tmp_path)
    parent = {"parent_span_id": f"{99:016x}", "is_candidate": False, "provider": None}
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    lake.add("spans", [
        span(1, name="root", is_candidate=False), span(2, trace=1, parent_span_id=f"{1:016x}", **usage(cache_read=5)),
        span(3, trace=2, name="bad root", status="error"),
        span(4, trace=3), span(5, trace=3, parent_span_id=f"{4:016x}", status="error"),
        span(6, trace=4, name="late", received_time=now, **parent), span(7, trace=5, name="lost", **parent),
    ])  # fmt: skip
    found = rows(lake, "SELECT * FROM traces ORDER BY trace_id")
    assert [(row["name"], row["lifecycle"], row["has_root"]) for row in found] == [
        ("root", "completed", True), ("bad root", "failed", True), ("chat gpt-5", "needs_review", True),
        ("late", "running", False), ("lost", "completed", False),
    ]  # fmt: skip
    first = found[0]
    assert (first["spans"], first["calls"], first["cache_read_tokens"], first["models"]) == (
        2,
        1,
        5,
        ["gpt-5-2025-08-07"],
    )
    assert first["duration_ms"] == 2000.0
    assert first["cost"] == pytest.approx(5 * 0.125 / 1e6, abs=1e-15)


def test_conversations(tmp_path: Path) -> None:
    """Calls group by continuation, else by stated conversation or session, else stand alone."""
    lake = Lake(tmp_path)
    lake.add("spans", [
        span(1, conversation_id="stated"), span(2, session_id="stated"), span(3), span(4, status="error"), span(5),
    ])  # fmt: skip
    lake.add("links", [{"tenant": "default", "trace_id": f"{4:032x}", "span_id": f"{4:016x}", "revision": 1,
                        "root": f"{3:032x}/{3:016x}", "shared_messages": 1}])  # fmt: skip
    found = rows(lake, "SELECT conversation, calls, turns, worst_status FROM conversations ORDER BY start_time")
    assert [tuple(row.values()) for row in found] == [
        ("stated", 2, 2, "success"), (f"{3:032x}/{3:016x}", 2, 2, "error"), (f"{5:032x}/{5:016x}", 1, 1, "success"),
    ]  # fmt: skip


def test_data_quality_shows_what_is_missing(tmp_path: Path) -> None:
    """Counted oddities, unpriced models, calls without usage and orphans stand in one view."""
    lake = full_lake(tmp_path)
    lake.add("spans", [span(9, trace=1, parent_span_id="feedfacefeedface", is_candidate=False)])
    lake.add("rollup", [rollup(calls=5, known=0, model="quiet")])
    lake.add("quality", [{"tenant": "default", "service_name": "shop", "kind": "bad_json", "detail": "k", "count": 2,
                          "first_seen": NOON}])  # fmt: skip
    found = rows(lake, "SELECT kind, detail, count FROM data_quality ORDER BY kind")
    assert [tuple(row.values()) for row in found] == [
        ("bad_json", "k", 6), ("missing_usage", "quiet", 5), ("orphan", None, 1), ("unpriced", "own-1", 1),
    ]  # fmt: skip


def test_state_copies_are_an_allowlist(tmp_path: Path) -> None:
    """A snapshot holds the listed columns of the control plane and nothing else that the store may send."""
    import pyarrow as pa

    sent = pa.table({"tenant": ["t"], "id": ["d1"], "service": ["shop"], "secret": ["x"]})
    with snapshot(Lake(tmp_path), deploys=sent, api_keys=sent) as connection:
        table = connection.sql("SELECT * FROM deploys").to_arrow_table()
        names = {name for (name,) in connection.sql("SELECT table_name FROM information_schema.tables").fetchall()}
    assert (table["id"].to_pylist(), "secret" in table.column_names, "api_keys" in names) == (["d1"], False, False)
