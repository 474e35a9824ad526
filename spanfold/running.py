"""What `spanfold up` runs: the parts in order, their addresses once they answer, an end that loses nothing."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable

from spanfold.collector.lock import FileLock
from spanfold.error_hook import load_hook, watching
from spanfold.errors import ChildFailed
from spanfold.settings import Settings
from spanfold.status import read_run_file
from spanfold.supervisor import Child, Supervisor

_START_SECONDS = 30.0


def run_all(settings: Settings, *, demo: bool, tell: Callable[[str], None]) -> bool:
    """Runs until SIGTERM or SIGINT; says whether every part ended cleanly. Raises LockHeld, ChildFailed."""
    with FileLock(settings.data / "run" / "up.lock"):
        supervisor = Supervisor(
            settings.data / "run" / "up.json", lambda text: print(text, file=sys.stderr, flush=True)
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        try:
            with watching(settings.data, load_hook(settings.error_hook)):
                _start_all(settings, supervisor, tell, demo=demo)
                supervisor.run()
        finally:
            clean = supervisor.end()
        return clean


def _start_all(settings: Settings, supervisor: Supervisor, tell: Callable[[str], None], *, demo: bool) -> None:
    ports = ["--grpc-port", str(settings.grpc_port), "--http-port", str(settings.http_port)]
    collect = _child(settings, "collect", "--host", settings.host, *ports)
    supervisor.start(collect)
    if not supervisor.wait_until(lambda: _listens(settings, collect), collect, _START_SECONDS):
        if supervisor.stopping:
            return
        raise ChildFailed("collect did not start: its message is above")
    ports_taken = read_run_file(settings.data, "collector")
    tell(f"OTLP/gRPC  {settings.host}:{ports_taken['grpc_port']}")
    scheme = "http" if settings.otlp_tls_cert is None else "https"
    tell(f"OTLP/HTTP  {scheme}://{settings.host}:{ports_taken['http_port']}")
    fold = _child(settings, "fold")
    fold.standby_option = "--standby"
    fold.is_busy = lambda: bool(read_run_file(settings.data, "folder").get("behind"))
    supervisor.start(fold)
    dashboard = _child(settings, "dashboard", "--host", settings.host, "--dashboard-port", str(settings.dashboard_port))
    supervisor.start(dashboard)
    if demo:
        endpoint = f"{scheme}://{settings.host}:{ports_taken['grpc_port']}"
        supervisor.start(_child(settings, "demo", "--endpoint", endpoint, once=True))
    address = (settings.host, settings.dashboard_port)
    if supervisor.wait_until(lambda: _answers(address), dashboard, _START_SECONDS):
        tell(f"Dashboard  http://{settings.host}:{settings.dashboard_port}")


def _child(settings: Settings, verb: str, *options: str, once: bool = False) -> Child:
    command = [sys.executable, "-m", "spanfold.cli", verb, "--data", str(settings.data), *options]
    return Child(verb, command, once=once, quiet=verb == "collect")


def _listens(settings: Settings, collect: Child) -> bool:
    """Whether the collector that runs now has said which ports it has."""
    status = read_run_file(settings.data, "collector")
    return status.get("pid") == collect.pid and status.get("state") in ("accepting", "refusing")


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=0.2).close()
    except OSError:
        return False
    return True
