"""Faults at named steps, with no hook in the product: a plugin that Python loads first wraps what touches the disk.

`sitecustomize.py` lies in a directory on PYTHONPATH together with a file `armed`, which names one call: the verb of the
process, the function of `os`, a pattern of the path, before or after it, and what happens. A fault happens once
(`fired` says so) and may be armed while the processes run.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from spanfold.collector.lock import is_held
from spanfold.status import gather
from tests.flow.running import PROTOBUF, free_ports, wait_for

PLUGIN = """
import errno, json, os, re, signal, sys

here = os.path.dirname(os.path.abspath(__file__))
verb = next((word for word in ("collect", "fold") if word in sys.orig_argv), "")
real_open, real_rename = open, os.rename

def armed():
    try:
        with real_open(here + "/armed") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None

def path_of(arguments):
    last = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], (str, os.PathLike)) else arguments[0]
    if isinstance(last, int):
        try:
            return os.readlink("/proc/self/fd/%d" % last)
        except OSError:
            return ""
    return os.fspath(last)

def take(name, when, arguments):
    fault = armed()
    if not fault or (fault["verb"], fault["call"], fault["when"]) != (verb, name, when):
        return None
    if not re.search(fault["path"], path_of(arguments)):
        return None
    if fault["skip"]:
        fault["skip"] -= 1
        with real_open(here + "/armed.tmp", "w") as file:
            json.dump(fault, file)
        real_rename(here + "/armed.tmp", here + "/armed")
        return None
    real_rename(here + "/armed", here + "/fired")
    if fault["does"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return fault["does"]

def wrap(name):
    real = getattr(os, name)
    def call(*arguments, **options):
        does = take(name, "before", arguments)
        if does == "short":
            real(arguments[0], [bytes(arguments[1][0][:20])], arguments[2])
            does = "ENOSPC"
        if does:
            number = getattr(errno, does)
            raise OSError(number, os.strerror(number))
        answer = real(*arguments, **options)
        take(name, "after", arguments)
        return answer
    setattr(os, name, call)

if verb:
    for name in ("rename", "replace", "unlink", "link", "fsync", "fdatasync", "pwritev", "posix_fallocate"):
        wrap(name)
"""

# What the proof of the harness breaks, one at a time.
BROKEN = {
    "no sync": '''
import os
os.fsync = os.fdatasync = lambda descriptor: None
''',
    "acknowledged before it is written": '''
import sys
if "collect" in sys.orig_argv:
    import threading, time
    from spanfold.collector import journal
    real = journal.Journal.append
    def append(self, record):
        threading.Thread(target=lambda: (time.sleep(0.5), real(self, record)), daemon=True).start()
        return journal.Position(1, 0)
    journal.Journal.append = append
''',
    "no deduplication": '''
import sys
if "fold" in sys.orig_argv:
    import numpy
    from spanfold.exporter import identity
    identity.IdentityRuns.find = lambda self, wanted: (numpy.zeros(len(wanted.low), bool),) * 2
''',
    "published in two steps": PLUGIN + '''
if verb == "fold":
    from spanfold.exporter import lake
    commit = lake.Lake.commit
    def in_two_steps(self, added, *, journal=None, **options):
        if journal is not None and added:
            commit(self, [], journal=journal, pending=options.get("pending"))
        return commit(self, added, journal=journal, **options)
    lake.Lake.commit = in_two_steps
''',
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that goes wrong."""

    verb: str  # collect | fold
    call: str  # a function of `os`
    path: str  # pattern of its path; of a rename, of the new one
    when: str = "before"
    does: str = "kill"  # or the name of an errno, or `short`: a part is written, then ENOSPC
    skip: int = 0  # calls that go well first


class Faults:
    """The directory that PYTHONPATH gets."""

    def __init__(self, directory: Path, code: str = PLUGIN) -> None:
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(code)
        self.directory = directory

    def arm(self, fault: Fault) -> None:
        (self.directory / "fired").unlink(missing_ok=True)
        temporary = self.directory / "next"
        temporary.write_text(json.dumps(asdict(fault)))
        temporary.rename(self.directory / "armed")

    @property
    def fired(self) -> bool:
        return (self.directory / "fired").exists()


class Parts:
    """`collect` and `fold` on a data directory, without a supervisor: what ends stays ended until `start`."""

    def __init__(self, data: Path, printed: Path, environ: Mapping[str, str] | None = None) -> None:
        self.data, self._printed = data, printed
        self.environ = os.environ | {"SPANFOLD_DATA": str(data)} | dict(environ or {})
        self.grpc_port, self.http_port = free_ports(2)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.cuts = 0  # of the power; an answer that comes after one was never heard,
        self.cutting = False  # nor one while the disk goes: a sync may then return without an error and without effect
        self.slowest_start = 0.0  # seconds from the start of `collect` to its first OK

    def start(self, *, wait: bool = True) -> None:
        """Starts what does not run; returns when spans are taken."""
        began = time.monotonic()
        ports = [f"--grpc-port={self.grpc_port}", f"--http-port={self.http_port}"]
        fresh = not self.runs("collect")
        for verb, options in (("collect", ports), ("fold", [])):
            if not self.runs(verb):
                with self._printed.open("ab") as out:
                    self.processes[verb] = subprocess.Popen(
                        [sys.executable, "-m", "spanfold.cli", verb, *options], env=self.environ, stdout=out, stderr=out
                    )
        if fresh and wait:
            wait_for(self.accepts, 60, "the collector")
            self.slowest_start = max(self.slowest_start, time.monotonic() - began)

    def runs(self, verb: str) -> bool:
        return verb in self.processes and self.processes[verb].poll() is None

    def kill(self, *verbs: str) -> None:
        for verb in verbs or tuple(self.processes):
            if self.runs(verb):
                self.processes[verb].kill()
            if verb in self.processes:
                self.processes[verb].wait()

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def flush(self) -> None:
        """By the running folder: the verb folds itself where it finds none."""
        self.start()
        wait_for(lambda: is_held(self.data / "run" / "folder.lock"), 60, "the folder")
        self.spanfold("flush", "--timeout=110")

    def spanfold(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """A verb, run to its end; it has to succeed."""
        command = [sys.executable, "-m", "spanfold.cli", *arguments]
        done = subprocess.run(command, env=self.environ, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done

    def status(self) -> dict[str, Any]:
        return gather(self.data)

    def accepts(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def post(self, body: bytes, content_type: str = PROTOBUF) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection, cuts = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10), self.cuts
        try:
            connection.request("POST", "/v1/traces", body, {"content-type": content_type})
            answer = connection.getresponse()
            heard = answer.status, answer.headers, answer.read()
            if self.cutting or cuts != self.cuts:
                raise ConnectionResetError
            return heard
        finally:
            connection.close()


@contextlib.contextmanager
def parts(tmp_path: Path, faults: Faults | None = None, data: Path | None = None, **environ: str) -> Iterator[Parts]:
    """Started parts with a plugin; ended with SIGTERM."""
    path = {"PYTHONPATH": str(faults.directory)} if faults else {}
    running = Parts(data or tmp_path / "data", tmp_path / "printed.txt", path | environ)
    running.data.mkdir(exist_ok=True)
    try:
        running.start()
        yield running
    finally:
        running.stop()


# ---- power cuts ------------------------------------------------------------------------------------------------------
_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
LOG_FLUSH, NO_LOG_FLUSH = 1, 2  # the log of the file system is written out first; what is not on the disk now is lost


@dataclass(frozen=True, slots=True)
class Kind:
    """A file system and how it is mounted."""

    make: tuple[str, ...] = ("mkfs.ext4", "-q", "-E", "lazy_itable_init=1")
    options: str = "loop"
    flag: int = NO_LOG_FLUSH


class Disk:
    """A file system in a file, whose power can be cut."""

    def __init__(self, directory: Path, kind: Kind, mebibytes: int = 384) -> None:
        self._image, self.directory, self._kind = directory / "disk.img", directory / "disk", kind
        self.directory.mkdir()
        with self._image.open("wb") as file:
            file.truncate(mebibytes << 20)
        subprocess.run([*kind.make, str(self._image)], check=True, capture_output=True)
        self._mount()

    def _mount(self) -> None:
        command = ["mount", "-o", self._kind.options, str(self._image), str(self.directory)]
        subprocess.run(command, check=True, capture_output=True)

    def cut(self, running: Parts) -> None:
        """Nothing reaches the disk from now on, nor any sender; the processes are killed, the power comes back."""
        running.cutting, running.cuts = True, running.cuts + 1
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", self._kind.flag))
        finally:
            os.close(descriptor)
        running.kill()
        running.cutting = False
        self.unmount()
        self._mount()

    def unmount(self) -> None:
        wait_for(
            lambda: subprocess.run(["umount", str(self.directory)], capture_output=True).returncode == 0, 20, "umount"
        )


@contextlib.contextmanager
def disk(tmp_path: Path, kind: Kind | None = None) -> Iterator[Disk]:
    """A disk of this kind (ext4 by default). Skips the test, saying so, where none can be mounted."""
    kind = kind or Kind()
    try:
        made = Disk(tmp_path, kind)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED: faults of a disk (no loop-mounted file system of {kind.make[0]} here: {error})")
    try:
        yield made
    finally:
        made.unmount()
