"""Runs the product as a person does: real processes on free ports, ended by their own ids."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanfold.status import gather, read_run_file

PROTOBUF, JSON = "application/x-protobuf", "application/json"
START_SECONDS, STOP_SECONDS = 60.0, 40.0


class Running:
    """`spanfold up` on a data directory. What its processes print goes to `printed`, outside that directory."""

    def __init__(self, data: Path, printed: Path, environ: Mapping[str, str]) -> None:
        self.data, self.printed = data, printed
        self.grpc_port, self.http_port, self.dashboard_port = free_ports(3)
        self.environ = os.environ | {"SPANFOLD_DATA": str(data)} | environ
        ports = [
            f"--{name}-port={port}"
            for name, port in (
                ("grpc", self.grpc_port), ("http", self.http_port), ("dashboard", self.dashboard_port)
            )
        ]  # fmt: skip
        with printed.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spanfold.cli", "up", *ports], env=self.environ, stdout=out, stderr=out
            )
        wait_for(lambda: self.accepts() and self.child("fold"), START_SECONDS, "spanfold up")

    # ---- processes -------------------------------------------------------------------------------------------------
    def pid(self, part: str) -> int | None:
        """The process id of collect, fold or dashboard while the supervisor says that it runs."""
        child = self.child(part)
        return child["pid"] if child.get("state") == "running" else None

    def child(self, part: str) -> dict[str, Any]:
        """What the supervisor says of a part: state, pid, restarts, last_exit."""
        found: dict[str, Any] = read_run_file(self.data, "up").get("children", {}).get(part, {})
        return found

    def signal(self, part: str, number: signal.Signals) -> int:
        """Sends a signal to a part that runs; gives its process id."""
        pid = wait_for(lambda: self.pid(part), START_SECONDS, part)
        os.kill(pid, number)
        return int(pid)

    def kill(self, part: str) -> int:
        return self.signal(part, signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM and the exit code; SIGKILL to what does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    # ---- verbs -----------------------------------------------------------------------------------------------------
    def spanfold(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A verb in a process of its own."""
        command = [sys.executable, "-m", "spanfold.cli", *arguments]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120)
        assert not (check and done.returncode), f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done

    def flush(self) -> None:
        self.spanfold("flush")

    def status(self) -> dict[str, Any]:
        return gather(self.data)

    # ---- senders ---------------------------------------------------------------------------------------------------
    def accepts(self) -> bool:
        try:
            return self.get("/healthz") == 200
        except OSError:
            return False

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def post(
        self, body: bytes, content_type: str = PROTOBUF, path: str = "/v1/traces", timeout: float = 30, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """(status, headers, body) of one POST; underscores in header names become hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"content-type": content_type}
        try:
            connection.request("POST", path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def send(self, body: bytes, signal_name: str = "traces") -> None:
        """Posts a request that has to be accepted."""
        status, _, answer = self.post(body, path=f"/v1/{signal_name}")
        assert (status, answer) == (200, b"")


@contextmanager
def up(tmp_path: Path, **environ: str) -> Iterator[Running]:
    """`spanfold up` on `tmp_path/data` with these environment variables; ended with SIGTERM."""
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    running = Running(data, tmp_path / "printed.txt", environ)
    try:
        yield running
    finally:
        running.stop()


def wait_for(said: Callable[[], Any], seconds: float, what: str, poll: float = 0.02) -> Any:
    """The first true answer. Fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := said():
            return answer
        time.sleep(poll)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def printed_json(answer: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(answer.stdout)
