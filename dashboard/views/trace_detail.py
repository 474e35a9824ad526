"""One trace: its spans as a tree over time on the left, the chosen span on the right; span and trace in the URL."""

from __future__ import annotations

from typing import Any

import streamlit as st

from spanfold.dashboard import (
    answers,
    decisions,
    filter_bar,
    formatting,
    grids,
    links,
    span_panel,
    span_tree,
    states,
    trail,
)
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component, ignore
from spanfold.state.access import REVIEW
from spanfold.state.targets import Target

Row = dict[str, Any]


def page() -> None:
    trace_id = st.query_params.get("trace", "")
    found = answers.rows("trace_row", trace_id=trace_id)
    if not found:
        _unknown(trace_id)
        return
    chosen = filter_bar.selection()
    row = found[0]
    _header(row, chosen)
    spans = answers.rows("trace_spans", trace_id=trace_id)
    _spans(row, spans, chosen.zone)


def _unknown(trace_id: str) -> None:
    with st.container(border=True, key="no-trace"):
        if trace_id:
            st.header("This trace is not here", anchor=False)
            st.text("No stored span has this trace id. It may not have been folded yet, or retention dropped its day.")
            st.code(trace_id[:64], language=None)
        else:
            st.header("No trace is chosen", anchor=False)
        if st.button("Open Traces"):
            links.go("traces")


def _header(row: Row, chosen: filter_bar.Selection) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="crumbs"):
        if st.button("Traces", icon=":material/arrow_back:", type="tertiary", key="back-to-traces"):
            links.go("traces")
        st.space("stretch")
        _review(row, chosen.zone)
    word, tone = grids.LIFECYCLE.get(row["lifecycle"], (row["lifecycle"], ""))
    review = decisions.live([_target(row)])[_target(row)]
    pills = [[word, tone]]
    if review.revision:
        pills.append([review.state.capitalize(), grids.REVIEW_TONE[review.state]])
    if row["unpriced_calls"]:
        pills.append([f"{row['unpriced_calls']} unpriced", "warn"])
    component("heading")(
        data={"title": row["name"] or "(no name)", "pills": pills, "facts": _facts(row, chosen)},
        key="trace-heading",
    )


def _facts(row: Row, chosen: filter_bar.Selection) -> list[Row]:
    calls = answers.rows("trace_calls", trace_id=row["trace_id"])
    conversations = list(dict.fromkeys(call["conversation"] for call in calls if call["tenant"] == row["tenant"]))
    facts: list[Row] = [
        {"label": "Started", "value": f"{formatting.when(row['start_time'], chosen.zone)} {chosen.zone}"},
        {"label": "Duration", "value": formatting.duration(row["duration_ms"])},
        {"label": "Service", "value": ", ".join(row["services"] or [row["service_name"] or formatting.DASH])},
        {"label": "Calls", "value": formatting.count(row["calls"])},
        {"label": "Tokens", "value": formatting.tokens_in_out(row)},
        {"label": "Cost", "value": formatting.cost_of(row)},
    ]
    optional = (
        ("Errors", row["errors"]),
        ("User", row["user_id"]),
        ("Session", row["session_id"]),
        ("Key", row["key_label"]),
        ("Environment", row["environment"]),
        ("Tags", ", ".join(row["tags"] or ())),
    )
    facts += [{"label": label, "value": str(value)} for label, value in optional if value]
    if len(conversations) == 1:
        facts.append(
            {"label": "Conversation", "value": "open", "title": conversations[0]}
            | {"href": links.to("conversation", conversation=conversations[0])}
        )
    facts.append({"label": "Trace id", "value": row["trace_id"], "mono": True, "copy": row["trace_id"]})
    return facts


def _target(row: Row) -> Target:
    return Target.trace(row["trace_id"], tenant=row["tenant"])


