"""The tab of a span that says where every column came from, and what of the span was not understood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from spanfold.analytics import explaining
from spanfold.dashboard import answers, grids
from spanfold.dashboard.backend import backend

Row = Mapping[str, Any]
_LONG = 300  # characters of a value as sent


def draw(record: Row, zone: str) -> None:
    found = _explained(
        answers.version(), backend().scope, record["trace_id"], record["span_id"], closed=record["closed"]
    )
    if found is None:
        return
    speaks = "; ".join(f"{dialect['name']} ({dialect['marks']})" for dialect in found["dialects"])
    st.caption(f"Speaks {speaks}" if speaks else "It shows the marks of no dialect: not a GenAI span")
    grids.draw(f"explained-{record['span_id']}", _COLUMNS, found["columns"], row_id=lambda r: r["column"])
    _unused(record, found)
    for note in found["notes"]:
        st.text(f"{note['kind']}: {note['detail']}")


_COLUMNS = (
    grids.Column("Column", lambda r: grids.cell(r["column"], sub=_text(r["value"])), main=True),
    grids.Column("As sent", lambda r: grids.cell(_text(r["raw"]), sub=r["key"]) if r["key"] else None, kind="wrap"),
    grids.Column(
        "Rule",
        lambda r: r["rule"] + (f"\nby the rules of today: {_text(r['now'])}" if "now" in r else ""),
        kind="wrap",
    ),
)


def _unused(record: Row, found: Row) -> None:
    st.caption("Not understood")
    if not found["not_understood"]:
        st.text("Every attribute that was kept filled a column.")
        return
    columns = (
        grids.Column("Attribute", lambda r: r["key"], main=True),
        grids.Column("As sent", lambda r: _text(r["value"]), kind="wrap"),
        grids.Column("Why", lambda r: "read, but it filled nothing" if r["known_key"] else "no rule"),
    )
    grids.draw(f"unused-{record['span_id']}", columns, found["not_understood"], row_id=lambda r: r["key"])


@st.cache_data(max_entries=60, ttl=60, show_spinner=False)
def _explained(version: str, data: str, trace_id: str, span_id: str, *, closed: bool) -> dict[str, Any] | None:
    house = backend()
    return explaining.explain_span(
        house.reader.view(), span_id, house.dialects(), trace_id=trace_id, content=not closed
    )  # fmt: skip


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
