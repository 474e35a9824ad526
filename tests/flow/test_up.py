"""`spanfold up` and the verbs around it, as a person or a service manager runs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from spanfold.status import gather, read_run_file
from spanfold.supervisor import Child, Supervisor, backoff

SPANFOLD = [sys.executable, "-m", "spanfold.cli"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def spanfold(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [*SPANFOLD, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | environ, check=False, cwd="/"
    )


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def status(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spanfold("status", "--json", "--data", data).stdout)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_run_file(data, "up").get("children", {})
    return found


def send(port: int, name: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"http://127.0.0.1:{port}/v1/traces")))
    provider.get_tracer("test").start_span(name).end()
    provider.shutdown()


class Up:
    """A running `spanfold up`."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.http_port, self.dashboard_port = free_port(), free_port()
        command = [
            *SPANFOLD, "up", "--data", str(data), "--grpc-port", "0", "--http-port", str(self.http_port),
            "--dashboard-port", str(self.dashboard_port),
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline(), self.process.stdout.readline()]

    def pid(self, name: str) -> int | None:
        pid: int | None = children(self.data).get(name, {}).get("pid")
        return pid


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path)
    try:
        yield started
    finally:
        started.process.terminate()
        started.process.communicate(timeout=40)


def test_addresses_answer_when_printed(up: Up) -> None:
    """An address is printed when its port answers."""
    assert up.lines[1] == f"OTLP/HTTP  http://127.0.0.1:{up.http_port}\n"
    send(up.http_port, "first")
    assert eventually(lambda: status(up.data)["accepted"]) == 1


def test_sigterm_ends_all_with_zero(up: Up) -> None:
    """SIGTERM ends every part and the supervisor, which exits 0; nothing is left running (73)."""
    eventually(lambda: up.pid("fold"))
    pids = [child["pid"] for child in children(up.data).values() if child["pid"]]
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(40) == 0
    assert [pid for pid in pids if alive(pid)] == []
    assert read_run_file(up.data, "up")["pid"] is None


def test_a_killed_part_comes_back(up: Up) -> None:
    """A part that is killed is started again and says so; the collector loses nothing it acknowledged."""
    send(up.http_port, "before")
    killed = eventually(lambda: up.pid("collect"))
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: up.pid("collect") not in (None, killed))
    eventually(lambda: read_run_file(up.data, "collector").get("pid") == up.pid("collect"))
    send(up.http_port, "after")
    eventually(lambda: status(up.data)["accepted"] == 2)
    child = status(up.data)["processes"]["collect"]
    assert (child["state"], child["restarts"], child["last_exit"]) == ("running", 1, -signal.SIGKILL)


def test_children_die_with_a_killed_supervisor(up: Up) -> None:
    """SIGKILL of the supervisor leaves no part running."""
    eventually(lambda: all(up.pid(name) for name in ("collect", "fold", "dashboard")))
    pids = [child["pid"] for child in children(up.data).values() if child["pid"]]
    assert [alive(pid) for pid in pids] == [True] * 3
    up.process.kill()
    eventually(lambda: not any(map(alive, pids)))
    assert [alive(pid) for pid in pids] == [False] * 3


def test_flush_returns_when_all_is_in_the_snapshot(up: Up) -> None:
    """After `flush` everything sent before is folded; several flushes at once all return."""
    send(up.http_port, "one")
    eventually(lambda: (up.data / "spanfold.duckdb").exists())
    flushes = [subprocess.Popen([*SPANFOLD, "flush", "--data", str(up.data)], stdout=subprocess.PIPE) for _ in range(4)]
    for flush in flushes:
        flush.communicate(timeout=60)
    assert [flush.returncode for flush in flushes] == [0] * 4
    found = status(up.data)
    assert (found["accepted"], found["folded"], found["lag"]["items"], found["lag_seconds"]) == (1, 1, 0, 0)