def _review(row: Row, zone: str) -> None:
    """Decide here, with a comment, and see who decided what before."""
    with st.popover("Review", icon=":material/rate_review:", key="review-trace"):
        comment = st.text_area(
            "Comment", key="trace-comment", placeholder="Kept, encrypted, with the decision", height=80
        )
        with st.container(horizontal=True):
            allowed = backend().may(REVIEW, row["tenant"])
            for state in ("approved", "flagged", "rejected"):
                st.button(
                    decisions.VERBS[state],
                    key=f"trace-{state}",
                    on_click=_decide,
                    args=(_target(row), state, comment),
                    disabled=not allowed,
                )
    events = backend().tenant_state.reviews.history(_target(row))
    with st.popover(
        f"History · {len(events)}" if events else "History", icon=":material/history:", key="review-history"
    ):
        if not events:
            st.text("Nobody has decided on this trace yet.")
            return
        trail.draw("trail", events, zone)


def _decide(target: Target, state: str, comment: str) -> None:
    if decisions.decide_all([target], state, comment):
        st.session_state["trace-comment"] = ""


def _spans(row: Row, spans: list[Row], zone: str) -> None:
    tree = span_tree.columns(spans)
    asked = st.query_params.get("span")
    start = asked if asked in tree["id"] else _interesting(tree)

    @st.fragment
    def explore() -> None:
        left, right = st.columns([11, 9], gap="medium")
        with left, st.container(key="trace-spans-side"):
            view = st.segmented_control(
                "View", ["Tree", "Table"], default="Tree", key="trace-view", required=True, label_visibility="collapsed"
            )
            selected = _waterfall(row, tree, start) if view == "Tree" else _table(row, spans, tree, start)
            grids.sql_button("trace_spans", key="trace-spans", trace_id=row["trace_id"])
        links.address("span", {"span": [selected]})
        with right, st.container(key="span-panel"):
            span_panel.draw(selected, row["trace_id"], tree, zone)

    explore()


def _interesting(tree: dict[str, list[Any]]) -> str:
    """What to look at first: the first error, else the first call, else the root."""
    for test in (tree["error"], tree["call"]):
        if True in test:
            return str(tree["id"][test.index(True)])
    return str(tree["id"][0])


def _waterfall(row: Row, tree: dict[str, list[Any]], start: str) -> str:
    result = component("waterfall")(
        data={"spans": tree, "selected": start, "trace": row["trace_id"]},
        key=f"waterfall-{row['trace_id']}",
        on_selected_change=ignore,
    )
    return result.selected if result.selected in tree["id"] else start


def _table(row: Row, spans: list[Row], tree: dict[str, list[Any]], start: str) -> str:
    """The same tree as a plain table: for screen readers, and for sorting."""
    by_id = {span["span_id"]: span for span in spans}
    shown = [{"at": at, "id": ident, **by_id[ident]} for at, ident in enumerate(tree["id"]) if ident in by_id]
    columns = (
        grids.Column(
            "Span",
            lambda r: grids.cell("\u2003" * tree["depth"][r["at"]] + span_tree.title_of(r), v=r["at"]),
            main=True,
        ),
        grids.Column("Status", grids.status_cell),
        grids.Column("Model", lambda r: r["model"]),
        grids.Column("Tokens", lambda r: tree["tokens"][r["at"]] or None, align="right"),
        grids.Column(
            "Cost",
            lambda r: grids.cell(tree["cost"][r["at"]], v=r["cost"]) if tree["cost"][r["at"]] else None,
            align="right",
        ),
        grids.Column(
            "Duration", lambda r: grids.cell(formatting.duration(r["duration_ms"]), v=r["duration_ms"]), align="right"
        ),
    )
    key = f"span-table-{row['trace_id']}"
    done = grids.draw(
        key,
        columns,
        shown,
        row_id=lambda r: r["id"],
        href=lambda r: links.to_span(r["trace_id"], r["id"]),
        sortable=True,
        keys=True,
        here=True,
    )
    if done.opened:
        st.session_state[f"{key}-open"] = done.opened
    return str(st.session_state.get(f"{key}-open", start))


states.guarded(page)
