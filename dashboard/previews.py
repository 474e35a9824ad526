"""The first line of what a trace was asked and what it answered: read on demand, for the rows of one page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from spanfold.analytics.errors import KeyMissing
from spanfold.dashboard import reads, transcripts
from spanfold.dashboard.backend import backend

LENGTH = 140
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ends:
    """How a trace begins and ends: contexts as `Context.as_dict`, None where it has no content."""

    question: Row | None
    answer: Row | None


def of_traces(rows: Sequence[Row]) -> dict[str, str]:
    """trace_id -> one line: the last user words of the first question, else the answer."""
    if not rows:
        return {}
    seen = tuple((row["trace_id"], row["spans"]) for row in rows)
    lines: dict[str, str] = _lines(backend().scope, seen, rows)
    if lines:
        reads.note(f"first words of {', '.join(sorted(lines))}", traces=len(lines))
    return lines


@st.cache_data(max_entries=200, show_spinner=False)
def _lines(data: str, seen: tuple[tuple[str, int], ...], _rows: Sequence[Row]) -> dict[str, str]:
    """Cached by what the traces hold, not by the snapshot: new spans elsewhere change nothing here."""
    found = ends(_rows)
    lines = {}
    for trace_id, both in found.items():
        line = transcripts.one_line(both.question, "user") or transcripts.one_line(both.answer, "assistant")
        if line:
            lines[trace_id] = line if len(line) <= LENGTH else line[: LENGTH - 1] + "…"
    return lines


def ends(rows: Sequence[Row]) -> dict[str, Ends]:
    """trace_id -> its first question and last answer, with words where they can be opened."""
    days = [row["date"] for row in rows]
    found = backend().reader.rows(
        "trace_ends", trace_ids=sorted(row["trace_id"] for row in rows),
        first_day=min(days) - dt.timedelta(days=1), last_day=max(days) + dt.timedelta(days=1),
    )  # fmt: skip
    places = {}
    for row in found:
        for end in ("question", "answer"):
            if row[end]:
                places[row["trace_id"], end] = (row[end]["date"], row["tenant"], row["trace_id"], row[end]["span_id"])
    contexts = {(context.key, context.direction): context.as_dict() for context in _open(sorted(set(places.values())))}
    return {
        row["trace_id"]: Ends(
            contexts.get((places.get((row["trace_id"], "question")), "input")),
            contexts.get((places.get((row["trace_id"], "answer")), "output")),
        )
        for row in found
    }


def _open(keys: Sequence[tuple[dt.date, str, str, str]]) -> list[Any]:
    view = backend().reader.view()
    try:
        return list(view.messages(keys, words=True))
    except KeyMissing:  # the words cannot be opened here: their outline still can
        return list(view.messages(keys, words=False))
