"""Runs the parts as child processes: starts them in order, restarts what dies, ends them cleanly.

A part that dies is started again at once. One that keeps dying young waits longer each time; `run/up.json` says so.
A part whose start takes long has a process on standby: it has imported everything and waits for its turn.
Children end when the supervisor is killed outright (Linux: parent-death signal).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PARENT_VARIABLE = "SPANFOLD_PARENT"
YOUNG_SECONDS = 5.0  # a part that lives longer was not in a crash loop
FREE_RESTARTS = 3
LONGEST_WAIT = 30.0
LONGEST_WAIT_AFTER_SIGNAL = 0.25  # someone, or the kernel, killed it: it did not fail by itself, and lag grows
STOP_SECONDS = 20.0
STANDBY_AFTER = 6.0  # seconds from the start of everything: the parts themselves come first
STANDBY_SOON = 1.5  # seconds from a restart: what waits meanwhile comes first
STANDBY_AGAIN = 30.0  # after one that ended by itself
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Child:
    """One part and what happened to it."""

    name: str
    command: Sequence[str]
    once: bool = False  # runs to its end and is not restarted
    quiet: bool = False  # what it prints is thrown away; its errors are not
    standby_option: str | None = None  # with it, the command prepares and begins at a line on its standard input
    is_busy: Callable[[], bool] = lambda: False  # while it is, the CPUs are not taken to prepare the next process
    state: str = "waiting"  # waiting | running | backing off | done | failed | stopped
    pid: int | None = None
    restarts: int = 0
    last_exit: int | None = None  # exit code; negative: killed by that signal
    started: float = 0.0  # monotonic
    next_start: float = 0.0
    deaths_in_row: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    standby: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    next_standby: float = 0.0

    def start(self) -> None:
        """Gives the turn to the process on standby, or starts one."""
        ready, self.standby = self.standby, None
        self.process = ready if ready is not None and begin(ready) else self._launch(self.command)
        self.pid, self.state, self.started = self.process.pid, "running", time.monotonic()
        self.next_standby = self.started + (STANDBY_SOON if self.restarts else STANDBY_AFTER)

    def keep_standby(self) -> bool:
        """Has a process on standby while the part runs. Says whether one was started or ended."""
        if self.standby_option is None or self.state != "running":
            return False
        now = time.monotonic()
        if self.standby is not None:
            if self.standby.poll() is None:
                return False
            _close(self.standby)
            self.standby, self.next_standby = None, now + STANDBY_AGAIN
            return True
        if now < self.next_standby or self.is_busy():
            return False
        self.standby = self._launch([*self.command, self.standby_option], stdin=subprocess.PIPE)
        return True

    def processes(self) -> list[subprocess.Popen[bytes]]:
        """Those that have not ended."""
        return [one for one in (self.standby, self.process) if one is not None and one.poll() is None]

    def _launch(self, command: Sequence[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        environ = os.environ | {PARENT_VARIABLE: str(os.getpid())}
        stdout = subprocess.DEVNULL if self.quiet else None
        return subprocess.Popen(command, env=environ, bufsize=0, stdin=stdin, stdout=stdout)

    def reap(self) -> bool:
        """Notices the end of a running process. Says whether it ended."""
        if self.process is None or self.state != "running" or self.process.poll() is None:
            return False
        self.last_exit, self.pid = self.process.returncode, None
        now = time.monotonic()
        if self.once:
            self.state = "done" if self.last_exit == 0 else "failed"
            return True
        self.deaths_in_row = self.deaths_in_row + 1 if now - self.started < YOUNG_SECONDS else 1
        self.next_start = now + backoff(self.deaths_in_row, self.last_exit)
        self.state = "backing off"
        return True

    def told(self) -> dict[str, object]:
        """What the status says of it."""
        standby = {} if self.standby_option is None else {"standby": self.standby and self.standby.pid}
        return {"state": self.state, "pid": self.pid, "restarts": self.restarts, "last_exit": self.last_exit, **standby}

    def restart_if_due(self) -> bool:
        if self.state != "backing off" or time.monotonic() < self.next_start:
            return False
        self.restarts += 1
        self.start()
        return True


def begin(standby: subprocess.Popen[bytes]) -> bool:
    """Tells a process on standby that its turn has come. Says whether it was still there."""
    assert standby.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        standby.stdin.write(b"\n")
    _close(standby)
    return standby.poll() is None


def _close(standby: subprocess.Popen[bytes]) -> None:
    assert standby.stdin is not None
    standby.stdin.close()


def its_turn(seconds: float) -> bool:
    """In the process on standby: waits so long for the line. Ends the process when who would write it is gone."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return False
    if sys.stdin.readline():
        return True
    sys.exit(0)


