"""Answers of the read surface, remembered by (snapshot version, query, parameters): a rerun costs nothing twice."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import streamlit as st

from spanfold.analytics.errors import NoSnapshot, QueryAbandoned
from spanfold.analytics.filters import Filters
from spanfold.dashboard.backend import backend

Row = dict[str, Any]


def table(name: str, filters: Filters | None = None, **params: Any) -> pa.Table:
    """The answer of a named query on the newest snapshot."""
    key = (version(), backend().scope, name, repr(filters), repr(sorted(params.items())))
    try:
        return _table(*key, (backend().reader, filters, params))
    except QueryAbandoned:
        st.stop()


def rows(name: str, filters: Filters | None = None, **params: Any) -> list[Row]:
    found: list[Row] = table(name, filters, **params).to_pylist()
    return found


def row(name: str, filters: Filters | None = None, **params: Any) -> Row | None:
    """The first row, None if there is none."""
    return next(iter(rows(name, filters, **params)), None)


def sql(name: str, filters: Filters | None = None, **params: Any) -> str:
    """The same query as text that any DuckDB runs on the published file."""
    text: str = backend().reader.as_sql(name, filters, **params)
    return text


def filter_values() -> dict[str, list[str]]:
    """What each dimension offers, most used first."""
    found: dict[str, list[str]] = {}
    for entry in rows("filter_values"):
        found.setdefault(entry["dimension"], []).append(entry["value"])
    return found


@st.cache_data(ttl=2, show_spinner=False)
def _status(data: str) -> dict[str, Any]:
    return dict(backend().status())


def status() -> dict[str, Any]:
    """What `spanfold status --json` says, at most two seconds old; of it only the lag for who sees some tenants only:
    counts, errors and paths are those of the whole installation."""
    house = backend()
    found: dict[str, Any] = _status(house.scope)
    return found if house.tenants is None else {"lag_seconds": found.get("lag_seconds")}


def version() -> str:
    """The newest snapshot's name. Raises NoSnapshot."""
    found: str = backend().reader.version
    return found


def anything() -> bool:
    """Was ever a span stored?"""
    try:
        known = row("data_range")
    except NoSnapshot:
        return False
    return bool(known and (known["spans"] or known["last_call"]))


def newest() -> str:
    """The newest snapshot's name, empty while there is none."""
    try:
        return version()
    except NoSnapshot:
        return ""


@st.cache_data(max_entries=400, max_size="200mb", show_spinner=False)
def _table(version: str, data: str, name: str, filters: str, params: str, _ask: tuple[Any, Any, Any]) -> pa.Table:
    reader, chosen, given = _ask
    return reader.query(name, chosen, **given)
