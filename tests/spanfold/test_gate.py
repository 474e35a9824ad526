"""The door: hosts, origins, sign-in, sessions, rate limits, the replaceable policy."""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from spanfold.access import Access, Forbidden, load_policy, require_login
from spanfold.api_operations import House, operations
from spanfold.collector.answers import Refused
from spanfold.collector.guesses import Guesses
from spanfold.collector.senders import Caller as Sender
from spanfold.collector.senders import Rates
from spanfold.errors import HostRefused, SettingInvalid
from spanfold.gate import COOKIE, OPEN
from spanfold.rate_limits import Buckets
from spanfold.settings import Settings
from spanfold.sign_in import following
from spanfold.state.access import Caller
from spanfold.state.store import StateStore
from tests.spanfold import webbing

PHRASE = "a long enough phrase"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(Settings(data=tmp_path, auth="login"))
    house.state.users.add("ann", ["admin"], password=PHRASE, who="test")
    yield house
    house.state.close()


@pytest.fixture
def client(house: House) -> TestClient:
    return webbing.client_of(house.settings, house)


def sign_in(client: TestClient, name: str = "ann", password: str = PHRASE, **more: str) -> tuple[int, str | None]:
    answer = client.post("/login", data={"username": name, "password": password} | more)
    return answer.status_code, answer.cookies.get(COOKIE)


def test_without_a_caller_only_health_and_sign_in_answer(client: TestClient) -> None:
    """[10, TB-036] Every route of the API, and every other path, refuses who is not signed in."""
    paths = {o.path.format(trace_id="a" * 32, span_id="b" * 16): o.method for o in operations()}
    paths |= dict.fromkeys(("/api", "/api/docs", "/api/openapi.json", "/_stcore/stream", "/x.js"), "GET")
    answers = {path: client.request(method, path) for path, method in paths.items()}
    assert {path for path, answer in answers.items() if answer.status_code != 401} == {"/api/healthz"}
    assert answers["/api/v1/traces"].headers["www-authenticate"] == "Bearer"
    page = client.get("/trace?trace=ab", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=/trace%3Ftrace%3Dab")
    for path in ("/login", "/logout"):
        assert client.get(path).status_code == 200
    assert set(OPEN) >= {"/login", "/api/healthz"}


@pytest.mark.parametrize("secret", ["", "x", "' OR 1=1 --", "sft_" + "a" * 43, "\u00e9", "Bearer x", "a" * 100_000])
def test_wrong_tokens(client: TestClient, secret: str) -> None:
    """[7] A bearer token that is none, hostile or huge is 401, whatever it looks like; so is one in the query."""
    headers = {"authorization": f"Bearer {secret}".encode("latin-1")}
    assert client.get("/api/v1/traces", headers=headers).status_code == 401
    assert client.get("/api/v1/traces", params={"token": secret[:100]}).status_code == 401


def test_sign_in_and_out(client: TestClient, house: House) -> None:
    """[77] Each sign-in gives a new HttpOnly, SameSite session; sign-out kills it on the server; the log tells both."""
    answer = client.post("/login", data={"username": "ANN", "password": PHRASE, "next": "/traces?range=7d"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/traces?range=7d")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=lax", "path=/"))
    assert "secure" not in cookie
    first = client.cookies[COOKIE]
    assert client.get("/api/docs").status_code == 200
    status, second = sign_in(client)
    assert (status, first != second) == (303, True)
    client.cookies.clear()
    assert client.get("/api/docs", headers={"cookie": f"{COOKIE}={first}"}).status_code == 401
    with_second = {"cookie": f"{COOKIE}={second}"}
    assert client.get("/api/docs", headers=with_second).status_code == 200
    assert "Signed in as ann" in client.get("/logout", headers=with_second).text
    assert client.post("/logout", headers=with_second).headers["location"] == "/login"
    assert client.get("/api/docs", headers=with_second).status_code == 401
    assert [c.action for c in house.state.audit.changes("sessions")] == ["logout", "login", "logout", "login"]


def test_cookie_is_secure_behind_https(tmp_path: Path) -> None:
    """[77] Where people come by https the cookie goes nowhere else."""
    settings = Settings(data=tmp_path, auth="login", dashboard_url="https://spanfold.example.com")
    house = House(settings)
    house.state.users.add("ann", ["read"], password=PHRASE, who="test")
    with webbing.client_of(settings, house) as client:
        answer = client.post(
            "/login", data={"username": "ann", "password": PHRASE},
            headers={"host": "spanfold.example.com", "origin": "https://spanfold.example.com"},
        )  # fmt: skip
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(("given", "expected"), [
    ("/traces?x=1", "/traces?x=1"), (None, "/"), ("", "/"), ("//evil.example", "/"), ("/\\evil.example", "/"),
    ("https://evil.example", "/"), ("javascript:alert(1)", "/"), ("/a\nb", "/"), ("evil", "/"), ("/\t/evil", "/"),
])  # fmt: skip
def test_where_a_sign_in_leads(given: str | None, expected: str) -> None:
    """After signing in people land on this server, whatever the link said."""
    assert following(given) == expected


def test_the_form_shows_text_as_text(client: TestClient) -> None:
    """[34] What a link puts into the form is escaped, and the page runs no script."""
    page = client.get("/login", params={"next": '/"><script>alert(1)</script>'})
    assert "<script" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 401), ({"origin": webbing.ADDRESS}, 401), ({"origin": "http://evil.example"}, 403), ({"origin": "null"}, 403),
    ({"origin": "null", "sec-fetch-site": "same-origin"}, 401), ({"sec-fetch-site": "cross-site"}, 403),
    ({"sec-fetch-site": "same-site"}, 403), ({"origin": "http://127.0.0.1:9999"}, 403),
    ({"origin": "https://127.0.0.1:8501.evil.example"}, 403), ({"host": "evil.example:8501"}, 403),
])  # fmt: skip
def test_changes_come_from_own_pages_only(client: TestClient, headers: dict[str, str], status: int) -> None:
    """[77] A form of another origin, or a name that is not ours, never reaches the check of the password."""
    form = {"username": "ann", "password": "wrong but long enough"}
    assert client.post("/login", data=form, headers=headers).status_code == status


