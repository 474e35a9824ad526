"""Duplicates, clocks, memory, readers and second processes: what goes on around the write path changes no number."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import grpc
import polars as pl
import pyarrow.parquet as pq
import pytest

from spanfold.exporter.manifest import read_current
from tests.flow.faults import Faults, Parts, parts
from tests.flow.ledger import identity, judge, load
from tests.flow.running import wait_for
from tests.flow.sending import NOON, SECOND, chat, product, traces

pytestmark = pytest.mark.slow
DAY = 86_400 * SECOND
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def test_a_hundred_copies_at_once_count_once(tmp_path: Path) -> None:
    """F15: 100 senders send the same 60 spans, by HTTP and by gRPC, in batches of their own, while the folder is killed
    once: each span is there once, in view, files and rollup."""
    spans = [chat(7, number, tokens=(number, 1)) for number in range(1, 61)]

    def send(number: int) -> None:
        size = 1 + number % 60
        with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
            for first in range(0, 60, size):
                body = traces(spans[first : first + size])
                if number % 2:
                    channel.unary_unary(EXPORT)(body, timeout=60)
                else:
                    assert running.post(body)[0] == 200

    with parts(tmp_path) as running:
        with ThreadPoolExecutor(8) as senders:
            done = [senders.submit(send, number) for number in range(100)]
            wait_for(lambda: sum(one.done() for one in done) > 50, 60, "half of them")
            running.kill("fold")
            running.start()
        for one in done:
            one.result()
        running.flush()
        verdict = judge(running.data, [identity(span) for span in spans])
        assert running.status()["accepted"] == 6000 == running.status()["folded"]
    assert verdict.is_good, verdict


# ---- clocks ----------------------------------------------------------------------------------------------------------
CLOCK = """
import datetime, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
real_time, real_time_ns, real = time.time, time.time_ns, datetime.datetime

def ahead():
    try:
        with open(here + "/seconds") as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0

class Same(type(real)):
    def __instancecheck__(cls, one):
        return isinstance(one, real)

class Moved(real, metaclass=Same):
    __slots__ = ()

    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(seconds=ahead())

def moved_time():  # gRPC compares it with the clock of its core, which moves with the machine's only
    return real_time() + (0 if sys._getframe(1).f_globals["__name__"].startswith("grpc") else ahead())

time.time = moved_time
time.time_ns = lambda: real_time_ns() + ahead() * 1_000_000_000
datetime.datetime = Moved
"""


@pytest.mark.timeout(400)
def test_clocks_that_jump_lose_nothing(tmp_path: Path) -> None:
    """F18, F19: two days back, then a year ahead, then right again, while it runs and over a restart, with retention
    switched on: nothing is lost, doubled or deleted, and segments are numbered on."""
    plugin = Faults(tmp_path / "plugin", CLOCK)
    with parts(tmp_path, plugin, SPANFOLD_RETENTION_DAYS="30") as running:
        with load(running, senders=2, spans=10, pause=0.1) as ledger:
            for days in (-2, 365, 0):
                (plugin.directory / "seconds").write_text(str(days * 86_400))
                time.sleep(2)
                running.kill("collect", "fold")
                running.start()
                time.sleep(11 if days == 365 else 2)  # the folder keeps house every 10 s
        running.flush()
        verdict = judge(running.data, ledger.acknowledged)
    segments = sorted((running.data / "journal").glob("*.seg"))
    assert verdict.is_good, verdict
    assert verdict.acknowledged > 100
    assert [int(path.stem) for path in segments] == sorted({int(path.stem) for path in segments})


# ---- memory ----------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def memory_of(mebibytes: int) -> Iterator[Callable[[int], None]]:
    """Puts processes into a control group with so much memory; skips the test, saying so, where there is none."""
    group = Path(f"/sys/fs/cgroup/memory/spanfold-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(mebibytes << 20))
    except OSError as error:
        pytest.skip(f"NOT TESTED: little memory (no memory control group here: {error})")
    try:
        yield lambda pid: (group / "cgroup.procs").write_text(str(pid)) and None
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text(), 20, "an empty group")
        group.rmdir()


def test_little_memory_is_answered_with_503(tmp_path: Path) -> None:
    """F20: 300 MiB for the collector, 8 of them for requests in flight; 12 senders with 2 MB each and bombs are told
    503 or taken, nobody kills the process, and what was acknowledged is there."""
    large = [chat(9, number, tokens=(number, 1), **{"app.blob": "x" * 2_000_000}) for number in range(1, 13)]
    bodies = [(traces([span]), identity(span)) for span in large]
    bomb = gzip.compress(b"\0" * (200 << 20), 1)
    answered: Counter[int] = Counter()
    acknowledged = set()

    def send(number: int) -> None:
        for _ in range(6):
            if number % 4 == 0:
                answered[post(running, bomb, {"content-encoding": "gzip"})] += 1
            body, key = bodies[number]
            status = post(running, body, {})
            answered[status] += 1
            if status == 200:
                acknowledged.add(key)

    with memory_of(300) as put, parts(tmp_path, SPANFOLD_IN_FLIGHT_BYTES=str(8 << 20)) as running:
        put(running.processes["collect"].pid)
        threads = [threading.Thread(target=send, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert running.runs("collect")
        assert running.accepts()
        running.flush()
        verdict = judge(running.data, sorted(acknowledged))
        running.stop()
    print(dict(answered), verdict)
    assert set(answered) == {200, 413, 503}
    assert (verdict.lost, verdict.doubled, verdict.strange) == (0, 0, 0)
    assert acknowledged


def post(running: Parts, body: bytes, headers: dict[str, str]) -> int:
    """The status; the connection may be closed on a sender of what is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", running.http_port, timeout=60)
    try:
        connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"} | headers)
        return connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        return 413
    finally:
        connection.close()


