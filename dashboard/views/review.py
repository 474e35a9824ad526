"""Review queue: one item at a time, decided at key speed. The deck keeps decisions until the server has stored them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from spanfold.dashboard import (
    answers,
    decisions,
    filter_bar,
    formatting,
    grids,
    links,
    previews,
    reads,
    states,
    trail,
    transcripts,
)
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component, ignore
from spanfold.dashboard.thumbnails import Easel
from spanfold.state.access import REVIEW
from spanfold.state.reviews import UNREVIEWED, Review
from spanfold.state.targets import Target

Row = dict[str, Any]
QUEUES = {
    "all": "All",
    "errors": "Errors",
    "costly": "Cost outliers",
    "slow": "Slow",
    "unpriced": "Unpriced",
    "flagged": "Flagged",
}
REASONS = {"errors": "has errors", "costly": "cost outlier", "slow": "slow", "unpriced": "unpriced"}
BATCH = 40  # items loaded, and leased, at once
CANDIDATES = 400
KEY = "deck"


def page() -> None:
    chosen = filter_bar.selection()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Review queue", anchor=False, width="content")
        st.space("stretch")
        rule = st.segmented_control(
            "Queue",
            list(QUEUES),
            default="all",
            key="queue",
            bind="query-params",
            required=True,
            label_visibility="collapsed",
            format_func=QUEUES.__getitem__,
        )
    if not backend().may(REVIEW):
        decisions.only_looking()
        _trail(chosen)
        return
    filters = chosen.filters
    candidates = answers.rows("review_queue", filters, rule=rule, limit=CANDIDATES)
    queue = _queue(rule, chosen, candidates)
    if not queue["items"]:
        _empty(chosen, rule, candidates)
        return
    _deck(queue, candidates, chosen, rule)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "j k move · a approve · f flag · r reject · u undo · n comment · Enter opens the trace · ? all keys",
            width="content",
        )
        st.space("stretch")
        st.button("Load the next items", icon=":material/refresh:", key="next-items", type="tertiary", on_click=_forget)
        grids.sql_button("review_queue", key="queue", filters=filters, rule=rule, limit=CANDIDATES)
    _trail(chosen)


def _queue(rule: str, chosen: filter_bar.Selection, candidates: Sequence[Row]) -> Row:
    """The items of this session, kept while they are worked on: a rerun must not shuffle a deck."""
    belongs_to = (rule, st.session_state.get("range"), tuple(filter_bar.active()))
    queue: Row | None = st.session_state.get("review-items")
    if queue is None or queue["of"] != belongs_to:
        queue = {
            "of": belongs_to,
            "items": _take(candidates, rule),
            "number": st.session_state.get("review-number", 0) + 1,
        }
        st.session_state["review-number"] = queue["number"]
        st.session_state["review-items"] = queue
    return queue


def _take(candidates: Sequence[Row], rule: str) -> list[Row]:
    """The first undecided ones that nobody else looks at, leased to this reviewer."""
    targets = {_target(row): row for row in candidates}
    live = decisions.live(targets)
    wanted = "flagged" if rule == "flagged" else UNREVIEWED
    house = backend()
    waiting = [t for t in targets if live[t].state == wanted and house.may(REVIEW, t.tenant)]
    taken = house.tenant_state.leases.take(waiting, who=house.reviewer, limit=BATCH)
    return [targets[target] for target in taken]


def _forget() -> None:
    backend().tenant_state.leases.release(backend().reviewer)
    st.session_state.pop("review-items", None)


def _target(row: Row) -> Target:
    return Target.trace(row["trace_id"], tenant=row["tenant"])


def _empty(chosen: filter_bar.Selection, rule: str, candidates: Sequence[Row]) -> None:
    if not candidates and rule == "all":
        states.nothing_here(chosen, "traces")
        return
    with st.container(border=True, key="queue-done"):
        st.header("Nothing waits in this queue", anchor=False)
        st.text(
            f"Every trace of “{QUEUES[rule]}” in this range ({chosen.range_label.lower()}) has a decision, "
            "or somebody else is looking at it."
        )
        st.button("Look again", key="look-again", on_click=_forget)


def _deck(queue: Row, candidates: Sequence[Row], chosen: filter_bar.Selection, rule: str) -> None:
    rows: list[Row] = queue["items"]
    targets = {row["trace_id"]: _target(row) for row in rows}
    opened = (st.session_state.get(KEY) or {}).get("opened") or []
    live = decisions.live(targets.values())
    ends = _ends(tuple((row["trace_id"], row["spans"]) for row in rows), backend().scope, rows)
    if any(both.question or both.answer for both in ends.values()):
        reads.note(f"review queue {', '.join(sorted(ends))}", traces=len(ends))
    waiting = max(0, len(candidates) - len(rows))
    easel = Easel()
    items = [
        _item(row, live[targets[row["trace_id"]]], ends.get(row["trace_id"]), chosen)
        | {"items": _words(row, ends.get(row["trace_id"]), opened, easel)}
        for row in rows
    ]
    more = f"{waiting:,}{'+' if len(candidates) == CANDIDATES else ''} more wait" if waiting else ""
    component(KEY, "transcript_items")(
        data={
            "items": items,
            "queue": f"{rule}-{queue['number']}",
            "acked": decisions.acked(KEY),
            "problem": decisions.problem(KEY),
            "clashes": decisions.clashes(KEY),
            "opened": opened,
            "more": more,
        },
        key=KEY,
        on_log_change=lambda: decisions.store_log(KEY, targets),
        on_opened_change=ignore,
    )


@st.cache_data(max_entries=20, show_spinner=False)
def _ends(seen: tuple[tuple[str, int], ...], data: str, _rows: Sequence[Row]) -> dict[str, previews.Ends]:
    return previews.ends(_rows)


def _item(row: Row, review: Review, ends: previews.Ends | None, chosen: filter_bar.Selection) -> Row:
    facts = [
        formatting.when(row["start_time"], chosen.zone),
        row["service_name"] or "",
        ", ".join(row["models"] or ()),
        formatting.duration(row["duration_ms"]),
        formatting.tokens_in_out(row),
        formatting.cost_of(row),
        formatting.plural(row["errors"], "error") if row["errors"] else "",
        f"last decided by {review.who}" if review.who else "",
    ]
    reasons = ", ".join(REASONS.get(reason, reason) for reason in row["reasons"] or ())
    line = transcripts.one_line(ends.question, "user") if ends else ""
    return {
        "id": row["trace_id"],
        "title": row["name"] or "(no name)",
        "why": reasons or line[:80] or row["service_name"] or "",
        "href": links.to_span(row["trace_id"]),
        "facts": [fact for fact in facts if fact],
        "state": review.state,
        "revision": review.revision,
    }


def _words(row: Row, ends: previews.Ends | None, opened: Sequence[str], easel: Easel) -> list[Row]:
    """First question and last answer, what was before the question folded."""
    if ends is None or not (ends.question or ends.answer):
        return [{"type": "note", "text": "No messages came with this trace: open it to see its spans."}]
    prefix = f"{row['trace_id']}."
    given = dict(ends.question) if ends.question else None
    if given:  # all but the last user turn is context here, new or not
        last = max((at for at, m in enumerate(given["messages"]) if m["role"] == "user"), default=0)
        given["messages"] = [dict(m) | {"is_new": at >= last} for at, m in enumerate(given["messages"])]
    items = transcripts.of_call(given, None, prefix=prefix, opened=opened, easel=easel)
    if row["calls"] > 1:
        items.append(
            {
                "type": "note",
                "text": f"{formatting.plural(row['calls'] - 1, 'more call')} between the question and the last answer",
            }
        )
    items += transcripts.of_call(None, ends.answer, prefix=f"{prefix}out.", opened=opened, easel=easel)
    if ends.answer is None:
        items.append({"type": "note", "tone": "warn", "text": "No answer was recorded."})
    return items


def _trail(chosen: filter_bar.Selection) -> None:
    last = backend().tenant_state.reviews.last_event()
    events = backend().tenant_state.reviews.events(after=max(0, last - 50))
    with st.expander(
        f"Audit trail, the last {len(events)} of {last:,} entries" if last else "Audit trail, empty", key="audit-trail"
    ):
        if not events:
            st.text(
                "Every decision will be listed here: who, when, from what to what, and the comment. "
                "Entries are never changed."
            )
            return
        trail.draw("audit", events, chosen.zone, targets=True)


states.guarded(page)
