"""Registers the components. Each is `<name>.js`, `.css`, `.html` of this folder, with `common.*` before."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

import streamlit as st

Renderer = Callable[..., Any]


@cache
def component(name: str, *shared: str) -> Renderer:
    """The mounting command of one component; registered once a process."""
    sources = ("common", *shared, name)
    renderer: Renderer = st.components.v2.component(
        f"spanfold_{name}",
        html=_read(f"{name}.html"),
        css="\n".join(_read(f"{source}.css") for source in sources),
        js="\n".join(_read(f"{source}.js") for source in sources),
    )
    return renderer


def ignore() -> None:
    """A callback that does nothing: naming one is what declares a value of a component."""


def _read(file: str) -> str:
    path = resources.files("spanfold.dashboard.components") / file
    return path.read_text() if path.is_file() else "<span hidden></span>" if file.endswith(".html") else ""
