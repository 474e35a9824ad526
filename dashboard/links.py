"""Links between screens. A view is a page and a query: what opens one carries every filter that is in force."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import streamlit as st

from spanfold.dashboard import filter_bar
from spanfold.dashboard.components.parts import component

URLS = {"overview": "./", "trace_detail": "trace"}  # where a page's URL is not its name


def to(name: str, change: Mapping[str, Sequence[str]] | None = None, /, **query: str) -> str:
    """The link to a page with `query`, under the filters of now but for `change`."""
    asked = {key: [value] for key, value in query.items()} | filter_bar.in_force() | dict(change or {})
    text = urlencode({key: list(values) for key, values in asked.items() if values}, doseq=True)
    return URLS.get(name, name) + (f"?{text}" if text else "")


def to_span(trace_id: str, span_id: str | None = None) -> str:
    return to("trace_detail", None, trace=trace_id, **({"span": span_id} if span_id else {}))


def go(name: str, **query: str) -> None:
    """Open another page: the browser follows the link, so that it is one entry of its history like any other."""
    component("visit")(data={"href": to(name, None, **query), "at": str(time.time_ns())}, key="visit")
    st.stop()


def here(change: Mapping[str, Sequence[str]]) -> None:
    """This page again, with a part of its query changed."""
    data = {"change": {key: list(values) for key, values in change.items()}, "at": str(time.time_ns())}
    component("visit")(data=data, key="visit")
    st.stop()


def address(part: str, query: Mapping[str, Sequence[str]], *, step: bool = False) -> None:
    """Has the browser's address say `query`, others left alone. `step`: a change is an entry to go back to."""
    shown = {key: list(values) for key, values in query.items()}
    component("address")(
        data={"query": shown, "step": step, "part": part, "at": str(time.time_ns())}, key=f"address-{part}"
    )
