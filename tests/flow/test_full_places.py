"""Places that are full though the disk is not: inodes, open files, the folder for temporary files. What cannot be kept
is refused, what was acknowledged is there, and all goes on by itself when there is room."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from spanfold.analytics.snapshots import Snapshots
from spanfold.collector.server import STATUS_SECONDS
from tests.flow.faults import Kind, disk, parts
from tests.flow.ledger import judge, load
from tests.flow.running import wait_for
from tests.flow.sending import chat, product, traces

pytestmark = pytest.mark.slow
FEW_INODES = Kind(make=("mkfs.ext4", "-q", "-N", "512", "-E", "lazy_itable_init=1"))


class Inodes:
    """Takes the inodes of a file system with empty files."""

    def __init__(self, directory: Path) -> None:
        self._directory, self.count = directory / "filler", 0
        self._directory.mkdir()

    def take(self) -> None:
        """All that are left."""
        with contextlib.suppress(OSError):
            while True:
                (self._directory / str(self.count)).touch()
                self.count += 1

    def give_back(self) -> None:
        shutil.rmtree(self._directory)


def test_no_inode_is_left(tmp_path: Path) -> None:
    """F10: the collector goes on in the segment that it has, refuses with 503 when it needs a new one, and the folder
    waits; with inodes again both go on by themselves. Nothing acknowledged is lost."""
    with disk(tmp_path, FEW_INODES) as power, parts(tmp_path, None, power.directory / "data") as running:
        with load(running, senders=2, spans=10, pause=0.1) as ledger:
            wait_for(lambda: running.status()["folded"] > 0, 60, "the first fold")
            inodes = Inodes(power.directory)
            inodes.take()
            assert inodes.count > 20
            before = len(ledger.acknowledged)
            wait_for(lambda: len(ledger.acknowledged) > before, 20, "an OK in the segment that is there")
            running.kill()
            inodes.take()
            running.start(wait=False)
            wait_for(lambda: (inodes.take(), ledger.answered[503] > 0)[1], 30, "a 503 without a segment")
            assert running.runs("collect")
            inodes.give_back()
            before = len(ledger.acknowledged)
            wait_for(lambda: len(ledger.acknowledged) > before, 20, "the next OK")
        running.flush()
        verdict = judge(running.data, ledger.acknowledged)
        assert not list((running.data / "quarantine").glob("*"))
        running.stop()
    assert verdict.is_good, verdict


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """F10: 60 idle connections take every descriptor of the collector for three of its rounds: who is connected is
    served or told 503, others are hung up on, the process lives, and when they leave everybody is served again."""
    with parts(tmp_path) as running:
        pid = running.processes["collect"].pid
        limit = max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 20  # numbers from 0: some may be free below the highest
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        with load(running, senders=2, spans=10, pause=0.1) as ledger:
            for _ in range(2):
                with contextlib.ExitStack() as idle:
                    for _ in range(60):
                        idle.enter_context(socket.create_connection(("127.0.0.1", running.http_port), 5))
                    wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) >= limit - 4, 20, "no descriptor left")
                    time.sleep(3 * STATUS_SECONDS)
                    assert running.runs("collect")
                before = len(ledger.acknowledged)
                wait_for(lambda before=before: len(ledger.acknowledged) > before, 30, "an OK afterwards")
        running.flush()
        verdict = judge(running.data, ledger.acknowledged)
    assert verdict.is_good, verdict


@contextlib.contextmanager
def small_place(directory: Path, kibibytes: int) -> Iterator[None]:
    """A file system of its own in memory; skips the test, saying so, where none can be mounted."""
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(directory)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED: a full folder for temporary files (no tmpfs here: {error})")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def test_no_room_for_temporary_files(tmp_path: Path) -> None:
    """F09: with two pages left for temporary files both processes start, take, fold and publish."""
    full = tmp_path / "full"
    with small_place(full, 64):
        (full / "filler").write_bytes(bytes(56 << 10))
        with parts(tmp_path, TMPDIR=str(full)) as running:
            with load(running, senders=1, spans=10, pause=0.05) as ledger:
                wait_for(lambda: len(ledger.acknowledged) >= 100, 30, "spans")
            running.kill("fold")
            running.flush()  # by a folder that begins with nothing to do, and so with a rehearsal
            running.stop()
        assert judge(running.data, ledger.acknowledged).is_good
    assert "No space" not in (tmp_path / "printed.txt").read_text()


def test_no_room_for_what_a_query_spills(tmp_path: Path) -> None:
    """F09: a query that needs more memory than its process has, and more disk than there is, ends with an error; the
    process lives, the next query has its answer, and nothing is left of what was spilled."""
    data, spill = tmp_path / "data", tmp_path / "data" / "run" / "spill"
    with product(data) as p:
        p.send(traces([chat(1, 1)]))
        p.fold()
    reader = Snapshots(data, memory="100MB", threads=1)
    sort = "SELECT count(x) FROM (SELECT repeat(i::TEXT, 20) AS x FROM range(1_200_000) AS t(i) ORDER BY x OFFSET 7)"
    with small_place(spill, 4 << 10):
        with pytest.raises(duckdb.Error, match=r"(?i)no space|out of memory|could not write|temp"):
            reader.newest().cursor().execute(sort).fetchall()
        assert reader.newest().cursor().execute("SELECT count(*) FROM calls").fetchall() == [(1,)]
        subprocess.run(["mount", "-o", "remount,size=1g", str(spill)], check=True)
        again = Snapshots(data, memory="100MB", threads=1)  # an instance holds on to the room that it once found
        assert again.newest().cursor().execute(sort).fetchall() == [(1_199_993,)]
        assert list(spill.rglob("*.tmp")) == []
