"""A collector that is killed, or whose disk fills up, keeps what it acknowledged and refuses the rest."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .receiving import PROTOBUF, body_of, post, request, running, span, stored, stored_spans

_COLLECT = [sys.executable, "-m", "spanfold.cli", "collect", "--grpc-port", "0", "--http-port", "0", "--data"]


@contextmanager
def collecting(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A `spanfold collect` process and its HTTP port."""
    with subprocess.Popen([*_COLLECT, str(data)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(b":", 1)[1])
        try:
            yield process, port
        finally:
            process.kill()


def test_kill_9_right_after_the_answer(tmp_path: Path) -> None:
    """Spans that were answered 200 before SIGKILL are all in the journal, whole and once (36, F01)."""
    acknowledged: set[str] = set()

    def send(worker: int, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        for number in range(worker * 100_000 + 1, (worker + 1) * 100_000):
            try:
                connection.request("POST", "/v1/traces", request(span(number)).SerializeToString(),
                                   {"content-type": PROTOBUF})  # fmt: skip
                answer = connection.getresponse()
                answer.read()
            except OSError:
                break
            if answer.status == 200:
                acknowledged.add(f"span {number}")
        connection.close()

    for cycle in range(3):
        with collecting(tmp_path) as (process, port):
            workers = [threading.Thread(target=send, args=(cycle * 4 + worker, port)) for worker in range(4)]
            for worker in workers:
                worker.start()
            while len(acknowledged) < 100 * (cycle + 1):
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            for worker in workers:
                worker.join()
    with running(tmp_path) as collector:
        counted = collector.counters.snapshot()["traces"]["items"]["accepted"]
    names = [s.name for s in stored_spans(tmp_path)]
    assert acknowledged <= set(names)
    assert len(names) == len(set(names))
    assert counted == len(names)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], check=False).returncode:
        pytest.skip("NOT TESTED: a full disk needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk(small_disk: Path) -> None:
    """On a full disk every request is told to come back; freed, the next one is taken; nothing acknowledged is lost."""
    filler = small_disk / "filler"
    with running(small_disk / "data", disk_floor_bytes=256 << 20) as collector:
        body = body_of(300_000)
        assert post(collector, body)[0] == 200
        filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - (1 << 20)))
        answers = [post(collector, body) for _ in range(3)]
        assert [status for status, _, _ in answers] == [503] * 3
        assert [headers["retry-after"] for _, headers, _ in answers] == ["1"] * 3
        filler.unlink()
        assert post(collector, body)[0] == 200
    assert len(stored(small_disk / "data")) == 2
    filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    with running(small_disk / "data") as collector:  # starts, listens and refuses
        assert post(collector, body)[0] == 503
        filler.unlink()
        assert post(collector, body)[0] == 200
    assert len(stored(small_disk / "data")) == 3
