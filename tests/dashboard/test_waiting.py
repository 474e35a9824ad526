"""Queries of a page end when nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from websockets.sync.client import ClientConnection, connect

from spanfold.dashboard import waiting
from tests.flow.running import free_ports, wait_for
from tests.flow.sending import chat, product, traces


def test_a_script_goes_on_until_it_is_stopped_or_run_again() -> None:
    """A stop and a new run end it; a fragment that wants to be drawn waits for its page."""
    requests = ScriptRequests()
    assert waiting.goes_on(requests)
    requests.request_rerun(RerunData(fragment_id="tick"))
    assert waiting.goes_on(requests)
    requests.request_rerun(RerunData(query_string="page=2"))
    assert not waiting.goes_on(requests)
    stopped = ScriptRequests()
    stopped.request_stop()
    assert not waiting.goes_on(stopped)
    assert waiting.awaited() is None


SLOW = """
import sys
from spanfold.analytics import queries
told = open(sys.argv.pop(), "a", buffering=1)
real = queries.View._prepare
def prepare(self, name, filters, params):
    made = real(self, name, filters, params)
    if name == "snapshot_info":
        made.text = "SELECT count(*) FROM range(1000000000) AS a(i), range(1000000) AS b(j) WHERE (i * j) % 7 = 3"
    return made
def run(self, query, real=queries.View._run):
    if "1000000000" not in query.text:
        return real(self, query)
    print("began", file=told)
    try:
        return real(self, query)
    except Exception as error:
        print(type(error).__name__, file=told)
        raise
queries.View._prepare, queries.View._run = prepare, run
from spanfold.cli import main
main()
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a dashboard one of whose queries never ends, and where that query tells of itself."""
    with product(tmp_path / "data") as p:
        p.send(traces([chat(1, 1)]))
        p.fold()
    port, told = free_ports(1)[0], tmp_path / "told"
    command = [sys.executable, "-c", SLOW, "dashboard", f"--dashboard-port={port}", str(told)]
    environ = os.environ | {"SPANFOLD_DATA": str(tmp_path / "data"), "SPANFOLD_QUERY_SECONDS": "300"}
    process = subprocess.Popen(command, env=environ)
    try:
        wait_for(lambda: answers(port), 60, "the dashboard")
        yield port, told
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        with looking(port):
            return True
    except OSError:
        return False


def looking(port: int) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"], origin=f"http://127.0.0.1:{port}"
    )


def ask(page: ClientConnection, query: str = "") -> None:
    """What the browser says to have a page drawn."""
    message = BackMsg()
    message.rerun_script.query_string = query
    page.send(message.SerializeToString())


@pytest.mark.slow
def test_a_page_that_is_left_or_asked_for_anew_stops_its_queries(served: tuple[int, Path]) -> None:
    """In the running server: the query of the first run ends when the page is asked for with other filters, that of the
    second when the page is closed."""
    port, told = served

    def said() -> list[str]:
        return told.read_text().split() if told.exists() else []

    with looking(port) as page:
        ask(page)
        wait_for(lambda: said() == ["began"], 20, "the query")
        ask(page, "range=7d")
        wait_for(lambda: said() == ["began", "QueryAbandoned", "began"], 5, "another run")
    wait_for(lambda: said() == ["began", "QueryAbandoned"] * 2, 5, "the end")
