"""Takes rights away from this process for good: limits, capabilities, and (on Linux) Landlock.

Run by the query process before it opens a database, so that every thread DuckDB starts inherits it. What the running
kernel cannot do is left out: the fences of `query_gate` and of the connection's settings stand in any case.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same numbers on every architecture
_ABI_QUERY = 1
_RULE_PATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # Landlock version -> number of file rights it knows
_NO_NEW_PRIVILEGES = 38
_CAPABILITY_VERSION = 0x20080522
_MACHINE = (Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))  # DuckDB asks them for its memory, and dies without


def limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Bound address space, CPU time and open files; no core dumps, no files grown, no processes started."""
    import resource

    for name, value in (
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_CPU", cpu_seconds),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NOFILE", 4096),
    ):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (wanted, wanted))


def confine(readable: Iterable[Path]) -> bool:
    """From here on only read these folders and files: no write, no execution, no network. False = not supported."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    _drop_capabilities(libc)
    return _landlock(libc, readable)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """A process of root keeps its files but loses the rights that pass over permissions."""
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    header = struct.pack("=II", _CAPABILITY_VERSION, 0)
    libc.capset(header, bytes(24))


def _landlock(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, _ABI_QUERY)
    if version < 1:
        return False
    files = (1 << _RIGHTS.get(version, 16)) - 1
    network = 3 if version >= 4 else 0  # bind and connect TCP
    scopes = 3 if version >= 6 else 0  # abstract sockets and signals of other processes
    attributes = struct.pack("=QQQ", files, network, scopes)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for path in (*_MACHINE, *_library(), *readable):
            _allow_reading(libc, ruleset, path)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _library() -> set[Path]:
    """Python's own modules, for those that are imported on first use."""
    return {Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = _READ_FILE | (_READ_DIR if path.is_dir() else 0)
        libc.syscall(_LANDLOCK_ADD, ruleset, _RULE_PATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)
