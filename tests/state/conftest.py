"""Every test of the control plane runs on SQLite and on a PostgreSQL cluster of its own."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from spanfold.state.comments import CommentSealer
from spanfold.state.store import StateStore

START = dt.datetime(2026, 4, 18, 12, 0, tzinfo=dt.UTC)


def _binaries() -> Path | None:
    """The newest installed PostgreSQL: Debian keeps the server's programs off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _as_other_user() -> dict[str, object]:
    """PostgreSQL refuses to run as root: become `postgres`, else `nobody`."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip("NOT TESTED ON POSTGRESQL: no user but root to run it as")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL cluster that lives for this test run."""
    binaries = _binaries()
    if binaries is None or importlib.util.find_spec("pg8000") is None:
        pytest.skip("NOT TESTED ON POSTGRESQL: install the server's programs and spanfold[postgresql]")
    become = _as_other_user()
    folder = Path(tempfile.mkdtemp(prefix="spanfold-pg-"))
    if become:
        os.chown(folder, become["user"], become["group"])  # type: ignore[arg-type]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, options = folder / "data", f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    run = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | become
    subprocess.run([binaries / "initdb", "-D", data, "-U", "spanfold", "-A", "trust", "-E", "UTF8"], **run)  # type: ignore[call-overload]
    subprocess.run([binaries / "pg_ctl", "-D", data, "-o", options, "-w", "-l", folder / "log", "start"], **run)  # type: ignore[call-overload]
    try:
        yield f"postgresql+pg8000://spanfold@127.0.0.1:{port}/"
    finally:
        subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], **run)  # type: ignore[call-overload]
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    server: str = request.getfixturevalue("postgres")
    name = f"t_{uuid.uuid4().hex}"
    engine = sa.create_engine(server + "postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server + name
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> dt.datetime:
        return self.time

    def forward(self, **by: float) -> dt.datetime:
        self.time += dt.timedelta(**by)
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key_of() -> Callable[[str], bytes]:
    return lambda tenant: tenant.encode().ljust(32, b".")[:32]


@pytest.fixture
def store(url: str, clock: Clock, key_of: Callable[[str], bytes]) -> Iterator[StateStore]:
    with StateStore(url, sealer=CommentSealer(key_of), now=clock) as opened:
        yield opened