def test_flush_without_a_folder(tmp_path: Path) -> None:
    """Where nobody folds, `flush` folds by itself."""
    port = free_port()
    command = [*SPANFOLD, "collect", "--data", str(tmp_path), "--grpc-port", "0", "--http-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as collect:
        assert collect.stdout is not None
        collect.stdout.readline()
        send(port, "alone")
        assert spanfold("flush", "--data", tmp_path).returncode == 0
        collect.terminate()
        collect.communicate(timeout=20)
    found = status(tmp_path)
    assert (found["accepted"], found["folded"]) == (1, 1)
    assert found["processes"]["collect"]["state"] == "stopped"


@pytest.mark.slow
def test_folder_killed_ten_times_under_load(up: Up) -> None:
    """A folder killed ten times while spans arrive costs none of them and is soon back within 3 s of lag."""
    stop = threading.Event()
    sent = 0

    def load() -> None:
        nonlocal sent
        provider = TracerProvider(shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"http://127.0.0.1:{up.http_port}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
        tracer = provider.get_tracer("load")
        while not stop.wait(0.05):
            for _ in range(50):
                tracer.start_span("loaded").end()
                sent += 1
        provider.shutdown()

    loading = threading.Thread(target=load)
    loading.start()
    try:
        for _ in range(10):
            pid = eventually(lambda: up.pid("fold"))
            time.sleep(1)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: up.pid("fold") not in (None, pid))
        killed = time.monotonic()
        eventually(lambda: (found := status(up.data))["folded"] > 0 and found["lag_seconds"] < 3)
        caught_up_after = time.monotonic() - killed
    finally:
        stop.set()
        loading.join()
    assert spanfold("flush", "--data", up.data).returncode == 0
    found = status(up.data)
    assert (found["accepted"], found["folded"]) == (sent, sent)
    assert caught_up_after < 15  # mostly the start of a Python process, on a machine that may be busy


def test_two_supervisors_of_one_directory(up: Up) -> None:
    """A second `up` on the same directory is refused and names the first (F23)."""
    second = spanfold("up", "--data", up.data, "--grpc-port", 0, "--http-port", 0)
    assert second.returncode == 1
    assert f"held by process {up.process.pid}" in second.stderr
    assert up.process.poll() is None


@pytest.mark.parametrize("verb", ["collect", "fold"])
def test_a_part_alone_shows_as_running(tmp_path: Path, verb: str) -> None:
    """A part that runs without `up` is running in `status`, with its process id, and stopped when it has ended."""
    ports = ["--grpc-port", "0", "--http-port", "0"] if verb == "collect" else []
    with subprocess.Popen([*SPANFOLD, verb, "--data", str(tmp_path), *ports], stdout=subprocess.PIPE) as process:
        eventually(lambda: gather(tmp_path)["processes"][verb]["state"] == "running")
        assert gather(tmp_path)["processes"][verb] == {"state": "running", "pid": process.pid}
        process.terminate()
        process.communicate(timeout=30)
    assert gather(tmp_path)["processes"][verb] == {"state": "stopped", "pid": None}


def test_collect_listens_after_less_than_a_second_of_work(tmp_path: Path) -> None:
    """OTLP is open after at most a second of processor time: what the machine does besides is not counted."""
    port = free_port()
    command = [*SPANFOLD, "collect", "--data", str(tmp_path), "--grpc-port", "0", "--http-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        process.terminate()
        assert process.wait(20) == 0
    user, system = int(fields[11]), int(fields[12])
    assert (user + system) / os.sysconf("SC_CLK_TCK") < 1.0


def test_collect_imports_nothing_heavy() -> None:
    """The collector's process holds no Arrow, DuckDB, Polars or Streamlit."""
    code = (
        "import sys, spanfold.cli.run, spanfold.collector.server, spanfold.exporter.keys, spanfold.settings;"
        "print([m for m in ('pyarrow', 'duckdb', 'polars', 'streamlit', 'numpy', 'sqlalchemy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("verb", ["up", "collect", "dashboard"])
def test_only_loopback(tmp_path: Path, verb: str) -> None:
    """An address that others can reach is refused with one sentence (design rule 9)."""
    refused = spanfold(verb, "--host", "0.0.0.0", "--data", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("spanfold: --host 0.0.0.0 can be reached from other machines")
    assert refused.stderr.count("\n") == 1


def test_usage_errors_exit_two(tmp_path: Path) -> None:
    """Unknown verbs, options and values of a wrong type are usage errors."""
    for arguments in (["nonsense"], ["status", "--nonsense"], ["collect", "--grpc-port", "many"]):
        assert spanfold(*arguments).returncode == 2


def test_data_before_after_or_in_the_environment(tmp_path: Path) -> None:
    """`--data` stands before or after the verb, or in SPANFOLD_DATA; the nearest wins."""
    places = {name: tmp_path / name for name in ("before", "after", "environment", "both")}
    spanfold("--data", places["before"], "init")
    spanfold("init", "--data", places["after"])
    spanfold("init", SPANFOLD_DATA=str(places["environment"]))
    spanfold("--data", places["before"], "init", "--data", places["both"], SPANFOLD_DATA=str(places["after"]))
    assert [name for name, path in places.items() if not (path / "spanfold.toml").is_file()] == []


def test_backoff() -> None:
    """The first three restarts are at once; then waits double to half a minute; killed parts: a quarter second."""
    assert [backoff(n, 1) for n in range(1, 12)] == [0, 0, 0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff(n, -9) for n in range(1, 8)] == [0, 0, 0, 0.25, 0.25, 0.25, 0.25]


def test_a_crash_loop_is_visible(tmp_path: Path) -> None:
    """A part that always fails is backed off, with its restarts and last exit in the status file."""
    told: list[str] = []
    supervisor = Supervisor(tmp_path / "up.json", told.append)
    child = Child("broken", [sys.executable, "-c", "raise SystemExit(7)"])
    supervisor.start(child)
    assert not supervisor.wait_until(lambda: False, child, 20)
    assert not supervisor.wait_until(lambda: child.state == "backing off" and child.restarts > 9, child, 0.2)
    broken = json.loads((tmp_path / "up.json").read_text())["children"]["broken"]
    assert (broken["restarts"], broken["last_exit"]) == (4, 7)
    assert told[0] == "broken ended (exit code 7); see spanfold status"
    supervisor.end()


# Says which process it is once it has its turn, and runs on.
ON_STANDBY = """
import sys, time
from spanfold.supervisor import its_turn
while "--standby" in sys.argv and not its_turn(0.1):
    pass
print("turn", "warm" if "--standby" in sys.argv else "cold", file=open(sys.argv[1], "a"), flush=True)
time.sleep(60)
"""


def _has_both(child: Child, turns: Path, number: int) -> bool:
    """The part runs for the `number`th time, and another process waits."""
    told = turns.read_text() if turns.exists() else ""
    return child.standby is not None and child.restarts == number - 1 and told.count("\n") == number


def test_a_process_on_standby_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made ready while the part ran has its turn when that is killed, the next one is made ready, and none is
    left at the end; the status names it."""
    for name in ("STANDBY_AFTER", "STANDBY_SOON"):
        monkeypatch.setattr(f"spanfold.supervisor.{name}", 0.0)
    turns = tmp_path / "turns"
    supervisor = Supervisor(tmp_path / "up.json", lambda _: None)
    child = Child("part", [sys.executable, "-c", ON_STANDBY, str(turns)], standby_option="--standby")
    supervisor.start(child)
    seen = []
    for number in range(1, 4):
        assert supervisor.wait_until(partial(_has_both, child, turns, number), child, 20)
        assert child.process is not None
        assert child.standby is not None
        seen += [child.process, child.standby]
        assert json.loads((tmp_path / "up.json").read_text())["children"]["part"]["standby"] == child.standby.pid
        if number < 3:
            child.process.kill()
    assert turns.read_text().split("\n")[:-1] == ["turn cold", "turn warm", "turn warm"]
    assert len({process.pid for process in seen}) == 4
    assert supervisor.end()
    assert [process.poll() is None for process in seen] == [False] * 6


def test_a_standby_that_dies_is_replaced_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was killed before its turn is not the next one, and a broken one is not tried again and again."""
    for name in ("STANDBY_AFTER", "STANDBY_SOON"):
        monkeypatch.setattr(f"spanfold.supervisor.{name}", 0.0)
    supervisor = Supervisor(tmp_path / "up.json", lambda _: None)
    program = "import sys, time; '--standby' in sys.argv and sys.exit(3); time.sleep(60)"
    child = Child("part", [sys.executable, "-c", program], standby_option="--standby")
    supervisor.start(child)
    assert supervisor.wait_until(lambda: child.next_standby > child.started + 1, child, 20)
    assert (child.standby, child.state, child.restarts) == (None, "running", 0)
    first = child.process
    assert first is not None
    first.kill()
    assert supervisor.wait_until(lambda: child.restarts == 1, child, 20)
    assert child.process is not first
    supervisor.end()


def test_a_standby_ends_with_its_supervisor(tmp_path: Path) -> None:
    """Its standard input ends with the process that would have told it to begin."""
    turns = tmp_path / "turns"
    waiting = subprocess.Popen([sys.executable, "-c", ON_STANDBY, str(turns), "--standby"], stdin=subprocess.PIPE)
    assert waiting.stdin is not None
    waiting.stdin.close()
    assert waiting.wait(20) == 0
    assert not turns.exists()


def test_a_part_that_runs_once(tmp_path: Path) -> None:
    """A one-shot part that ends well is done, and not started again."""
    supervisor = Supervisor(tmp_path / "up.json", lambda _: None)
    child = Child("once", [sys.executable, "-c", "pass"], once=True)
    supervisor.start(child)
    assert supervisor.wait_until(lambda: child.state == "done", child, 20)
    assert child.restarts == 0
    assert supervisor.end()
