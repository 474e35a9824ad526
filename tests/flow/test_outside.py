"""`spanfold up` as somebody outside finds it: what opens with which credential, and what never does. Numbers in
brackets are those of the negative tests."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest

from spanfold.state.store import StateStore
from tests.flow.running import PROTOBUF, Running, up, wait_for
from tests.flow.sending import chat, traces

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PHRASE = "a long enough phrase"
CANARY = "canary-of-rival-5512"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TRACES = {"acme": f"{1:032x}", "rival": f"{2:032x}"}


class Outside:
    """A running product with two tenants, and what a stranger can say to its ports."""

    keys: dict[str, dict[str, Any]]
    token_of_ann: str

    def __init__(self, running: Running) -> None:
        self.running = running
        wait_for(self.answers, 60, "the dashboard's port")

    def answers(self) -> bool:
        try:
            return self.ask("/_stcore/health")[0] == 200
        except OSError:
            return False

    def fill(self) -> None:
        """Two tenants with a key, a span and a user each."""
        running = self.running
        self.keys = {tenant: self.verb("keys", "add", "--label", tenant, "--tenant", tenant) for tenant in TRACES}
        with StateStore.open(running.data) as state:
            for name, roles, tenants in (("ann", ["read", "export"], ["acme"]), ("ben", ["read"], ["rival"])):
                state.users.add(name, roles, tenants=tenants, password=PHRASE, who="test")
            self.token_of_ann, _ = state.tokens.add("ann", "test", days=1, who="test")
        for number, (tenant, word) in enumerate((("acme", "ours"), ("rival", CANARY)), 1):
            body = traces([chat(number, 10 * number, name=word, model=word, session__id=word)], service=word)
            assert running.post(body, x_api_key=self.keys[tenant]["secret"])[0] == 200
        running.flush()

    def verb(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.running.spanfold(*arguments, "--json").stdout)
        return found

    def ask(
        self, path: str, *, method: str = "GET", body: str | None = None, **headers: str
    ) -> tuple[int, Mapping[str, str], str]:
        """(status, headers, body) from the dashboard's port; underscores in header names become hyphens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.running.dashboard_port, timeout=30)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def sign_in(self, name: str, password: str = PHRASE) -> str | None:
        """The cookie of a new session."""
        form = urlencode({"username": name, "password": password})
        _, headers, _ = self.ask(
            "/login", method="POST", body=form, content_type="application/x-www-form-urlencoded"
        )  # fmt: skip
        return (headers.get("set-cookie") or "").partition(";")[0] or None

    def websocket(self, **headers: str) -> int:
        """The status of a websocket handshake with Streamlit: 101 = open."""
        key = base64.b64encode(os.urandom(16)).decode()
        own = {"host": f"127.0.0.1:{self.running.dashboard_port}"} | headers
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in own.items()]
        request = (
            "GET /_stcore/stream HTTP/1.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n"
            f"sec-websocket-key: {key}\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.running.dashboard_port), timeout=10) as connection:
            connection.sendall(request.encode())
            return int(connection.recv(4096).split(b" ", 2)[1])

    def call(self, *metadata: tuple[str, str]) -> grpc.StatusCode:
        with grpc.insecure_channel(f"127.0.0.1:{self.running.grpc_port}") as channel:
            try:
                channel.unary_unary(EXPORT)(traces([chat(3, 30)]), timeout=10, metadata=metadata)
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
        return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with up(tmp_path_factory.mktemp("up"), SPANFOLD_AUTH="login", SPANFOLD_OTLP_AUTH="keys") as running:
        outside = Outside(running)
        outside.fill()
        yield outside


def test_senders_without_a_key_are_refused(outside: Outside) -> None:
    """[1, 2, 3, 4, 7] No key, a wrong one, one in the address, a stated tenant of somebody else: refused on both ports,
    nothing stored; only health answers without a key."""
    running, body, key = outside.running, traces([chat(9, 90)]), outside.keys["acme"]["secret"]
    before = running.status()["accepted"]
    for wrong in ({}, {"authorization": f"Bearer {key[:9]}{'0' * 23}"}, {"authorization": "Bearer ' OR 1=1--"}):
        assert running.post(body, **wrong)[0] == 401
        assert outside.call(*wrong.items()) is grpc.StatusCode.UNAUTHENTICATED
    assert running.post(body, path=f"/v1/traces?api_key={key}")[0] == 401
    assert running.post(body, x_api_key=key, x_spanfold_tenant="rival")[0] == 403
    assert running.post(body, x_api_key="k" * 1_000_000)[0] in (401, 431)
    assert (running.get("/healthz"), running.get("/metrics")) == (200, 401)
    assert running.status()["accepted"] == before


def test_a_page_cannot_send_for_a_visitor(outside: Outside) -> None:
    """[77] What a form or a script of a foreign page can send without asking (no preflight) is no OTLP content type."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        status, headers, _ = outside.running.post(
            traces([chat(9, 91)]), kind, x_api_key=outside.keys["acme"]["secret"], origin="https://evil.example"
        )
        assert (status, headers["access-control-allow-origin"]) == (415, None)


STREAMLIT = (
    "/", "/traces", "/access", "/_stcore/host-config", "/_stcore/allowed-message-origins", "/index.html",
    "/_stcore/script-health-check", "/manifest.json",
    "/_stcore/metrics", "/_stcore/upload_file/x/y", "/media/x.csv", "/static/index.html", "/component/x/y.js",
    "/_stcore/bidi-components/x/y.js", "/app/static/x", "/oauth2callback", "/auth/login",
)  # fmt: skip


def test_nothing_but_health_without_a_session(outside: Outside) -> None:
    """[10] Every route of API and Streamlit, its files, its websocket and its uploads refuse who is not signed in."""
    document = json.loads(outside.ask("/api/openapi.json", authorization=f"Bearer {outside.token_of_ann}")[2])
    routes = [path for path in document["paths"] if path != "/api/healthz"]
    assert len(routes) >= 8
    for path in (*routes, "/api", "/api/docs", "/api/openapi.json", *STREAMLIT):
        for method in ("GET", "POST", "PUT", "DELETE"):
            status, _, body = outside.ask(re.sub(r"\{.*?\}", "1", path), method=method)
            assert status == 401, (method, path, status)
            assert CANARY not in body
    assert outside.ask("/api/healthz")[0] == outside.ask("/_stcore/health")[0] == 200
    assert outside.websocket() == 403
    assert outside.websocket(cookie="spanfold_session=guess") == 403


def test_foreign_hosts_and_origins(outside: Outside) -> None:
    """[77] A signed-in browser that another page, or a rebound name, makes ask: no answer, no websocket, no change."""
    cookie = outside.sign_in("ann")
    assert cookie
    own = f"http://127.0.0.1:{outside.running.dashboard_port}"
    assert outside.websocket(cookie=cookie, origin=own) == 101
    for origin in ("https://evil.example", "null", own.replace("127.0.0.1", "localhost"), f"{own}0", "file://"):
        assert outside.websocket(cookie=cookie, origin=origin) == 403, origin
        asked = {"cookie": cookie, "origin": origin, "content_type": "application/json"}
        assert outside.ask("/api/v1/reviews", method="POST", body="{}", **asked)[0] == 403
        assert outside.ask("/logout", method="POST", cookie=cookie, origin=origin)[0] == 403
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        f"evil.example:{outside.running.dashboard_port}",
        "[::]",
        "",
    ):
        assert outside.ask("/api/v1/traces", cookie=cookie, host=host)[0] == 403, host
        assert outside.websocket(cookie=cookie, host=host) == 403
    assert outside.ask("/api/v1/traces", cookie=cookie)[0] == 200


def test_tenants_do_not_meet(outside: Outside) -> None:
    """[11, 12] The same questions right after one another: each sees its own; a guessed id is as one that never was."""
    for name, own, other in (("ben", "rival", "acme"), ("ann", "acme", "rival"), ("ben", "rival", "acme")):
        cookie = outside.sign_in(name)
        assert cookie
        status, _, body = outside.ask("/api/v1/traces", cookie=cookie)
        assert (status, TRACES[own] in body, TRACES[other] in body) == (200, True, False)
        assert outside.ask(f"/api/v1/traces/{TRACES[own]}", cookie=cookie)[0] == 200
        found, absent = (
            outside.ask(f"/api/v1/traces/{ident}?content=true", cookie=cookie) for ident in (TRACES[other], "9" * 32)
        )
        assert (found[0], found[2]) == (absent[0], absent[2]) == (404, absent[2])


@pytest.mark.parametrize("path", [
    "/api/v1/traces/..%2f..%2fetc%2fpasswd", "/api/v1/traces/%2e%2e%2f%2e%2e%2fkeys%2froot.key",
    "/api/v1/spans/file:%2f%2f%2fetc%2fpasswd", "/../../../etc/passwd", "/static/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/media/..%2f..%2f..%2fetc%2fpasswd", "/component/x/..%2f..%2f..%2fetc%2fpasswd", "/app/static/../../keys/root.key",
    "/_stcore/bidi-components/grid/..%2f..%2f..%2f..%2fetc%2fpasswd", "/static/%00", "/..\\..\\etc\\passwd",
])  # fmt: skip
def test_paths_lead_nowhere(outside: Outside, path: str) -> None:
    """[31] A path that climbs out gets nothing of this machine's files, also from who is signed in."""
    cookie = outside.sign_in("ann")
    assert cookie
    status, _, body = outside.ask(path, cookie=cookie)
    assert status < 500
    assert "root:" not in body
    assert "daemon" not in body
    secrets = [path.read_text("latin-1") for path in (outside.running.data / "keys").rglob("*") if path.is_file()]
    assert not any(secret.strip() in body for secret in secrets if secret.strip())


def test_revoked_closes_within_five_seconds(outside: Outside) -> None:
    """[5] A sender's key, a token and a session that were revoked at the command line are closed within 5 s."""
    key = outside.verb("keys", "add", "--label", "short", "--tenant", "acme")
    with StateStore.open(outside.running.data) as state:
        state.users.add("cy", ["read"], tenants=["acme"], password=PHRASE, who="test")
        token, info = state.tokens.add("cy", "x", days=1, who="test")
    cookie = outside.sign_in("cy")
    assert cookie
    body = traces([chat(5, 50)])

    def told() -> tuple[int, int, int]:
        bearer = outside.ask("/api/v1/traces", authorization=f"Bearer {token}")[0]
        session = outside.ask("/api/v1/traces", cookie=cookie)[0]
        return outside.running.post(body, x_api_key=key["secret"])[0], bearer, session

    wait_for(lambda: told() == (200, 200, 200), 5, "everything opens")
    outside.running.spanfold("keys", "revoke", key["id"])
    outside.running.spanfold("tokens", "revoke", info.id)
    outside.running.spanfold("users", "disable", "cy")
    begun = time.monotonic()
    wait_for(lambda: told() == (401, 401, 401), 5, "everything is closed", poll=0.2)
    assert time.monotonic() - begun < 5


def test_sql_from_outside(outside: Outside) -> None:
    """[40-70] One SELECT on own rows; files, other statements, settings and endless texts are refused, without a path
    of this machine in the answer; others are served meanwhile."""
    asked = {"authorization": f"Bearer {outside.token_of_ann}", "content_type": "application/json"}

    def run(query: str, **more: Any) -> tuple[int, str]:
        status, _, body = outside.ask("/api/v1/sql", method="POST", body=json.dumps({"query": query} | more), **asked)
        return status, body

    assert run("SELECT DISTINCT tenant FROM spans")[1].splitlines()[0] == '{"tenant":"acme"}'
    for text in (
        "SELECT * FROM read_text('/etc/passwd')", "FROM '/etc/passwd'", "SELECT * FROM glob('/**')", "ATTACH '/tmp/x'",
        "COPY spans TO '/tmp/x.csv'", "INSTALL httpfs", "LOAD httpfs", "SET threads = 64", "PRAGMA database_list",
        "SELECT 1; SELECT 2", "SELECT getenv('HOME')", "SELECT * FROM duckdb_settings()", "FROM 'http://127.0.0.1/x.csv'",
    ):  # fmt: skip
        status, body = run(text)
        assert status == 400, text
        assert str(outside.running.data) not in body
    status, body = run("SELECT sum(a) FROM range(1000000000000) t(a)", seconds=1)
    assert (status, "stopped after 1 s" in body) == (400, True)
    assert outside.ask("/api/v1/traces", **asked)[0] == 200


def test_login_is_slowed(outside: Outside) -> None:
    """[76] Guessing one account's password is slowed to 429 soon; another account signs in meanwhile."""
    form = urlencode({"username": "nobody", "password": "wrong wrong wrong"})
    kind = "application/x-www-form-urlencoded"
    told = [outside.ask("/login", method="POST", body=form, content_type=kind)[0] for _ in range(14)]
    assert told[0] == 401
    assert told[-1] == 429
    assert outside.sign_in("ann")


def test_files_are_private(outside: Outside) -> None:
    """[83] Nothing in the data directory can be read by other users of the machine."""
    data = outside.running.data
    files = [path for path in data.rglob("*") if not path.is_symlink() and (path.is_file() or path.is_dir())]
    assert len(files) > 10
    closed = {parent for parent in files if parent.is_dir() and not parent.stat().st_mode & 0o077}
    for path in files:
        own = path.stat().st_mode & 0o077 == 0
        assert own or any(parent in closed for parent in path.parents), path


def test_without_login_only_this_machine(tmp_path: Path) -> None:
    """[9] `up` on an address that others reach refuses to start without keys for senders, then without sign-in."""
    command = [sys.executable, "-m", "spanfold.cli", "up", "--host", "0.0.0.0", "--data", str(tmp_path / "data")]
    for environ, asks in (({}, "otlp_auth"), ({"SPANFOLD_OTLP_AUTH": "keys"}, 'auth = "login"')):
        done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert asks in done.stderr
        assert done.stderr.count("\n") == 1


def test_open_on_loopback_still_refuses_foreign_pages(tmp_path: Path) -> None:
    """[77] Without sign-in the person at the machine is let in; a page of another origin or a rebound name is not."""
    with up(tmp_path) as running:
        outside = Outside(running)
        own = f"http://127.0.0.1:{running.dashboard_port}"
        assert running.post(traces([chat(1, 10)]), PROTOBUF)[0] == 200
        running.flush()
        assert outside.ask("/api/v1/traces")[0] == 200
        assert outside.websocket(origin=own) == 101
        assert outside.websocket(origin="https://evil.example") == 403
        assert outside.websocket(host="evil.example") == 403
        assert outside.ask("/api/v1/traces", host="evil.example")[0] == 403
        asked = {"origin": "https://evil.example", "content_type": "application/json"}
        assert outside.ask("/api/v1/sql", method="POST", body='{"query": "SELECT 1"}', **asked)[0] == 403
