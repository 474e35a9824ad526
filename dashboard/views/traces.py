"""Traces: newest first, fifty a page, picked and decided on in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, bulk, decisions, filter_bar, formatting, grids, links, paging, previews, states
from spanfold.dashboard.backend import backend
from spanfold.state.access import REVIEW
from spanfold.state.targets import Target

Row = dict[str, Any]
KEY = "traces"


def page() -> None:
    chosen = filter_bar.selection()
    pager = paging.Pager("traces", chosen.filters)
    before_time, before_id = pager.key
    rows = answers.rows("traces_page", chosen.filters, limit=grids.PAGE, before_time=before_time, before_id=before_id)
    if not rows and pager.number == 1:
        st.title("Traces", anchor=False, width="content")
        states.nothing_here(chosen, "traces")
        return
    total = answers.rows("traces_count", chosen.filters)[0]["traces"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Traces", anchor=False, width="content")
        st.caption(formatting.plural(total, "trace"), width="content")
        st.space("stretch")
        grids.sql_button(
            "traces_page",
            key=KEY,
            filters=chosen.filters,
            limit=grids.PAGE,
            before_time=before_time,
            before_id=before_id,
        )
        pager.draw(rows, total, time="page_time", ident="trace_id")
    picks = bulk.Picks(KEY)
    bar = st.container(horizontal=True, vertical_alignment="center", key="pick-bar")
    _table(rows, chosen, picks, pager.number)
    with bar:
        picks.draw(chosen.filters, total)


def _table(rows: Sequence[Row], chosen: filter_bar.Selection, picks: bulk.Picks, number: int) -> None:
    """What was picked goes to `picks`."""
    targets = {row["trace_id"]: Target.trace(row["trace_id"], tenant=row["tenant"]) for row in rows}
    live = decisions.live(targets.values())
    first_words = previews.of_traces(rows)
    longest = max((row["duration_ms"] for row in rows), default=0) or 1
    states_now = {trace_id: live[target] for trace_id, target in targets.items()}
    shown = {trace_id: bulk.Pick(target, live[target].revision) for trace_id, target in targets.items()}
    columns = (
        grids.Column("Time", lambda r: formatting.when(r["start_time"], chosen.zone, chosen.today), kind="time"),
        grids.Column(
            "Name", lambda r: grids.cell(r["name"] or "(no name)", sub=first_words.get(r["trace_id"])), main=True
        ),
        grids.Column("Service", lambda r: grids.filter_cell("service", r["service_name"])),
        grids.Column("Model", lambda r: grids.names_cell(r["models"], "model"), kind="tight"),
        grids.Column("Status", _lifecycle),
        grids.Column("Spans", _spans, align="right"),
        grids.Column(
            "Duration",
            lambda r: grids.cell(formatting.duration(r["duration_ms"]), bar=r["duration_ms"] / longest),
            align="right",
        ),
        grids.Column("Tokens in", lambda r: _tokens(r, "input_tokens", "cache_read_tokens"), align="right"),
        grids.Column("Out", lambda r: _tokens(r, "output_tokens"), align="right"),
        grids.Column("Cost", _cost, align="right"),
        grids.Column("Review", lambda r: states_now[r["trace_id"]].state, kind="review"),
    )
    done = grids.draw(
        KEY,
        columns,
        rows,
        row_id=lambda r: r["trace_id"],
        label=lambda r: r["name"] or "",
        href=lambda r: links.to_span(r["trace_id"]),
        revision=lambda r: states_now[r["trace_id"]].revision,
        on_log=lambda: decisions.store_log(KEY, targets),
        on_act=lambda: picks.told(shown),
        pickable=backend().may(REVIEW),
        keys=True,
        decide=backend().may(REVIEW),
        picked=[trace_id for trace_id in targets if trace_id in picks.chosen],
        stamp=picks.stamp,
        asking=picks.asked is not None,
        page=number,
        acked=decisions.acked(KEY),
        problem=decisions.problem(KEY),
    )
    picks.remember(shown, done.picks)


def _lifecycle(row: Row) -> Row:
    word, tone = grids.LIFECYCLE.get(row["lifecycle"], (row["lifecycle"], ""))
    errors = formatting.plural(row["errors"], "error") if row["errors"] else None
    return grids.cell(word, pill=tone, title=errors)


def _spans(row: Row) -> Row:
    return grids.cell(
        formatting.count(row["spans"]), sub=formatting.plural(row["errors"], "error") if row["errors"] else None
    )


def _tokens(row: Row, name: str, cached: str = "") -> Row | None:
    if row[name] is None:
        return None
    share = row.get(cached) if cached else None
    return grids.cell(
        formatting.short(row[name]), title=f"{row[name]:,}", sub=f"{formatting.short(share)} cached" if share else None
    )


def _cost(row: Row) -> Row | None:
    unpriced = row["unpriced_calls"]
    if row["cost"] is None and not unpriced:
        return None
    return grids.cell(formatting.money(row["cost"]), sub=f"{unpriced} unpriced" if unpriced else None)


states.guarded(page)
