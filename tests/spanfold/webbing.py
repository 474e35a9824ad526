"""The web routes behind their gate, without Streamlit: for tests that ask over HTTP."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from spanfold.api import api_routes
from spanfold.api_operations import House
from spanfold.gate import Gate
from spanfold.settings import Settings
from spanfold.sign_in import SignIn

ADDRESS = "http://127.0.0.1:8501"


def client_of(settings: Settings, house: House | None = None, **options: Any) -> TestClient:
    """Redirects are not followed."""
    house = house or House(settings)
    routes = [*api_routes(house), *SignIn(settings, house.access, lambda: house.state).routes()]
    app = Starlette(routes=routes, middleware=[Middleware(Gate, access=house.access, settings=settings)])
    return TestClient(app, base_url=ADDRESS, follow_redirects=False, **options)
