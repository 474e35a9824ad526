"""The dashboard process: Streamlit and the API on one port, behind one gate."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spanfold.gate import COOKIE
from spanfold.reading import operating_user
from spanfold.state.access import ANY_TENANT, CONTENT, READ, Caller

if TYPE_CHECKING:
    from spanfold.access import Access
    from spanfold.analytics.queries import Reader
    from spanfold.api_operations import House
    from spanfold.dashboard.backend import Backend
    from spanfold.settings import Settings

APP = Path(__file__).parent / "dashboard" / "app.py"

# Streamlit needs inline scripts and styles, and blobs for workers; nothing else may be fetched from anywhere, so that
# no text of a span can make a browser call home.
CONTENT_SECURITY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class SecurityHeaders:
    """Adds the headers above to every HTTP answer that does not bring its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)


class SessionGate:
    """Who looks at the running Streamlit session: its cookie, asked at the one gate."""

    def __init__(self, access: Access, reader: Reader) -> None:
        self._access, self._reader = access, reader

    def caller(self) -> Caller:
        import streamlit as st

        return self._access.caller(session=st.context.cookies.get(COOKIE))

    def sees(self, caller: Caller) -> tuple[frozenset[str] | None, bool]:
        tenants = self._access.tenants(caller, READ, "dashboard", lambda: self._reader)
        asked = [ANY_TENANT] if tenants is None else tenants
        return tenants, all(self._access.allows(caller, CONTENT, tenant, "dashboard") for tenant in asked)

    def allows(self, caller: Caller, action: str, tenant: str) -> bool:
        return self._access.allows(caller, action, tenant, "dashboard")


def open_backend(settings: Settings, house: House | None = None) -> Backend:
    """What the pages read and write, of one data directory. Without its keys everything but content is shown; with
    `house` each session sees what its caller may, and the control plane is that of the API."""
    from spanfold.analytics.queries import Reader
    from spanfold.dashboard.backend import Backend
    from spanfold.exporter.errors import KeyMissing
    from spanfold.exporter.keys import Keyring
    from spanfold.reading import comment_sealer
    from spanfold.redacting import Keeper
    from spanfold.semconv.dialect_files import load_dialects
    from spanfold.state.store import StateStore
    from spanfold.status import gather

    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        keyring = Keyring.open(settings.data)
    except KeyMissing as error:
        print(f"content stays closed: {error}", file=sys.stderr, flush=True)
        keyring = None
    reader = Reader(settings.data, keyring, seconds=settings.query_seconds)
    sealer = comment_sealer(keyring) if keyring else None
    return Backend(
        data=settings.data,
        reader=reader,
        gate=SessionGate(house.access, reader) if house and house.access.asks_for_login else None,
        state=house.state if house else StateStore.open(settings.data, sealer=sealer),
        reviewer=operating_user(),
        listening=partial(_listening, settings),
        status=partial(gather, settings.data),
        dialects=lambda: load_dialects(settings.dialects_folder).dialects,
        rules=Keeper(),
    )


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    import streamlit as st

    from spanfold.access import own_names
    from spanfold.api import api_routes
    from spanfold.api_operations import House
    from spanfold.dashboard import backend, theme
    from spanfold.dashboard_bounds import TimelyBodies, bound_connections
    from spanfold.gate import Gate

    house = House(settings)
    backend.install(open_backend(settings, house))
    routes = [*api_routes(house), *sign_in_routes(settings, house)]
    layers = [
        Middleware(TimelyBodies), Middleware(SecurityHeaders), Middleware(Gate, access=house.access, settings=settings)
    ]  # fmt: skip
    app = st.App(APP, routes=routes, middleware=layers, lifespan=_lifespan, on_script_error=_show)
    bound_connections()
    app.run(config=theme.server_options(settings.host, settings.dashboard_port, sorted(own_names(settings))))


def sign_in_routes(settings: Settings, house: House) -> list[Route]:
    """Sign-in by password and, where one is set, at a provider."""
    from spanfold.oidc import Provider
    from spanfold.sign_in import SignIn

    sign_in = SignIn(settings, house.access, lambda: house.state)
    provider = Provider(settings, sign_in, lambda: house.state).routes() if settings.oidc_issuer else []
    return [*sign_in.routes(), *provider]


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Warms up beside the start: the port answers at once."""
    from spanfold.dashboard.warming import warm

    threading.Thread(target=warm, name="warm", daemon=True).start()
    yield {}


def _show(error: Exception) -> bool:
    """What a callback or the frame itself raises: one card with an id, as for a page."""
    from spanfold.dashboard.states import error_card

    error_card(error)
    return True


def _listening(settings: Settings) -> tuple[str, str]:
    """Where the collector listens now: it may have been given other ports than this process knows."""
    from spanfold.status import read_run_file

    known = read_run_file(settings.data, "collector")
    ports = (known.get("grpc_port", settings.grpc_port), known.get("http_port", settings.http_port))
    return f"{settings.host}:{ports[0]}", f"{settings.host}:{ports[1]}"