# ---- readers ---------------------------------------------------------------------------------------------------------
SUMS = "SELECT count(*), sum(input_tokens), sum(hash(span_id)) FROM calls WHERE date = DATE '2025-11-20'"
STOCK = "import duckdb, sys; print(duckdb.connect(sys.argv[1], read_only=True).execute(sys.argv[2]).fetchall())"


def test_readers_see_the_same_while_files_are_merged(tmp_path: Path) -> None:
    """F24, P6: a DuckDB that holds an old snapshot, one that opens the newest each time, another process, Polars and
    pyarrow over the manifest's files: equal answers and no error while a day is folded and merged again and again."""
    ids = {f"{number:016x}" for number in range(1, 201)}
    failures: list[BaseException] = []
    rounds: Counter[str] = Counter()
    over = threading.Event()

    def again(name: str, read: Callable[[], object], expected: object) -> None:
        try:
            while not over.is_set():
                assert read() == expected, name
                rounds[name] += 1
        except BaseException as error:
            failures.append(error)

    def files() -> list[Path]:
        return [p.data / file.path for file in read_current(p.data).files_of("spans", "2025-11-20")]

    def newest() -> object:
        private = tmp_path / "newest.duckdb"  # a name of its own: an instance that is open is shared by its path
        os.link(p.data / "spanfold.duckdb", private)
        try:
            with duckdb.connect(str(private), read_only=True) as connection:
                return connection.execute(SUMS).fetchall()
        finally:
            private.unlink()

    def other() -> object:
        done = subprocess.run([sys.executable, "-c", STOCK, p.data / "spanfold.duckdb", SUMS], capture_output=True)
        return done.stdout.decode().strip() or done.stderr.decode()

    data = tmp_path / "data"
    data.mkdir()
    with product(data) as p:
        for first in range(1, 201, 10):
            p.send(traces([chat(1, n, tokens=(n, 1)) for n in range(first, first + 10)]))
            p.fold()
        held = tmp_path / "held.duckdb"
        os.link(data / "spanfold.duckdb", held)
        with duckdb.connect(str(held), read_only=True) as old:
            truth = old.execute(SUMS).fetchall()
            assert truth[0][:2] == (200, 200 * 201 // 2)
            readers = [
                threading.Thread(target=again, args=arguments)
                for arguments in (
                    ("held", lambda: old.execute(SUMS).fetchall(), truth),
                    ("newest", newest, truth),
                    ("other", other, str(truth)),
                    ("polars", lambda: set(pl.read_parquet(files(), columns=["span_id"])["span_id"]), ids),
                    ("pyarrow", lambda: {i for f in files() for i in pq.read_table(f, columns=["span_id"],
                                         partitioning=None)["span_id"].to_pylist()}, ids),
                )
            ]  # fmt: skip
            for reader in readers:
                reader.start()
            end, merges = time.monotonic() + 20, 0
            while time.monotonic() < end and not failures:
                p.send(traces([chat(2 + merges, n, start=NOON + DAY) for n in range(1, 11)]))
                p.send(traces([chat(1, n, tokens=(n, 1)) for n in range(1, 201, 7)]))
                p.fold()
                p.folding.merge_some()
                if merges % 3 == 2:
                    p.folding.compact_everything()
                    p.folding.publish()
                merges += 1
            over.set()
            for reader in readers:
                reader.join()
    print(f"{merges} rounds of folding, {dict(rounds)} readings")
    assert failures == []
    assert min(rounds[name] for name in ("held", "newest", "other", "polars", "pyarrow")) >= 3


# ---- second processes ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verb", ["collect", "fold"])
def test_a_stopped_process_still_holds_its_directory(tmp_path: Path, verb: str) -> None:
    """F23, F25: while the old process is paused a second one is refused and told who holds the directory; resumed, the
    old one goes on."""
    with parts(tmp_path) as running:
        running.flush()
        running.processes[verb].send_signal(signal.SIGSTOP)
        try:
            options = ["--grpc-port=0", "--http-port=0"] if verb == "collect" else []
            second = subprocess.run([sys.executable, "-m", "spanfold.cli", verb, *options], env=running.environ,
                                    capture_output=True, timeout=60)  # fmt: skip
        finally:
            running.processes[verb].send_signal(signal.SIGCONT)
        assert second.returncode == 1
        assert f"process {running.processes[verb].pid}" in second.stderr.decode()
        assert running.post(traces([chat(1, 1)]))[0] == 200
        running.flush()
        assert running.status()["folded"] == 1