def backoff(deaths_in_row: int, exit_code: int) -> float:
    """Seconds to wait before the next start."""
    if deaths_in_row <= FREE_RESTARTS:
        return 0.0
    longest = LONGEST_WAIT_AFTER_SIGNAL if exit_code < 0 else LONGEST_WAIT
    return float(min(longest, 0.5 * 2.0 ** (deaths_in_row - FREE_RESTARTS - 1)))


class Supervisor:
    """Keeps children running until told to stop. Single-threaded."""

    def __init__(self, status_path: Path, tell: Callable[[str], None]) -> None:
        self._status_path = status_path
        self._tell = tell
        self._children: list[Child] = []
        self._stopping = False
        self._started_ns = time.time_ns()

    def start(self, child: Child) -> None:
        self._children.append(child)
        child.start()
        self.write_status()

    def wait_until(self, ready: Callable[[], bool], child: Child, seconds: float) -> bool:
        """Watches over the children until `ready`. False: stopped, or the time is over, or `child` is failing."""
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end and child.restarts <= FREE_RESTARTS:
            if ready():
                return True
            self._watch_once(0.02)
        return False

    def run(self) -> None:
        """Watches until `stop` was called."""
        while not self._stopping:
            self._watch_once(0.05)

    @property
    def stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Ends the watching; safe in a signal handler."""
        self._stopping = True

    def end(self) -> bool:
        """Asks the children to end, last started first, and waits. Says whether all ended cleanly."""
        for child in reversed(self._children):
            for process in child.processes():
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        clean = True
        for child in self._children:
            if child.standby is not None:
                _close(child.standby)
            codes = [_wait(process, deadline) for process in (child.standby, child.process) if process is not None]
            child.standby = None
            if child.state == "running":
                clean = clean and codes[-1] in (0, -signal.SIGTERM)
                child.last_exit, child.state, child.pid = codes[-1], "stopped", None
        self.write_status(stopped=True)
        return clean

    def write_status(self, *, stopped: bool = False) -> None:
        """Writes `run/up.json`."""
        children = {child.name: child.told() for child in self._children}
        status = {
            "pid": None if stopped else os.getpid(), "started_ns": self._started_ns, "children": children,
            "time_ns": time.time_ns(),
        }  # fmt: skip
        self._status_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._status_path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a full disk is no reason to end
            temporary.write_text(json.dumps(status))
            temporary.rename(self._status_path)

    def _watch_once(self, seconds: float) -> None:
        changed = False
        for child in self._children:
            if child.reap():
                changed = True
                if child.state != "done":
                    self._tell(f"{child.name} ended ({_exit_text(child.last_exit or 0)}); see spanfold status")
            changed |= child.restart_if_due()
            changed |= child.keep_standby()
        if changed:
            self.write_status()
        time.sleep(seconds)


def die_with_parent(environ: Mapping[str, str] = os.environ) -> None:
    """In a child: ends when the supervisor does. Does nothing for a command that a person started."""
    parent = environ.get(PARENT_VARIABLE)
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before the line above
        sys.exit(1)


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int:
    """The exit code; at the deadline (monotonic seconds) the process is killed."""
    try:
        return process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _exit_text(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
