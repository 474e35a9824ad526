"""The web routes behind their gate, without Streamlit: for tests that ask over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.testclient import TestClient

from spanfold.api import api_routes
from spanfold.api_operations import House
from spanfold.dashboard_server import sign_in_routes
from spanfold.gate import Gate
from spanfold.settings import Settings

ADDRESS = "http://127.0.0.1:8501"


def client_of(settings: Settings, house: House | None = None, **options: Any) -> TestClient:
    """Redirects are not followed."""
    house = house or House(settings)
    routes = [*api_routes(house), *sign_in_routes(settings, house)]
    gate = Middleware(Gate, access=house.access, settings=settings)
    app = Starlette(routes=routes, middleware=[gate, Middleware(SessionMiddleware, secret_key="test")])
    return TestClient(app, base_url=ADDRESS, follow_redirects=False, **options)
