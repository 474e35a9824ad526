"""Retention by day, and the clocks that must not be believed."""

from __future__ import annotations

import datetime as dt

from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.exporter.retention import expired, is_too_much


def manifest(*days: str) -> Manifest:
    files = [
        FileEntry(table=t, date=d, path=f"{t}/{d}", rows=1, bytes=1, checksum="", level=0, created=1)
        for d in days
        for t in ("spans", "messages")
    ]
    return Manifest(version=1, files=tuple(files))


def gone(of: Manifest, keep: int, today: dt.date) -> set[str]:
    return {f.path for f in expired(of, keep, today)}


def test_days_over_their_time_go_with_all_their_tables() -> None:
    """LL-008, TB-066: with 30 days kept, the 31st before today goes."""
    found = gone(manifest("2026-10-20", "2026-10-21", "2026-11-20"), 30, dt.date(2026, 11, 20))
    assert {"spans/2026-10-20", "messages/2026-10-20"} == found


def test_a_clock_a_year_ahead_deletes_nothing_it_should_not() -> None:
    assert set() == gone(manifest("2026-11-01", "2026-11-20"), 30, dt.date(2027, 11, 20))


def test_a_span_from_the_future_deletes_nothing() -> None:
    assert set() == gone(manifest("2026-11-01", "2099-01-01"), 30, dt.date(2026, 11, 20))


def test_spans_of_unbelievable_time_stay() -> None:
    found = gone(manifest("1970-01-01", "2026-01-01", "2026-11-20"), 30, dt.date(2026, 11, 20))
    assert {"spans/2026-01-01", "messages/2026-01-01"} == found


def test_many_days_go_unasked_only_without_a_gap() -> None:
    """A month that is over goes when every day up to today has spans; after a gap of eight days it waits."""
    whole = manifest(*(f"2026-{month}-{day:02d}" for month in ("09", "10") for day in range(1, 31)))
    old = [f"2026-09-{day:02d}" for day in range(1, 31)]
    assert not is_too_much(old, whole)
    assert is_too_much(old, manifest(*old, "2026-10-08"))
    assert not is_too_much(old, manifest(*old, "2026-10-07"))
    assert not is_too_much(old[:3], manifest(*old[:3], "2026-10-08"))
