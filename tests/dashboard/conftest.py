"""Screens on real parts: a folded data directory, the control plane, Streamlit's own test driver."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from playwright.sync_api import BrowserContext
from streamlit.testing.v1 import AppTest

from spanfold.dashboard import backend
from spanfold.dashboard.backend import Backend
from tests.dashboard import story
from tests.dashboard.driving import browsing

APP = Path(backend.__file__).parent / "app.py"
NOW = dt.datetime(2025, 11, 20, 14, 0)  # two hours after the story begins
Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    """Chromium, for the tests that need a real one."""
    with browsing() as context:
        yield context


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The story, folded once."""
    data = tmp_path_factory.mktemp("told") / "data"
    story.fill(data)
    return data


@pytest.fixture
def data(told: Path, tmp_path: Path) -> Path:
    """A copy of its own for a test that decides."""
    copy = tmp_path / "data"
    shutil.copytree(told, copy)
    shutil.copy2(told / "spanfold.duckdb", copy / "spanfold.duckdb")
    return copy


@pytest.fixture
def house(told: Path) -> Iterator[Backend]:
    """The installed backend over the shared story: for tests that only look."""
    yield from _installed(story.backend_of(told, NOW))


@pytest.fixture
def own_house(data: Path) -> Iterator[Backend]:
    """The installed backend over a copy."""
    yield from _installed(story.backend_of(data, NOW))


def _installed(made: Backend) -> Iterator[Backend]:
    st.cache_data.clear()
    backend.install(made)
    yield made
    made.state.close()


def open_page(page: str, **query: Any) -> AppTest:
    """A page as a browser opens it by its URL."""
    app = AppTest.from_file(str(APP), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    if page != "overview":
        app.switch_page(f"views/{page}.py").run()
    assert not app.exception, [error.message for error in app.exception]
    return app


def parts(app: AppTest, name: str) -> list[dict[str, Any]]:
    """The data given to every component of a name, in order."""
    found = []
    for element in app.get("bidi_component"):
        proto = element.proto
        if proto.component_name == f"spanfold_{name}":
            found.append(json.loads(proto.json))
    return found


def texts(app: AppTest) -> str:
    """Everything that Streamlit itself shows as text."""
    elements = [*app.title, *app.header, *app.text, *app.caption, *app.markdown, *app.code]
    return "\n".join(str(element.value) for element in elements)
