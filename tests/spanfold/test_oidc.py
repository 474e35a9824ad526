"""Sign-in at a real OpenID Connect provider on loopback: redirects, code, PKCE, signature; and what it must refuse."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from spanfold.api_operations import House
from spanfold.errors import SettingInvalid
from spanfold.gate import COOKIE
from spanfold.settings import Settings
from tests.dashboard.driving import free_port
from tests.spanfold import webbing

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("oidc_provider_mock") is None or importlib.util.find_spec("authlib") is None,
    reason="NOT TESTED WITH A PROVIDER: install spanfold[oidc] and oidc-provider-mock",
)


PROVIDER = """
from oidc_provider_mock import _app, __main__
real = _app.OpenIDCode.generate_user_info
def told(self, user, scope):
    claims = real(self, user, scope)
    return {"sub": user.sub} if user.claims.get("terse") else claims
_app.OpenIDCode.generate_user_info = told
__main__.run()
"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """A provider in a process of its own; whoever signs in there may say who they are."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-c", PROVIDER, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if httpx2.get(f"{address}/.well-known/openid-configuration").status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def house(tmp_path: Path, issuer: str) -> House:
    settings = Settings(
        data=tmp_path, auth="login", oidc_issuer=issuer, oidc_client_id="spanfold", oidc_client_secret="s3cret-s3cret"
    )
    house = House(settings)
    house.state.users.add("ann@example.com", ["read"], who="test")
    says(issuer, "ann@example.com", email="ann@example.com", email_verified=True)
    return house


def says(issuer: str, sub: str, **claims: object) -> None:
    """What the provider tells of who signs in there as `sub`."""
    assert httpx2.put(f"{issuer}/users/{sub}", json=claims).status_code == 204


@pytest.fixture
def client(house: House) -> TestClient:
    return webbing.client_of(house.settings, house)