def test_websocket_of_another_origin_is_closed(client: TestClient) -> None:
    """[77] A websocket from another origin, and one without a session, is closed before it is open."""
    from starlette.websockets import WebSocketDisconnect

    for headers in ({"origin": "http://evil.example"}, {"origin": webbing.ADDRESS}, {}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/_stcore/stream", headers=headers):
            pass


def test_guessing_is_slowed_per_account(client: TestClient, house: House) -> None:
    """[76] After ten wrong passwords an account answers 429 with the time to wait, others are not affected."""
    house.state.users.add("bob", ["read"], password=PHRASE, who="test")
    codes = []
    while 429 not in codes and len(codes) < 30:  # a slow machine is given some more
        codes.append(sign_in(client, password="wrong but long enough")[0])
    assert codes[:10] == [401] * 10
    assert codes[-1] == 429
    refused = client.post("/login", data={"username": "ann", "password": PHRASE})
    assert (refused.status_code, int(refused.headers["retry-after"]) in range(1, 7)) == (429, True)
    assert sign_in(client, "bob")[0] == 303
    assert [c.who for c in house.state.audit.changes("sessions") if c.action == "refused"] == ["ann"] * codes.count(401)


def test_rate_of_the_api_is_per_caller(tmp_path: Path) -> None:
    """[78] A caller that asks too often gets 429 and Retry-After; another one is served."""
    house = House(Settings(data=tmp_path, auth="login", api_requests_per_minute=60))
    headers = []
    for name in ("ann", "bob"):
        house.state.users.add(name, ["read"], who="test")
        headers.append({"authorization": f"Bearer {house.state.tokens.add(name, 'x', days=1, who='test')[0]}"})
    with webbing.client_of(house.settings, house) as client:
        codes = [client.get("/api/docs", headers=headers[0]).status_code for _ in range(14)]
        assert codes[:10] == [200] * 10
        assert 429 in codes[10:]
        refused = client.get("/api/docs", headers=headers[0])
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert client.get("/api/docs", headers=headers[1]).status_code == 200
        assert client.get("/api/healthz", headers=headers[0]).status_code == 200


def test_buckets() -> None:
    """A burst, then the rate; waiting fills up again, and never beyond the burst."""
    now = [0.0]
    buckets = Buckets(2, 0.5, clock=lambda: now[0])
    assert [buckets.take("a"), buckets.take("a"), buckets.take("a")] == [0.0, 0.0, 2.0]
    now[0] = 1.0
    assert buckets.take("a") == 1.0
    now[0] = 2.0
    assert buckets.take("a") == 0.0
    now[0] = 100.0
    assert [buckets.take("a"), buckets.take("a"), buckets.take("a") > 0] == [0.0, 0.0, True]
    buckets.give_back("a")
    assert buckets.take("a") == 0.0
    assert buckets.take("b") == 0.0


def test_limits_do_not_go_by_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """[89] Whoever is over a limit waits as long as without a jump of the clock, a year ahead or back: nobody is locked
    out, nobody let in."""
    caller, wall = Sender(key_id="k"), [1.7e9]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    buckets, guesses, rates = Buckets(1, 0.1), Guesses(1, 0.1), Rates(0.1, None)

    def waits() -> list[int]:
        try:
            rates.take(caller, 1)
        except Refused as refused:
            return [round(buckets.take("a")), round(guesses.wait("a", b"x")), refused.retry_seconds or 0]
        return [round(buckets.take("a")), round(guesses.wait("a", b"x")), 0]

    assert waits() == [0, 0, 0]
    guesses.was_wrong("a", b"y")
    for jump in (0.0, 3.2e7, -6.4e7):
        wall[0] += jump
        assert waits() == [10, 10, 10]


def test_revoked_tokens_close_within_seconds(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """[5] A token is looked up again after two seconds at the latest: what was revoked is closed then."""
    now = [1000.0]
    monkeypatch.setattr("spanfold.access.time.monotonic", lambda: now[0])
    secret, info = house.state.tokens.add("ann", "x", days=1, who="test")
    with webbing.client_of(house.settings, house) as client:
        headers = {"authorization": f"Bearer {secret}"}
        assert client.get("/api/docs", headers=headers).status_code == 200
        house.state.tokens.revoke(info.id, who="test")
        now[0] += 2.01
        assert client.get("/api/docs", headers=headers).status_code == 401


@pytest.mark.parametrize(("more", "refused"), [
    ({"host": "0.0.0.0"}, "auth ="), ({"host": "10.1.2.3"}, "users add"), ({"host": "spanfold.internal"}, "auth ="),
    ({"host": "0.0.0.0", "auth": "login"}, "dashboard_url"), ({"host": "::", "auth": "login"}, "dashboard_url"),
    ({"host": "10.1.2.3", "auth": "login"}, ""), ({"host": "127.0.0.1"}, ""), ({"host": "localhost"}, ""),
    ({"host": "0.0.0.0", "auth": "login", "dashboard_url": "https://x.example"}, ""), ({"host": "::1"}, ""),
])  # fmt: skip
def test_open_addresses_need_a_login(tmp_path: Path, more: dict[str, str], refused: str) -> None:
    """[9] Where others can reach the dashboard it does not start without sign-in, and says what to do."""
    settings = Settings(data=tmp_path, **more)
    if not refused:
        require_login(settings)
        return
    with pytest.raises(HostRefused, match=refused):
        require_login(settings)


def only_metrics(caller: Caller, action: str, tenant: str, resource: str) -> bool:
    """A policy of a user: nobody reads content, `ops` reads one tenant, whatever its roles."""
    return action == "read" and caller.name == "ops" and tenant == "a"


@pytest.fixture
def own_policy(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("house_rules")
    module.only_metrics = only_metrics  # type: ignore[attr-defined]
    module.broken = lambda *asked: 1 / 0  # type: ignore[attr-defined]
    module.chatty = lambda *asked: "yes"  # type: ignore[attr-defined]
    module.number = 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "house_rules", module)
    return "house_rules"


class _Tenants:
    """A reader of which only the tenants are asked."""

    version = "v1"

    def all_tenants(self) -> frozenset[str]:
        return frozenset({"a", "b"})


def test_policy_is_replaceable(own_policy: str, tmp_path: Path) -> None:
    """TB-034: a function named in the settings decides everything; one that fails, or does not say True, denies."""
    ops, boss = Caller("ops", frozenset()), Caller("boss", frozenset({"admin"}))

    def tenants(function: str, caller: Caller, action: str = "read") -> frozenset[str] | None:
        access = Access(Settings(data=tmp_path, policy=f"{own_policy}:{function}"), lambda: StateStore.open(tmp_path))
        return access.tenants(caller, action, "trace", _Tenants)  # type: ignore[arg-type]

    assert tenants("only_metrics", ops) == {"a"}
    for function, caller, action in (
        ("only_metrics", boss, "read"), ("only_metrics", ops, "content"), ("broken", boss, "read"),
        ("chatty", boss, "read"),
    ):  # fmt: skip
        with pytest.raises(Forbidden, match="may not read"):
            tenants(function, caller, action)


@pytest.mark.parametrize("name", ["house_rules:nothing", "no_such_module:f", "house_rules:number", "nonsense", ":x"])
def test_missing_policy_stops_the_start(own_policy: str, tmp_path: Path, name: str) -> None:
    """TB-034: a policy that cannot be loaded stops the start, with the name and the form it must have."""
    with pytest.raises(SettingInvalid, match="policy = "):
        load_policy(name)
    with pytest.raises(SettingInvalid):
        House(Settings(data=tmp_path, policy=name))


def test_guessing_tokens_is_slowed_per_address(tmp_path: Path) -> None:
    """[76] After a hundred tokens that open nothing an address waits, also with a right one that is new there; a token
    that worked from there before goes on working, and so does the sign-in of people."""
    with House(Settings(data=tmp_path, auth="login", api_requests_per_minute=100_000)).state as state:
        state.users.add("ann", ["admin"], password=PHRASE, who="test")
        old, new = (state.tokens.add("ann", name, days=1, who="test")[0] for name in ("old", "new"))
        with webbing.client_of(Settings(data=tmp_path, auth="login", api_requests_per_minute=100_000)) as client:

            def ask(secret: str) -> int:
                answer = client.get("/api/docs", headers={"authorization": f"Bearer {secret}"})
                assert ("retry-after" in answer.headers) is (answer.status_code == 429)
                return answer.status_code

            assert ask(old) == 200
            told = [ask(f"{old[:9]}{number:040d}") for number in range(110)]
            assert told[:100] == [401] * 100
            assert 429 in told[100:]
            while ask("x" * 40) != 429:
                pass
            assert (ask(new), ask(old)) == (429, 200)
            assert sign_in(client)[0] == 303
