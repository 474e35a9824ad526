"""Conversations: calls that continue each other, latest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, filter_bar, formatting, grids, links, paging, previews, states

Row = dict[str, Any]
KEY = "conversations"


def page() -> None:
    chosen = filter_bar.selection()
    pager = paging.Pager(KEY, chosen.filters)
    before_time, before_id = pager.key
    asked = {"limit": grids.PAGE, "before_time": before_time, "before_id": before_id}
    rows = answers.rows("conversations_page", chosen.filters, **asked)
    if not rows and pager.number == 1:
        st.title("Conversations", anchor=False)
        states.nothing_here(chosen, "conversations")
        return
    total = answers.rows("conversations_count", chosen.filters)[0]["conversations"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Conversations", anchor=False, width="content")
        st.caption(formatting.plural(total, "conversation"), width="content")
        st.space("stretch")
        grids.sql_button("conversations_page", key=KEY, filters=chosen.filters, **asked)
        pager.draw(rows, total, time="page_time", ident="conversation")
    _table(rows, chosen, pager.number)


def _table(rows: Sequence[Row], chosen: filter_bar.Selection, number: int) -> None:
    words = previews.of_traces(
        [{"trace_id": r["first_trace_id"], "date": r["date"], "spans": r["calls"]} for r in rows]
    )
    longest = max((row["calls"] for row in rows), default=0) or 1
    columns = (
        grids.Column(
            "Last activity",
            lambda r: _active(r, chosen),
            kind="time",
            help="Start of the last call that the filters keep: what the list is sorted by",
        ),
        grids.Column("Conversation", lambda r: _name(r, words.get(r["first_trace_id"])), main=True),
        grids.Column("User", lambda r: r["user_id"]),
        grids.Column("Service", lambda r: grids.filter_cell("service", r["service_name"])),
        grids.Column("Models", lambda r: grids.names_cell(r["models"], "model"), kind="tight"),
        grids.Column("Worst status", lambda r: grids.status_cell(r, "worst_status")),
        grids.Column("Turns", lambda r: formatting.count(r["turns"]), align="right", help="Traces it runs through"),
        grids.Column(
            "Calls", lambda r: grids.cell(formatting.count(r["calls"]), bar=r["calls"] / longest), align="right"
        ),
        grids.Column("Lasted", lambda r: formatting.duration(r["duration_ms"]), align="right"),
        grids.Column("Tokens in", lambda r: _tokens(r), align="right"),
        grids.Column("Cost", _cost, align="right"),
    )
    grids.draw(
        KEY,
        columns,
        rows,
        row_id=lambda r: r["conversation"],
        keys=True,
        page=number,
        href=lambda r: links.to("conversation", conversation=r["conversation"]),
    )


def _active(row: Row, chosen: filter_bar.Selection) -> Row:
    return grids.cell(
        formatting.when(row["page_time"], chosen.zone, chosen.today),
        title=f"Started {formatting.when(row['start_time'], chosen.zone)}",
    )


def _name(row: Row, words: str | None) -> Row:
    """What it is about, in its first words; below that what it is called, where somebody gave it a name."""
    stated = row["conversation_id"] or row["session_id"]
    about = " · ".join(filter(None, (stated, ", ".join(row["agents"] or ()))))
    return grids.cell(
        words or stated or "(no words)", sub=about or "not named by the sender", title=row["conversation"]
    )


def _tokens(row: Row) -> Row | None:
    if row["input_tokens"] is None:
        return None
    cached = row["cache_read_tokens"]
    return grids.cell(
        formatting.short(row["input_tokens"]), sub=f"{formatting.short(cached)} cached" if cached else None
    )


def _cost(row: Row) -> Row:
    unpriced = row["unpriced_calls"]
    return grids.cell(formatting.money(row["cost"]), sub=f"{unpriced} unpriced" if unpriced else None)


states.guarded(page)
