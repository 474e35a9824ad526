"""What is put together for a caller of the API ends when the caller goes away, on a real server and a real socket."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import uvicorn

from spanfold.analytics import records
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.snapshot import publish
from spanfold.api_operations import House
from spanfold.exporter.manifest import read_current
from spanfold.settings import Settings
from tests.flow.running import wait_for
from tests.spanfold import webbing

ENDLESS = "SELECT count(*) FROM range(1000000000) AS a(i), range(1000000) AS b(j) WHERE (i * j) % 7 = 3"
CALLS = 3


@pytest.fixture
def house(filled: Path, tmp_path: Path) -> House:
    data = tmp_path / "data"
    shutil.copytree(filled, data)
    shutil.rmtree(data / "snapshots")  # they name the files of the other folder
    publish(data, read_current(data), PriceBook.load(), {})
    return House(Settings(data=data))


@pytest.fixture
def port(house: House) -> Iterator[int]:
    app = webbing.client_of(house.settings, house).app
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        serving = threading.Thread(target=server.run, args=([listening],))
        serving.start()
        wait_for(lambda: server.started, 20, "the server")
        yield listening.getsockname()[1]
        server.should_exit = True
        serving.join(20)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the opening of each batch of one call ended; that of the last one never ends by itself."""
    said, real = [], records.add_content

    def add_content(cursor: duckdb.DuckDBPyConnection, keyring: Any, rows: Any) -> None:
        said.append("began")
        try:
            if len(said) == 2 * CALLS - 1:
                cursor.execute(ENDLESS)
            real(cursor, keyring, rows)
            said.append("done")
        except Exception as error:
            said.append(type(error).__name__)
            raise

    monkeypatch.setattr(records, "BATCH", 1)
    monkeypatch.setattr(records, "add_content", add_content)
    return said


def test_a_stream_of_content_ends_with_its_caller(port: int, told: list[str], house: House) -> None:
    """The opening of content that runs when the connection is closed is stopped within seconds, and the server answers
    the next one."""
    with socket.create_connection(("127.0.0.1", port), 20) as caller:
        caller.sendall(b"GET /api/v1/calls?content=true HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        got = b""
        while got.count(b'"span_id"') < CALLS - 1:
            part = caller.recv(1 << 16)
            assert part, got
            got += part
        wait_for(lambda: told[2 * CALLS - 2 :] == ["began"], 10, "the last batch")
    wait_for(lambda: told[2 * CALLS - 2 :] == ["began", "InterruptException"], 5, "its end")
    with socket.create_connection(("127.0.0.1", port), 20) as next_one:
        next_one.sendall(b"GET /api/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert next_one.recv(100).startswith(b"HTTP/1.1 200")
