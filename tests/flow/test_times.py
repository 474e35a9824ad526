"""Times that nobody should send, and traces over many days: partitions as the design says, nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flow.sending import NOON, SECOND, chat, product, span, traces

DAY = 86_400 * SECOND
MIDNIGHT = NOON + DAY // 2  # 2025-11-21T00:00:00Z
FIRST, AFTER_LAST = 1_420_070_400 * SECOND, 4_133_980_800 * SECOND  # 2015-01-01, 2101-01-01
LATEST = 2**64 - 1
EPOCH = "1970-01-01"

STARTS = {
    "zero": (0, EPOCH),
    "one nanosecond": (1, EPOCH),
    "just before 2015": (FIRST - 1, EPOCH),
    "2015": (FIRST, "2015-01-01"),
    "just before midnight": (MIDNIGHT - 1, "2025-11-20"),
    "midnight": (MIDNIGHT, "2025-11-21"),
    "the end of 2100": (AFTER_LAST - 1, "2100-12-31"),
    "2101": (AFTER_LAST, EPOCH),
    "300 years ahead": (NOON + 300 * 365 * DAY, EPOCH),
    "as late as may be": (LATEST, EPOCH),
}


def test_the_partition_is_the_day_of_the_spans_own_start(tmp_path: Path) -> None:
    """Years 2015 to 2100 by their UTC day, all else 1970-01-01 (F16); nothing crashes, every call counts once,
    compaction and a restart change nothing."""
    with product(tmp_path) as p:
        p.send(*(traces([chat(n, 1, start=start, ms=0)]) for n, (start, _) in enumerate(STARTS.values(), 1)))
        p.fold()
        expected = sorted((f"{n:032x}", day) for n, (_, day) in enumerate(STARTS.values(), 1))
        check = "SELECT trace_id, date::VARCHAR FROM calls ORDER BY 1"
        assert p.query(check) == expected
        p.folding.compact_everything()
        p.restart()
        p.fold()
        assert p.query(check) == expected
        directories = {path.name for path in (tmp_path / "lake" / "spans" / "gen=0").iterdir()}
        assert directories == {f"date={day}" for _, day in STARTS.values()}
        assert p.query("SELECT sum(calls), sum(input_tokens) FROM rollup_daily") == [(10, 1000)]
        assert p.folding.lake.manifest.counters["skewed"] == 6
        assert p.query("SELECT start_time::VARCHAR FROM calls WHERE trace_id[-1:] = '1'") == [("1970-01-01 00:00:00",)]


@pytest.mark.parametrize(("start", "end"), [(NOON, NOON - SECOND), (NOON, 0), (0, LATEST), (LATEST, 0)])
def test_an_end_before_its_start_is_kept_as_it_is(tmp_path: Path, start: int, end: int) -> None:
    """F17: durations run backwards or over centuries; the row is there, and every view can be read."""
    odd = chat(1, 1)
    odd.start_time_unix_nano = start
    odd.end_time_unix_nano = end
    with product(tmp_path) as p:
        p.send(traces([odd]))
        p.fold()
        assert p.query("SELECT count(*) FROM calls") == [(1,)]
        for (view,) in p.query("SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"):
            p.query(f'SELECT * FROM "{view}"')


def test_a_trace_over_many_days_is_whole(tmp_path: Path) -> None:
    """F17: an agent before midnight, its calls hours and days later, one with a broken clock; children come first, the
    process starts anew between all of them, and what is a call is decided on the whole trace."""
    agent = span(1, 1, name="invoke_agent", start=MIDNIGHT - SECOND, gen_ai__operation__name="invoke_agent",
                 gen_ai__usage__input_tokens=600)  # fmt: skip
    starts = (MIDNIGHT + SECOND, MIDNIGHT + 5 * 3600 * SECOND, MIDNIGHT + 3 * DAY, 0)
    calls = [chat(1, n, 1, tokens=(150, 1), start=start) for n, start in enumerate(starts, 2)]
    with product(tmp_path) as p:
        for one in [agent, *calls]:
            p.send(traces([one]))
            p.fold()
            p.restart()
        p.fold()
        sums: list[tuple[Any, ...]] = [(4, 600, 4)]
        assert p.query("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM calls") == sums
        assert p.query("SELECT sum(calls), sum(input_tokens), sum(output_tokens) FROM rollup_hourly") == sums
        assert p.query("SELECT spans, calls FROM traces") == [(5, 4)]
        assert p.query("SELECT reason, date::VARCHAR FROM suppressed") == [("container", "2025-11-20")]
