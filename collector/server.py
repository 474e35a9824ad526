"""The collect process: opens the journal and both edges, keeps `run/collector.json` current, and ends cleanly."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spanfold.collector.cors import Cors
from spanfold.collector.counters import Counters
from spanfold.collector.errors import CollectorError
from spanfold.collector.grpc_edge import GrpcEdge
from spanfold.collector.http_edge import HttpEdge, OtlpApp
from spanfold.collector.journal import SEGMENT_BYTES, Journal, JournalRecord, Position
from spanfold.collector.journal_reader import backlog
from spanfold.collector.limits import Limits
from spanfold.collector.requests import Intake
from spanfold.collector.segments import segment_numbers
from spanfold.collector.senders import Rates, Senders
from spanfold.collector.signals import ALL
from spanfold.collector.tls import Tls
from spanfold.exporter.durable import read_document
from spanfold.exporter.keys import Keyring

STATUS_SECONDS = 0.5
GRACE_SECONDS = 5.0
_OPEN_FILES = 16_384
_RESENT = {"traces": "duplicates", "logs": "duplicate_logs", "metrics": "duplicate_metrics"}  # counters of the lake
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorOptions:
    """What one collector is told."""

    data: Path
    host: str = "127.0.0.1"
    grpc_port: int = 4317
    http_port: int = 4318
    journal_max_bytes: int = 16 << 30
    disk_floor_bytes: int = 256 << 20
    segment_bytes: int = SEGMENT_BYTES
    limits: Limits = field(default_factory=Limits)
    senders: Senders | None = None  # none: everybody who reaches the ports may send
    rates: Rates | None = None
    tls: Tls | None = None
    cors_origins: tuple[str, ...] = ()


class Collector:
    """A running collector. `stop` gives back ports, lock and preallocated space."""

    def __init__(self, options: CollectorOptions, keys: Keyring) -> None:
        """Listens when this returns. Raises LockHeld, PortTaken, TlsUnusable."""
        self._options, self._keys = options, keys
        self._status_path = options.data / "run" / "collector.json"
        self._started_ns = time.time_ns()
        saved = read_document(self._status_path)
        self._replayed: dict[str, Any] = saved.get("replayed", {})
        self.counters = Counters(tuple(signal.name for signal in ALL), saved.get("signals"))
        self.journal = Journal(
            options.data / "journal", keys, max_bytes=options.journal_max_bytes, floor_bytes=options.disk_floor_bytes,
            segment_bytes=options.segment_bytes, first_segment=_first_segment(options.data), on_durable=self._count,
            acknowledged=Position(*saved["journal"]) if saved.get("journal") else None,
        )  # fmt: skip
        self._count_since(saved.get("journal"))
        intake = Intake(self.journal, self.counters, options.limits, options.rates)
        cors = Cors(options.cors_origins)
        try:
            self._grpc = GrpcEdge(
                intake, options.host, options.grpc_port, options.limits, options.senders, options.tls
            )  # fmt: skip
            app = OtlpApp(intake, self.journal, self.counters, options.limits, options.senders, cors, self._resent)
            self._http = HttpEdge(app, options.host, options.http_port, GRACE_SECONDS, options.tls)
        except Exception:
            self.journal.close()
            raise
        self._grpc.start()
        self._http.start()
        self.grpc_port, self.http_port = self._grpc.port, self._http.port
        self._written: dict[str, Any] = {}
        self._state = "accepting"
        self.write_status()

    def write_status(self) -> None:
        """Writes the status file if anything changed."""
        status = self._status()
        if status == self._written:
            return
        temporary = self._status_path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(status | {"time_ns": time.time_ns()}))
            temporary.rename(self._status_path)
        except OSError:  # a full disk must not end the collector; /metrics still has the counters
            return
        self._written = status

    def replay_if_asked(self) -> None:
        """Answers `spanfold dead replay`: takes the records of `run/replay` into the journal again."""
        request = read_document(self._options.data / "run" / "replay")
        if not request or request["token"] == self._replayed.get("token"):
            return
        from spanfold.collector.dead_letters import DeadLetters  # hardly ever needed

        count, problem = 0, None
        letters = DeadLetters(self._options.data, self._keys)
        for name in request["names"]:
            try:
                count += letters.replay(self.journal, [name])
            except Exception as error:
                problem = f"{name}: {error if isinstance(error, CollectorError) else type(error).__name__}"
        self._replayed = {"token": request["token"], "count": count, "problem": problem}
        self.write_status()

    def stop(self) -> None:
        """Takes no more requests, answers those in flight, closes the journal."""
        self._state = "stopped"
        self._grpc.stop(GRACE_SECONDS)
        self._http.stop()
        self.write_status()
        self.journal.close()

    def _status(self) -> dict[str, Any]:
        position, signals = self.journal.consistently(self.counters.snapshot)
        problem = self.journal.problem
        return {
            "pid": os.getpid(), "started_ns": self._started_ns, "host": self._options.host,
            "grpc_port": self.grpc_port, "http_port": self.http_port, "tls": self._options.tls is not None,
            "auth": self._options.senders is not None, "problem": problem, "signals": signals,
            "state": "refusing" if problem and self._state == "accepting" else self._state,
            "replayed": self._replayed, "journal": list(position), "journal_bytes": self.journal.size,
        }  # fmt: skip

    def _resent(self) -> dict[str, int]:
        """Signal -> items that the folder found stored already, as it has last told."""
        counters = read_document(self._options.data / "run" / "folder.json").get("counters", {})
        return {signal: counters.get(name, 0) for signal, name in _RESENT.items()}

    def _count(self, record: JournalRecord) -> None:
        self.counters.add(record.signal, "accepted", record.items, requests=1 if record.items else 0)

    def _count_since(self, position: list[int] | None) -> None:
        """Counts what was acknowledged after the last status was written, when the process before this was killed."""
        if position is not None:
            since = backlog(self._options.data / "journal", Position(*position))
            for signal, items in since.items.items():
                self.counters.add(signal, "accepted", items, since.requests[signal])


def run(
    options: CollectorOptions, keys: Keyring, stop: threading.Event, on_listening: Callable[[Collector], None]
) -> None:
    """Collects until `stop` is set."""
    _reuse_memory()
    _allow_many_connections()
    collector = Collector(options, keys)
    on_listening(collector)
    while not stop.wait(STATUS_SECONDS):
        with contextlib.suppress(OSError):  # no file can be opened now: half a second later it is asked again
            collector.replay_if_asked()
        collector.write_status()
    collector.stop()


def _reuse_memory() -> None:
    """Lets glibc keep what parsed requests free, in one arena, instead of giving pages back and faulting them in again:
    a sixth less CPU. Must come before the first thread; other C libraries have no such switch."""
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 4 << 20), (_M_TRIM_THRESHOLD, 32 << 20)):
            mallopt(parameter, value)


def _allow_many_connections() -> None:
    """Each connection is a file to the system, and the journal needs files too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _first_segment(data: Path) -> int:
    """Above every segment that the lake has folded: only a journal that was removed by hand makes this matter."""
    if segment_numbers(data / "journal") or not (data / "lake" / "manifest" / "current").exists():
        return 1
    from spanfold.exporter.manifest import read_current  # brings Arrow: slow, and hardly ever needed

    return read_current(data).journal[0] + 1
