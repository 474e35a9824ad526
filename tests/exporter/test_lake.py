"""The lake's commit: durable files, atomic manifests, one writer, nothing that does not count."""

from __future__ import annotations

import datetime as dt
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spanfold.exporter.errors import FileDamaged, LakeLocked, ManifestDamaged, ManifestTooNew
from spanfold.exporter.lake import EPOCH_DAY, GRACE_SECONDS, Lake, partition_day, read_table
from spanfold.exporter.manifest import manifest_dir, read_current
from spanfold.exporter.quarantine import pieces
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


@pytest.mark.parametrize(("level", "codec"), [(0, "SNAPPY"), (1, "ZSTD"), (2, "ZSTD")])
def test_fresh_files_are_cheap_to_write_and_merged_ones_small(
    tmp_path: Path, lake: Lake, level: int, codec: str
) -> None:
    entry = lake.prepare("redactions", DAY, rows(), level=level)
    lake.commit([lake.adopt(entry)])
    group = pq.ParquetFile(tmp_path / entry.path).metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {codec}
    assert rows() == read_table(tmp_path, read_current(tmp_path).files[0])


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


def two_commits(tmp_path: Path) -> list[str]:
    """Paths of the files that the first and the second commit added."""
    with closing(Lake(tmp_path)) as lake:
        paths = []
        for segment in (1, 2):
            entry = lake.write("redactions", DAY, rows(segment))
            lake.commit([entry], journal=(segment, 0))
            paths.append(entry.path)
    return paths


@pytest.mark.parametrize("position", [0, 10, 100, -3])
def test_the_manifest_before_stands_in_for_a_damaged_one(tmp_path: Path, position: int) -> None:
    """A flipped byte anywhere (F12): the older state counts under the newer number, its journal position too, and the
    damaged one is kept aside; what only that one named is an orphan."""
    first, second = two_commits(tmp_path)
    path = manifest_dir(tmp_path) / "2.json"
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)
    found = read_current(tmp_path)
    assert (2, (1, 0), [first]) == (found.version, found.journal, found.paths("redactions"))
    with closing(Lake(tmp_path)) as lake:
        assert found == lake.manifest
        assert 3 == lake.commit([lake.write("redactions", DAY, rows())]).version
    assert not (tmp_path / second).exists()
    assert ["quarantine/lake-manifest-2.json"] == [piece["path"] for piece in pieces(tmp_path)]
    assert bytes(raw) == (tmp_path / "quarantine" / "lake-manifest-2.json").read_bytes()


@pytest.mark.parametrize("pointer", [b"", b"\0\0", b"nonsense\n", b"77\n", b"\xff\xfe", None])
def test_a_torn_pointer_costs_nothing(tmp_path: Path, pointer: bytes | None) -> None:
    """`current` empty, zeroed, garbled, dangling or gone: the newest manifest is found by its number."""
    paths = two_commits(tmp_path)
    current = manifest_dir(tmp_path) / "current"
    current.unlink() if pointer is None else current.write_bytes(pointer)
    assert paths == read_current(tmp_path).paths("redactions")
    Lake(tmp_path).close()
    assert paths == read_current(tmp_path).paths("redactions")
    assert all((tmp_path / path).exists() for path in paths)


def test_without_any_whole_manifest_nothing_is_taken_for_an_orphan(tmp_path: Path) -> None:
    """Damaged or gone altogether: the writer refuses, naming the directory, and deletes no file."""
    paths = two_commits(tmp_path)
    for version in (1, 2):
        (manifest_dir(tmp_path) / f"{version}.json").write_bytes(b"{}")
    with pytest.raises(ManifestDamaged, match=r"lake/manifest is whole: restore"):
        Lake(tmp_path)
    for file in manifest_dir(tmp_path).iterdir():
        file.unlink()
    with pytest.raises(ManifestDamaged, match=r"has no manifest: restore"):
        Lake(tmp_path)
    assert all((tmp_path / path).exists() for path in paths)


