"""The lake's commit: durable files, atomic manifests, one writer, nothing that does not count."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from spanfold.exporter.errors import FileDamaged, LakeLocked, ManifestDamaged
from spanfold.exporter.lake import EPOCH_DAY, Lake, partition_day, read_table
from spanfold.exporter.manifest import manifest_dir, read_current
from spanfold.semconv.schema import REDACTIONS

DAY = dt.date(2026, 11, 20)


def rows(count: int = 3) -> pa.Table:
    return pa.Table.from_pylist([{"tenant": "default", "rule": "email", "count": i} for i in range(count)], REDACTIONS)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with closing(Lake(tmp_path)) as opened:
        yield opened


def test_a_file_counts_from_the_commit_on(tmp_path: Path, lake: Lake) -> None:
    entry = lake.write("redactions", DAY, rows())
    assert () == read_current(tmp_path).files
    lake.commit([entry], journal=(1, 42), counters={"spans": 3})
    found = read_current(tmp_path)
    assert (1, (1, 42), {"spans": 3}) == (found.version, found.journal, found.counters)
    assert f"lake/redactions/gen=0/date=2026-11-20/{Path(entry.path).name}" == entry.path
    assert rows() == read_table(tmp_path, found.files[0])


def test_files_of_a_commit_that_never_happened_are_removed_at_the_next_start(tmp_path: Path) -> None:
    """A crash between a file's rename and the manifest leaves an orphan; it never counts."""
    lake = Lake(tmp_path)
    orphan = lake.write("redactions", DAY, rows())
    lake.close()
    Lake(tmp_path).close()
    assert not (tmp_path / orphan.path).exists()


def test_replaced_files_stay_for_readers_of_older_manifests(tmp_path: Path) -> None:
    """A query that began before a compaction finishes on the old files (P6)."""
    lake = Lake(tmp_path)
    old = lake.write("redactions", DAY, rows())
    lake.commit([old])
    new = lake.write("redactions", DAY, rows(1), level=1)
    lake.commit([new], removed=[old.path])
    assert [new.path] == lake.manifest.paths("redactions")
    assert (tmp_path / old.path).exists()
    lake.close()
    Lake(tmp_path).close()
    assert (tmp_path / old.path).exists()


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    """One writer per data directory (F23)."""
    lake = Lake(tmp_path)
    with pytest.raises(LakeLocked, match=f"process {os.getpid()} already folds"):
        Lake(tmp_path)
    lake.close()
    Lake(tmp_path).close()


def test_a_flipped_byte_in_a_file_is_an_error_and_not_a_wrong_number(tmp_path: Path, lake: Lake) -> None:
    """DuckDB and pyarrow return silently wrong values here; the manifest's checksum does not (F12)."""
    entry = lake.write("redactions", DAY, rows(1000))
    lake.commit([entry])
    raw = bytearray((tmp_path / entry.path).read_bytes())
    raw[len(raw) // 3] ^= 1
    (tmp_path / entry.path).write_bytes(raw)
    with pytest.raises(FileDamaged, match=entry.path):
        read_table(tmp_path, entry)


@pytest.mark.parametrize("position", [0, 10, 100, -3])
def test_a_damaged_manifest_is_named(tmp_path: Path, lake: Lake, position: int) -> None:
    lake.commit([lake.write("redactions", DAY, rows())])
    path = manifest_dir(tmp_path) / "1.json"
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ManifestDamaged, match="manifest 1"):
        read_current(tmp_path)


@pytest.mark.parametrize(
    ("start", "day"),
    [
        (dt.datetime(2026, 11, 20, 23, 59, 59, 999_999), DAY),
        (dt.datetime(2015, 1, 1), dt.date(2015, 1, 1)),
        (dt.datetime(2100, 12, 31), dt.date(2100, 12, 31)),
        (dt.datetime(2014, 12, 31, 23), EPOCH_DAY),
        (dt.datetime(2101, 1, 1), EPOCH_DAY),
        (dt.datetime(1970, 1, 1), EPOCH_DAY),
        (None, EPOCH_DAY),
    ],
)
def test_the_partition_is_the_day_of_the_spans_own_start(start: dt.datetime | None, day: dt.date) -> None:
    """2015..2100, else 1970-01-01; never attribute text, never the time of receipt."""
    assert day == partition_day(start)
