"""Runs Spanfold for a benchmark: start on free ports, watch its processes, ask its snapshot, stop it by process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import duckdb

from spanfold.exporter.manifest import read_current

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PARTS = {"collect": "collect", "--standby": "standby", "fold": "fold", "dashboard": "dashboard"}
# Words in the command lines, and the part; what has none of them is the supervisor.


class Failed(Exception):
    """The product did not start, or did not take in what was sent."""


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    parent: int
    part: str
    cpu: float  # seconds of itself and of its children that have ended
    resident: int  # bytes


class Product:
    """`spanfold up` in a data directory, until the block ends."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.grpc_port, self._http_port, self._dashboard_port = _free_ports(3)
        self.resident_peak = 0  # bytes, the highest sum over its processes; sampled
        self.resident_peaks: dict[str, int] = {}  # the highest of each part
        self._watching = threading.Event()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def __enter__(self) -> Product:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the block ends and stops the product
        flags = ["--grpc-port", str(self.grpc_port), "--http-port", str(self._http_port)]
        flags += ["--dashboard-port", str(self._dashboard_port)]
        self._log = (self.data.parent / "up.log").open("w")
        self._up = subprocess.Popen(self._command("up", *flags), stdout=self._log, stderr=subprocess.STDOUT)
        try:
            self._wait_for_port()
            self._wait_for_quiet()
        except BaseException:
            self._stop()
            raise
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._watching.set()
        self._stop()

    def run(self, *verb: str, seconds: float = 600) -> str:
        """Runs another command of the product on this data directory; its output. Raises Failed."""
        done = subprocess.run(self._command(*verb), capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode:
            raise Failed(f"spanfold {verb[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def cpu(self, since: Mapping[str, float] | None = None) -> dict[str, float]:
        """CPU seconds used (`since` an earlier answer), by part: supervisor, collect, fold, standby, dashboard."""
        used: defaultdict[str, float] = defaultdict(float)
        for process in self._processes():
            used[process.part] += process.cpu
        return {part: seconds - (since or {}).get(part, 0.0) for part, seconds in used.items()}

    def ask(self, sql: str) -> tuple[int, ...] | None:
        """The first row of a query on the published snapshot, with a stock DuckDB; None while there is no snapshot."""
        try:
            with duckdb.connect(self.data / "spanfold.duckdb", read_only=True) as connection:
                return connection.execute(sql).fetchone()
        except (duckdb.IOException, duckdb.CatalogException):
            return None

    def wait_for(self, sql: str, answer: int, seconds: float) -> float:
        """Asks each new snapshot until the answer is reached; Unix time of it. Raises Failed after `seconds`."""
        published, seen = self.data / "spanfold.duckdb", 0
        until = time.time() + seconds
        row: tuple[int, ...] | None = None
        while time.time() < until:
            stamp = published.stat().st_mtime_ns if published.exists() else 0
            if stamp != seen:
                seen, row = stamp, self.ask(sql)
                if row and row[0] >= answer:
                    return time.time()
            time.sleep(0.02)
        raise Failed(f"after {seconds:.0f} s the snapshot answers {row} to {sql!r}; {answer} was expected")

    def disk(self) -> Counter[str]:
        """Bytes of the files that count, by table; and of the journal."""
        sizes: Counter[str] = Counter()
        for entry in read_current(self.data).files:
            sizes[entry.table] += entry.bytes
        sizes["journal"] = sum(path.stat().st_blocks * 512 for path in (self.data / "journal").glob("*.seg"))
        return sizes

    def _command(self, *verb: str) -> list[str]:
        return [str(Path(sys.executable).with_name("spanfold")), *verb, "--data", str(self.data)]

    def _wait_for_port(self) -> None:
        until = time.time() + 30
        while time.time() < until:
            if self._up.poll() is not None:
                raise Failed(f"spanfold up ended with {self._up.returncode}; see {self._log.name}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.grpc_port)) == 0:
                    return
            time.sleep(0.05)
        raise Failed("the gRPC port did not open within 30 s")

    def _wait_for_quiet(self) -> None:
        """Until all processes are there and a second passes with under 0.1 CPU seconds: imports and the first snapshot
        are no load."""
        for _ in range(30):
            before = self.cpu()
            time.sleep(1)
            if "standby" in before and sum(self.cpu(since=before).values()) < 0.1:
                return

    def _watch(self) -> None:
        while not self._watching.wait(0.2):
            now: Counter[str] = Counter()
            for process in self._processes():
                now[process.part] += process.resident
            self.resident_peak = max(self.resident_peak, now.total())
            self.resident_peaks |= {part: max(size, self.resident_peaks.get(part, 0)) for part, size in now.items()}

    def _stop(self) -> None:
        """SIGTERM to the supervisor; whatever of its processes is left after 20 s is killed one by one."""
        family = self._processes()
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(20)
            except subprocess.TimeoutExpired:
                for process in family:
                    _kill(process.pid)
                self._up.wait(5)
        self._log.close()

    def _processes(self) -> list[_Process]:
        """The supervisor and all its descendants."""
        table = {process.pid: process for process in map(_read, _pids()) if process}
        family = {self._up.pid}
        while grown := {pid for pid, process in table.items() if process.parent in family} - family:
            family |= grown
        return [table[pid] for pid in family if pid in table]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int) -> _Process | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return None
    part = next((part for word, part in _PARTS.items() if word in words), "supervisor")
    cpu = sum(int(ticks) for ticks in fields[11:15]) / _TICK
    return _Process(pid, int(fields[1]), part, cpu, resident)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    ports = [int(free.getsockname()[1]) for free in sockets]
    for free in sockets:
        free.close()
    return ports