def at_provider(client: TestClient, sub: str, after: str = "/traces") -> str:
    """The browser's way from our page to the provider and back: the address of our callback, with its code."""
    away = client.get("/auth/start", params={"next": after})
    assert away.status_code == 302, away.text
    asked = parse_qs(urlsplit(away.headers["location"]).query)
    assert asked["redirect_uri"] == [f"{webbing.ADDRESS}/auth/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    assert {"nonce", "state", "code_challenge"} <= asked.keys()
    back = httpx2.post(away.headers["location"], data={"sub": sub})
    assert back.status_code == 302, back.text
    return back.headers["location"]


def test_a_known_user_is_signed_in(client: TestClient, house: House) -> None:
    """Who was added here and signs in there gets a session and the page asked for; the log says how."""
    answer = client.get(at_provider(client, "ann@example.com", "/traces?range=7d"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/traces?range=7d")
    assert client.cookies[COOKIE].startswith("sft_")
    assert client.get("/api/docs").status_code == 200
    line = house.state.audit.changes("sessions", limit=1)[0]
    assert (line.who, line.action, (line.became or {})["how"]) == ("ann@example.com", "login", "oidc")
    assert "Sign in with your provider" in client.get("/login").text


UNPROVEN = "Your provider does not say that ann@example.com is your address: verify it there and sign in again"


@pytest.mark.parametrize(("claims", "trusted", "enters"), [
    ({"email": "ann@example.com"}, False, False),
    ({"email": "ann@example.com", "terse": True}, True, True),
    ({"email": "ann@example.com", "email_verified": False}, True, False),
    pytest.param({"email": "Ann@Example.com", "email_verified": True}, False, True, marks=pytest.mark.slow),
    pytest.param({"email": "ann@example.com", "email_verified": "true"}, False, True, marks=pytest.mark.slow),
    pytest.param({"email": "ann@example.com"}, True, True, marks=pytest.mark.slow),
    pytest.param({"email": "ann@example.com", "email_verified": None}, False, False, marks=pytest.mark.slow),
    pytest.param({"email": "ann@example.com", "email_verified": "false"}, True, False, marks=pytest.mark.slow),
    pytest.param({"email": "ann@example.com", "email_verified": True, "terse": True}, False, True,
                 marks=pytest.mark.slow),
    pytest.param({"email": "ann@example.com", "terse": True}, False, False, marks=pytest.mark.slow),
])  # fmt: skip
def test_an_address_needs_proof(
    house: House, issuer: str, claims: dict[str, object], trusted: bool, enters: bool
) -> None:
    """An address that the provider does not call proven signs nobody in, unless the operator says that it proves all;
    one that it calls unproven never does. What the ID token leaves out (`terse`) is asked at the UserInfo endpoint."""
    says(issuer, "8161", **claims)
    client = webbing.client_of(replace(house.settings, oidc_trust_email=trusted), house)
    answer = client.get(at_provider(client, "8161"))
    assert (answer.status_code, COOKIE in answer.cookies) == ((303, True) if enters else (403, False))
    if not enters:
        assert UNPROVEN in answer.text
        line = house.state.audit.changes("sessions", limit=1)[0]
        assert (line.who, line.action) == ("ann@example.com", "refused")


def test_another_claim_needs_no_proof_of_an_address(house: House, issuer: str) -> None:
    """Where users are named by a claim such as `sub`, addresses are not looked at."""
    says(issuer, "8162", email="ann@example.com")
    house.state.users.add("8162", ["read"], who="test")
    client = webbing.client_of(replace(house.settings, oidc_claim="sub"), house)
    assert client.get(at_provider(client, "8162")).status_code == 303
    assert house.state.audit.changes("sessions", limit=1)[0].who == "8162"


def test_strangers_and_disabled_users_stay_outside(client: TestClient, house: House, issuer: str) -> None:
    """Being known to the provider is not enough: who was not added, or was disabled, gets no session."""
    house.state.users.add("bob@example.com", ["admin"], who="test")
    house.state.users.disable("bob@example.com", who="test")
    for name in ("eve@example.com", "bob@example.com"):
        says(issuer, name, email=name, email_verified=True)
        answer = client.get(at_provider(client, name))
        assert answer.status_code == 403
        assert COOKIE not in answer.cookies
    assert [c.who for c in house.state.audit.changes("sessions")] == ["bob@example.com", "eve@example.com"]


def test_answers_that_were_not_asked_for(client: TestClient, house: House) -> None:
    """A code with another state, in another browser, used twice, or none at all signs nobody in."""
    callback = at_provider(client, "ann@example.com")
    other = webbing.client_of(house.settings, house)
    assert other.get(callback).status_code == 502
    assert client.get(callback.replace("state=", "state=x")).status_code == 502
    assert client.get("/auth/callback").status_code == 502
    assert client.get("/auth/callback", params={"error": "access_denied", "state": "x"}).status_code == 502
    assert client.get(callback).status_code == 303
    assert client.get(callback).status_code == 502


def test_provider_that_does_not_answer(tmp_path: Path) -> None:
    """When the provider is away people are told to try again; passwords still work."""
    settings = Settings(
        data=tmp_path, auth="login", oidc_issuer=f"http://127.0.0.1:{free_port()}", oidc_client_id="x",
        oidc_client_secret="y",
    )  # fmt: skip
    with webbing.client_of(settings) as client:
        answer = client.get("/auth/start")
        assert (answer.status_code, "try again" in answer.text) == (502, True)


@pytest.mark.parametrize("more", [
    {"oidc_client_id": None}, {"oidc_client_secret": None}, {"oidc_issuer": "http://login.example.com"},
    {"oidc_issuer": "login.example.com"},
])  # fmt: skip
def test_settings_that_cannot_be(tmp_path: Path, more: dict[str, str | None]) -> None:
    """Half a client, or an issuer whose answers could be forged on the way, stops the start."""
    whole: dict[str, str | None] = {
        "oidc_issuer": "https://login.example.com", "oidc_client_id": "x", "oidc_client_secret": "y",
    }  # fmt: skip
    with pytest.raises(SettingInvalid, match="oidc"):
        webbing.client_of(Settings(data=tmp_path, auth="login", **whole | more))  # type: ignore[arg-type]
