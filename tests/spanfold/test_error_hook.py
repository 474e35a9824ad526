"""Problems are told once each time they grow, to the place that is configured."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spanfold.error_hook import load_hook, tell_changes, watching
from spanfold.errors import SettingInvalid

HEARD: list[tuple[str, str, int, str]] = []


def hear(problem: str, context: Mapping[str, Any]) -> None:
    HEARD.append((problem, context["stage"], context["count"], context["state"]))


def test_what_is_new_grew_or_is_over_is_told_once() -> None:
    """TB-026: the same problem is not told twice; more of it is; its end is."""
    HEARD.clear()
    hook, told = load_hook(f"{__name__}:hear"), dict[str, int]()
    full = {"collect": {"count": 1, "last": "the disk is full"}}
    dead = {"fold": {"count": 2, "last": "records set aside"}}
    for found in (full, full | dead, full | dead, dead, {"fold": {"count": 3, "last": "records set aside"}}):
        tell_changes(found, told, hook)
    assert HEARD == [
        ("the disk is full", "collect", 1, "failing"),
        ("records set aside", "fold", 2, "failing"),
        ("collect works again", "collect", 0, "over"),
        ("records set aside", "fold", 3, "failing"),
    ]


def test_a_hook_that_fails_is_called_again() -> None:
    """TB-026: what a hook did not take is told the next time."""
    told: dict[str, int] = {}

    def refuse(problem: str, context: Mapping[str, Any]) -> None:
        raise OSError("not now")

    found = {"collect": {"count": 1, "last": "the disk is full"}}
    with pytest.raises(OSError, match="not now"):
        tell_changes(found, told, refuse)
    HEARD.clear()
    tell_changes(found, told, hear)
    assert len(HEARD) == 1


@contextmanager
def receiver(status: int = 200, location: str | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes JSON, and what it got."""
    got: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", got
        server.shutdown()
        thread.join()


def test_a_webhook(tmp_path: Path) -> None:
    """TB-026: a problem that status names is posted as JSON; a hook that answers with an error raises."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "collector.json").write_text(json.dumps({"problem": "no journal segment could be made"}))
    with receiver() as (url, got):
        with watching(tmp_path, load_hook(url)):
            for _ in range(100):
                if got:
                    break
                threading.Event().wait(0.05)
        assert {k: v for k, v in got[0].items() if k != "time_ns"} == {
            "problem": "no journal segment could be made", "stage": "collect", "count": 1, "state": "failing",
        }  # fmt: skip
    with receiver(500) as (url, _), pytest.raises(OSError, match="500"):
        load_hook(url)("x", {})


def test_a_webhook_goes_nowhere_else() -> None:
    """No redirect is followed, and no address of machines' own services is called."""
    with receiver() as (other, got), receiver(302, other) as (url, _):
        with pytest.raises(OSError, match="302"):
            load_hook(url)("x", {})
        assert got == []


@pytest.mark.parametrize("host", [
    "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]", "100.100.100.200", "user@169.254.169.254",
])  # fmt: skip
def test_no_spelling_leads_to_a_machines_own_service(host: str) -> None:
    """[73] Decimal, octal, hexadecimal, short and mapped spellings of the addresses where clouds keep credentials."""
    with pytest.raises(OSError, match=r"are not called|Name or service not known|nodename"):
        load_hook(f"http://{host}/latest")("x", {})


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """[73] A name that leads elsewhere the second time (DNS rebinding) is called where it was checked."""
    answers = iter(["127.0.0.1", "169.254.169.254"])
    real = socket.getaddrinfo

    def changing(host: str, *more: Any, **options: Any) -> Any:
        return real(next(answers) if host == "rebinding.test" else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    with receiver() as (url, got):
        load_hook(url.replace("127.0.0.1", "rebinding.test"))("x", {})
        assert [told["problem"] for told in got] == ["x"]
        with pytest.raises(OSError, match="are not called"):
            load_hook(url.replace("127.0.0.1", "rebinding.test"))("x", {})


@pytest.mark.parametrize("setting", ["no_such_module:hear", "json:no_such", "json:__name__"])
def test_a_hook_that_cannot_be_loaded_is_named(setting: str) -> None:
    """A wrong name is refused at the start."""
    with pytest.raises(SettingInvalid, match="error_hook"):
        load_hook(setting)
