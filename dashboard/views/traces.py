"""Traces: newest first, fifty a page, picked and decided on in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, decisions, filter_bar, formatting, grids, links, paging, previews, states
from spanfold.dashboard.backend import backend
from spanfold.state.access import REVIEW
from spanfold.state.targets import Target

Row = dict[str, Any]
MOST_PICKED = 10_000
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
    picks = st.session_state.setdefault("picked-traces", {})
    bar = st.container(horizontal=True, vertical_alignment="center", key="pick-bar")
    done = _table(rows, chosen, picks, pager.number)
    _remember(picks, rows, done.picks)
    with bar:
        _pick_bar(chosen, picks, total)


def _table(rows: Sequence[Row], chosen: filter_bar.Selection, picks: dict[str, Target], number: int) -> grids.Done:
    targets = {row["trace_id"]: Target.trace(row["trace_id"], tenant=row["tenant"]) for row in rows}
    live = decisions.live(targets.values())
    first_words = previews.of_traces(rows)
    longest = max((row["duration_ms"] for row in rows), default=0) or 1
    states_now = {trace_id: live[target] for trace_id, target in targets.items()}
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
    return grids.draw(
        KEY,
        columns,
        rows,
        row_id=lambda r: r["trace_id"],
        label=lambda r: r["name"] or "",
        href=lambda r: links.to_span(r["trace_id"]),
        revision=lambda r: states_now[r["trace_id"]].revision,
        on_log=lambda: decisions.store_log(KEY, targets),
        pickable=backend().may(REVIEW),
        keys=True,
        decide=backend().may(REVIEW),
        picked=[trace_id for trace_id in targets if trace_id in picks],
        stamp=st.session_state.get("picks-stamp", 0),
        page=number,
        acked=decisions.acked(KEY),
        problem=decisions.problem(KEY),
    )


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


def _remember(picks: dict[str, Target], rows: Sequence[Row], picked: Sequence[str]) -> None:
    """Picks of other pages stay; those of this page are what the grid says."""
    wanted = set(picked)
    for row in rows:
        if row["trace_id"] in wanted:
            picks[row["trace_id"]] = Target.trace(row["trace_id"], tenant=row["tenant"])
        else:
            picks.pop(row["trace_id"], None)


def _pick_bar(chosen: filter_bar.Selection, picks: dict[str, Target], total: int) -> None:
    if not backend().may(REVIEW):
        return
    if not picks:
        st.caption(
            "Pick rows to approve, flag or reject them together. j k move, x picks, a f r decide, Enter opens.",
            width="content",
        )
        return
    st.markdown(f"**{len(picks):,} picked**")
    comment = st.session_state.get("bulk-comment", "")
    for state, icon in (("approved", "check"), ("flagged", "flag"), ("rejected", "close")):
        st.button(
            decisions.VERBS[state],
            icon=f":material/{icon}:",
            key=f"bulk-{state}",
            on_click=_decide,
            args=(state, picks, comment),
        )
    st.text_input(
        "Comment", key="bulk-comment", placeholder="Comment for all of them", label_visibility="collapsed", width=260
    )
    if total > len(picks):
        most = min(total, MOST_PICKED)
        st.button(f"Pick all {most:,}", key="pick-all", type="tertiary", on_click=_pick_all, args=(chosen, picks))
    st.button("Clear picks", key="pick-none", type="tertiary", on_click=_clear, args=(picks,))


def _decide(state: str, picks: dict[str, Target], comment: str) -> None:
    if decisions.decide_all(picks.values(), state, comment):
        st.session_state["bulk-comment"] = ""
        _clear(picks)


def _pick_all(chosen: filter_bar.Selection, picks: dict[str, Target]) -> None:
    for row in answers.rows("trace_ids", chosen.filters, limit=MOST_PICKED):
        picks[row["trace_id"]] = Target.trace(row["trace_id"], tenant=row["tenant"])
    st.session_state["picks-stamp"] = st.session_state.get("picks-stamp", 0) + 1


def _clear(picks: dict[str, Target]) -> None:
    picks.clear()
    st.session_state["picks-stamp"] = st.session_state.get("picks-stamp", 0) + 1


states.guarded(page)
