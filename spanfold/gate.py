"""The door of the dashboard's port: every HTTP request and websocket passes here before Streamlit or the API see it.

Checked in this order: the Host header (DNS rebinding), the Origin of what changes something and of websockets (CSRF),
the caller (session cookie, or bearer token for the API), and how often a caller asks the API. Without a caller only the
pages that sign people in and the two health routes answer.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from urllib.parse import quote, urlsplit

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from spanfold.access import Access, NotSignedIn, own_names
from spanfold.collector.guesses import Guesses
from spanfold.rate_limits import Buckets
from spanfold.settings import Settings
from spanfold.state.access import Caller

COOKIE = "spanfold_session"
CALLER = "spanfold.caller"  # where the scope says who asks
OPEN = ("/login", "/logout", "/auth/start", "/auth/callback", "/api/healthz", "/_stcore/health", "/favicon.ico")
_READING = ("GET", "HEAD", "OPTIONS")


class Gate:
    """ASGI middleware; the innermost application finds the caller in its scope."""

    def __init__(self, app: ASGIApp, access: Access, settings: Settings) -> None:
        self._app, self._access, self._names = app, access, own_names(settings)
        per_second = settings.api_requests_per_minute / 60
        self._guesses = Guesses()
        self._api = Buckets(max(1, settings.api_requests_per_minute // 6), per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refusal = self._foreign(connection)
        if refusal is None:
            refusal = await self._known(connection, scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
        else:
            await refusal(scope, receive, send)

    def _foreign(self, connection: HTTPConnection) -> Response | None:
        headers, scope = connection.headers, connection.scope
        if not is_ours(headers.get("host", ""), self._names):
            return _refused(403, "the host name of this request is not this machine's")
        changes = scope["type"] == "websocket" or scope["method"] not in _READING
        if changes and not _same_origin(connection):
            return _refused(403, "this request comes from a page of another origin")
        return None

    async def _known(self, connection: HTTPConnection, scope: Scope) -> Response | None:
        path, api = scope["path"], scope["path"].startswith("/api")
        token = _bearer(connection) if api else None
        try:
            caller = await run_in_threadpool(self._caller, connection, token)
        except NotSignedIn as error:
            return None if path in OPEN else _sign_in(connection, str(error), api)
        except _TooManyWrong as error:
            return _too_often(error.wait)
        scope[CALLER] = caller
        wait = self._api.take(caller.name) if api and path not in OPEN else 0.0
        return _too_often(wait) if wait else None

    def _caller(self, connection: HTTPConnection, token: str | None) -> Caller:
        """Raises NotSignedIn, and _TooManyWrong for an address that brought many tokens that open nothing."""
        if token is None or not self._access.asks_for_login:
            return self._access.caller(session=connection.cookies.get(COOKIE))
        address = connection.client.host if connection.client else ""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        if wait := self._guesses.wait(address, digest):
            raise _TooManyWrong(wait)
        try:
            caller = self._access.caller(token=token)
        except NotSignedIn:
            self._guesses.was_wrong(address, digest)
            raise
        self._guesses.was_right(address, digest)
        return caller


class _TooManyWrong(Exception):
    def __init__(self, wait: float) -> None:
        self.wait = wait


def caller_of(connection: HTTPConnection) -> Caller:
    """Who asks. Raises NotSignedIn on the open routes."""
    found: Caller | None = connection.scope.get(CALLER)
    if found is None:
        raise NotSignedIn
    return found


def is_ours(header: str, names: frozenset[str]) -> bool:
    """Is this Host header a name of this machine's loopback, or one that we were told?"""
    name = header.rsplit(":", 1)[0] if not header.endswith("]") else header
    name = name.strip("[]").lower()
    try:
        return name in names or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same_origin(connection: HTTPConnection) -> bool:
    """Browsers send Origin with every POST and websocket; programs send neither it nor cookies of a browser."""
    origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
    if origin is None:
        return site in (None, "same-origin", "none")
    if origin == "null":  # a page that may send no referrer
        return site == "same-origin"
    return urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()


def _bearer(connection: HTTPConnection) -> str | None:
    kind, _, secret = connection.headers.get("authorization", "").partition(" ")
    return secret.strip() or None if kind.lower() == "bearer" else None


def _sign_in(connection: HTTPConnection, reason: str, api: bool) -> Response:
    wants_page = "text/html" in connection.headers.get("accept", "")
    if not api and connection.scope["type"] == "http" and wants_page:
        query = connection.scope.get("query_string", b"").decode("latin-1")
        asked = connection.scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"/login?next={quote(asked, safe='/')}", 303)
    return _refused(401, reason, {"www-authenticate": "Bearer"})


def _too_often(wait: float) -> Response:
    return _refused(429, "too many requests: come back later", {"retry-after": str(math.ceil(wait))})


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    content = orjson.dumps({"error": message})
    return Response(content, status, {"cache-control": "no-store", **(headers or {})}, "application/json")