def test_a_first_manifest_that_is_damaged_starts_again_from_the_journal(tmp_path: Path) -> None:
    """Nothing came before it: everything is folded again from the first record on."""
    with closing(Lake(tmp_path)) as lake:
        lake.commit([lake.write("redactions", DAY, rows())], journal=(1, 42))
        assert (0, 0) == lake.replay_from
    (manifest_dir(tmp_path) / "1.json").write_bytes(b"")
    found = read_current(tmp_path)
    assert (1, (0, 0), ()) == (found.version, found.journal, found.files)


def test_the_journal_is_kept_from_where_the_manifest_before_would_begin(tmp_path: Path) -> None:
    """Trimming up to `replay_from` leaves what a stand-in folds again."""
    two_commits(tmp_path)
    with closing(Lake(tmp_path)) as lake:
        lake.commit([], journal=(3, 0))
        assert (2, 0) == lake.replay_from
        lake.commit([], journal=(4, 0), pending=(2, 5))
        assert (2, 5) == lake.replay_from


def test_a_manifest_of_a_later_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Nothing older stands in for it (F26)."""
    two_commits(tmp_path)
    path = manifest_dir(tmp_path) / "2.json"
    text = path.read_bytes().split(b"\n")[0].replace(b'"format":1', b'"format":9')
    path.write_bytes(text + f"\n{zlib.crc32(text):08x}\n".encode())
    with pytest.raises(ManifestTooNew, match="manifest 2 has format 9"):
        Lake(tmp_path)
    assert path.exists()


def test_a_damaged_file_is_taken_out_named_and_kept(tmp_path: Path, lake: Lake) -> None:
    """Missing, cut and flipped files stop counting (F12, F14); whole ones stay, however often they are named."""
    entries = [lake.write("redactions", DAY, rows(count)) for count in (1, 2, 3, 4)]
    lake.commit(entries)
    gone, cut, flipped, whole = (tmp_path / entry.path for entry in entries)
    gone.unlink()
    os.truncate(cut, 20)
    flipped.write_bytes(flipped.read_bytes().replace(b"default", b"defau1t"))
    assert lake.quarantine(entry.path for entry in entries)
    assert {"redactions"} == lake.lost
    assert [entries[3].path] == lake.manifest.paths("redactions")
    assert not lake.quarantine([entry.path for entry in entries])
    told = {piece["was"]: (piece["problem"], piece["bytes"], piece["rows"]) for piece in pieces(tmp_path)}
    assert told == {
        entries[0].path: ("it is missing", 0, 1),
        entries[1].path: (f"it has 20 bytes instead of {entries[1].bytes:,}", 20, 2),
        entries[2].path: ("its checksum is not the manifest's", entries[2].bytes, 3),
    }
    assert whole.exists()


def test_what_the_disk_does_not_give_back_is_never_committed(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are verified as they are sealed: a byte that changed on its way to the disk fails the commit."""
    entry = lake.write("redactions", DAY, rows())
    written = (tmp_path / entry.path).with_suffix(".tmp")
    raw = bytearray(written.read_bytes())
    raw[10] ^= 1
    written.write_bytes(raw)
    with pytest.raises(FileDamaged, match="was not written as it should be"):
        lake.commit([entry])
    assert 0 == read_current(tmp_path).version


@pytest.mark.parametrize("jump", [365 * 86_400, -2 * 86_400])
def test_a_clock_that_jumps_takes_no_file_from_a_reader(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    """The grace of replaced files is counted by a clock that nobody sets (F18)."""
    old = lake.write("redactions", DAY, rows())
    lake.commit([old])
    lake.commit([lake.write("redactions", DAY, rows(1))], removed=[old.path])
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + jump * 1_000_000_000)
    lake.commit([])
    assert (tmp_path / old.path).exists()
    later = time.monotonic() + GRACE_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    lake.commit([])
    assert not (tmp_path / old.path).exists()


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
