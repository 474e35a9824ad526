"""What the first visitor would otherwise wait for: heavy imports, opening the snapshot, first queries."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib

import duckdb

from spanfold.analytics.errors import AnalyticsError
from spanfold.analytics.filters import Filters
from spanfold.dashboard.backend import installed

_MODULES = (
    "altair",
    "pandas",
    "streamlit.elements.arrow",
    "streamlit.components.v2",
    "spanfold.dashboard.charts",
    "spanfold.dashboard.grids",
)
_QUERIES = ("data_range", "filter_values", "overview_tiles", "cost_by_day", "top_movers", "traces_page", "trace_ends")


def warm() -> None:
    """Runs once, beside the server's start; a failure here is met again, and shown, by whoever asks."""
    for name in _MODULES:
        importlib.import_module(name)
    now = installed().now()
    filters = Filters(start=now - dt.timedelta(days=1), end=now)
    with contextlib.suppress(
        AnalyticsError, duckdb.Error
    ):  # as by the snapshot of an older release, replaced in a moment
        for name in _QUERIES:
            chosen = {"trace_ids": [], "first_day": now.date(), "last_day": now.date()} if name == "trace_ends" else {}
            installed().reader.query(name, filters, **chosen)
