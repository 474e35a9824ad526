"""Publishing: whole versions under readers, little work a version, nothing used twice."""

from __future__ import annotations

import os
import threading
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from spanfold.analytics.errors import NoSnapshot
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.queries import Reader
from spanfold.analytics.snapshot import KEEP, STATE, Publisher, publish
from spanfold.analytics.snapshots import Snapshots, published
from spanfold.state.copies import COPIES
from tests.analytics.lake import DAY, Lake, span, usage
from tests.analytics.test_prices import Stated

BOOK = PriceBook.load()


def counted(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as connection:
        return int(connection.sql("SELECT count(*) FROM spans").fetchall()[0][0])


def test_a_snapshot_names_exactly_the_files_of_its_manifest(tmp_path: Path) -> None:
    """A file that no manifest names does not count; an older snapshot keeps counting what it counted (rule 7)."""
    lake, publisher = Lake(tmp_path), Publisher(tmp_path)
    lake.add("spans", [span(1)])
    first = publisher.publish(lake.manifest(), BOOK, {})
    before = lake.manifest()
    lake.add("spans", [span(2), span(3)])
    again = publisher.publish(before, BOOK, {})
    second = publisher.publish(lake.manifest(), BOOK, {})
    assert [path.name for path in (first, again, second)] == ["v1.duckdb", "v1-1.duckdb", "v2.duckdb"]
    assert [counted(path) for path in (first, again, second, tmp_path / "spanfold.duckdb")] == [1, 1, 3, 3]
    assert os.stat(second).st_ino == os.stat(tmp_path / "spanfold.duckdb").st_ino


def test_snapshots_are_private_and_leave_nothing_behind(tmp_path: Path) -> None:
    """Files are readable by their owner only, and closing removes what only this process can use."""
    lake, publisher = Lake(tmp_path), Publisher(tmp_path)
    lake.add("spans", [span(1)])
    path = publisher.publish(lake.manifest(), BOOK, {})
    publisher.close()
    (prepared,) = (tmp_path / "snapshots").glob("prepared-*.duckdb")
    assert [p.stat().st_mode & 0o777 for p in (path, prepared)] == [0o600, 0o600]
    assert sorted(p.name for p in (tmp_path / "snapshots").iterdir()) == ["models.json", prepared.name, "v1.duckdb"]


def test_old_versions_go_and_names_never_return(tmp_path: Path) -> None:
    """The last few stay, young ones up to a limit; a name that was dropped is not used again."""
    lake, publisher = Lake(tmp_path), Publisher(tmp_path)
    lake.add("spans", [span(1)])
    names = []
    for _ in range(KEEP + 3):
        path = publisher.publish(lake.manifest(), BOOK, {}, models=[])
        names.append(path.name)
        os.utime(path, (time.time() - 3600,) * 2)
    kept = {name for name, _ in published(tmp_path / "snapshots")}
    assert kept == set(names[-KEEP:])
    assert publisher.publish(lake.manifest(), BOOK, {}, models=[]).name not in names


def test_publishing_reads_no_stored_span(tmp_path: Path) -> None:
    """With two stored files, publishing a third touches neither: their bytes may even be gone (rule 11). The view's
    first file is opened for its schema only."""
    lake = Lake(tmp_path)
    publisher = Publisher(tmp_path)
    for number in (1, 2):
        lake.add("spans", [span(number, **usage(uncached_input=1))])
    publisher.publish(lake.manifest(), BOOK, {})
    os.truncate(tmp_path / lake.files[1].path, 0)
    lake.add("spans", [span(3, request_model="o3", response_model=None, **usage(uncached_input=1))])
    path = publisher.publish(lake.manifest(), BOOK, {})
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.sql("SELECT request_model FROM book.models ORDER BY 1").fetchall()
    assert found == [("gpt-5",), ("o3",)]


def test_models_are_learned_again_when_their_file_is_lost(tmp_path: Path) -> None:
    """The file of model names is a cache: damaged or gone, the names come from the stored spans, twins included."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1, provider=None, response_model=None, **usage(uncached_input=1_000_000))])
    lake.add("suppressed", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{1:016x}", "revision": 1,
                             "fills": '{"provider":"openai"}'}])  # fmt: skip
    Publisher(tmp_path).publish(lake.manifest(), BOOK, {})
    (tmp_path / "snapshots" / "models.json").write_text("{damaged")
    Publisher(tmp_path).publish(lake.manifest(), BOOK, {})
    assert Reader(tmp_path).rows("span_call", span_id=f"{1:016x}")[0]["cost"] == pytest.approx(1.25)


def test_readers_never_meet_a_half_or_stale_version(tmp_path: Path) -> None:
    """While versions are replaced at full speed, every read is whole and none goes back in time."""
    lake, publisher = Lake(tmp_path), Publisher(tmp_path)
    lake.add("spans", [span(0)])
    publisher.publish(lake.manifest(), BOOK, {})
    reader, stop, faults = Reader(tmp_path), threading.Event(), []

    def read() -> None:
        last = 0
        while not stop.is_set():
            view = reader.view()
            count = view.query("stats").to_pylist()[0]["rows"]
            version = int(view.version.partition("-")[0][1:])
            if count != version or version < last:
                faults.append((count, version, last))
            last = version

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 25):
        lake.add("spans", [span(number)])
        publisher.publish(lake.manifest(), BOOK, {}, models=[])
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert reader.version == "v25"


def test_an_open_version_outlives_its_file(tmp_path: Path) -> None:
    """Who holds a version goes on reading it after it was dropped, and leaves no link behind."""
    lake, publisher = Lake(tmp_path), Publisher(tmp_path)
    lake.add("spans", [span(1)])
    path = publisher.publish(lake.manifest(), BOOK, {})
    held = Snapshots(tmp_path).newest()
    lake.add("spans", [span(2)], date=DAY)
    publisher.publish(lake.manifest(), BOOK, {})
    path.unlink()
    assert held.cursor().sql("SELECT count(*) FROM spans").fetchall() == [(1,)]
    assert not [p for p in (tmp_path / "snapshots").iterdir() if p.name.startswith(".")]


def test_a_reader_that_spills_stops_no_publishing(tmp_path: Path) -> None:
    """DuckDB keeps what does not fit into memory in a folder `spanfold.duckdb.tmp` beside the file that it reads."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1)])
    publisher = Publisher(lake.data)
    publisher.publish(lake.manifest(), BOOK, {})
    (lake.data / "spanfold.duckdb.tmp").mkdir()
    (lake.data / "spanfold.duckdb.tmp" / "duckdb_temp_storage_DEFAULT-0.tmp").touch()
    lake.add("spans", [span(2)])
    publisher.publish(lake.manifest(), BOOK, {})
    assert counted(lake.data / "spanfold.duckdb") == 2


def test_nothing_published_says_what_to_do(tmp_path: Path) -> None:
    """An empty data directory is a sentence with the next step, not a traceback."""
    with pytest.raises(NoSnapshot, match="spanfold up"):
        Reader(tmp_path).query("stats")


def test_state_copies_show_in_the_next_snapshot(tmp_path: Path) -> None:
    """New state copies reach the views without a new manifest; the same object is not written twice."""
    lake, publisher = Lake(tmp_path), Publisher(tmp_path)
    lake.add("spans", [span(1)])
    publisher.publish(lake.manifest(), BOOK, {})
    review = pa.table({"tenant": ["default"], "kind": ["trace"], "trace_id": [f"{1:032x}"], "span_id": [""],
                       "message_id": [""], "state": ["flagged"], "revision": [1]})  # fmt: skip
    publisher.publish(lake.manifest(), BOOK, {"reviews": review}, models=[])
    reader = Reader(tmp_path)
    assert reader.rows("trace_row", trace_id=f"{1:032x}")[0]["review_state"] == "flagged"
    publisher.publish(lake.manifest(), BOOK, {}, models=[])
    assert reader.rows("trace_row", trace_id=f"{1:032x}")[0]["review_state"] == "unreviewed"


def test_every_column_that_the_state_gives_is_copied() -> None:
    """The two allowlists, of what the control plane gives and of what a snapshot takes, name the same columns."""
    assert {name: STATE[name] for name in COPIES} == COPIES


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path: Path) -> None:
    """Templates, half-written versions and private names of a process that is gone are removed; those of one that
    lives stay."""
    folder = tmp_path / "snapshots"
    folder.mkdir()
    gone = 999_999_999
    left = [f"base-{gone}.tmp", f"base-{gone}.tmp.wal", f"template-{gone}.tmp", f".open-{gone}-3-v7.duckdb",
            "v7.duckdb.tmp", "v7.duckdb.tmp.wal"]  # fmt: skip
    ours = f"base-{os.getppid()}.tmp"
    for name in (*left, ours):
        (folder / name).write_bytes(b"left")
    Publisher(tmp_path).close()
    assert not {*left} & {path.name for path in folder.iterdir()}
    assert (folder / ours).exists()


def test_views_and_prices_are_built_once_for_all_processes(tmp_path: Path) -> None:
    """The next process takes the file that the last one prepared, unless a byte of it is another or prices changed;
    one is kept."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1)])
    manifest = lake.manifest()

    def prepared() -> list[Path]:
        publish(tmp_path, manifest, BOOK, {}, models=[])
        return list((tmp_path / "snapshots").glob("prepared-*"))

    (first,) = prepared()
    made = first.stat().st_mtime_ns, first.stat().st_ino
    assert [(path.stat().st_mtime_ns, path.stat().st_ino) for path in prepared()] == [made]
    with first.open("r+b") as file:
        file.seek(9000)
        file.write(b"\xff" * 8)
    (second,) = prepared()
    assert second.stat().st_ino != made[1]
    dear = Stated(provider="openai", model_pattern="gpt-5", bucket="input", price=Decimal(9))
    publish(tmp_path, manifest, PriceBook.load([dear]), {}, models=[])
    (third,) = (tmp_path / "snapshots").glob("prepared-*")
    assert third.name.split("-")[1] != second.name.split("-")[1]
