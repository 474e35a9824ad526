"""One conversation as a chat: each call shows only what was new to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from spanfold.analytics.errors import KeyMissing
from spanfold.analytics.filters import Filters
from spanfold.dashboard import answers, filter_bar, formatting, grids, links, reads, states, transcripts
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component, ignore
from spanfold.dashboard.thumbnails import Easel

Row = dict[str, Any]
CALLS_AT_ONCE = 30


def page() -> None:
    ident = st.query_params.get("conversation", "")
    found = answers.rows("conversation_row", Filters(), conversation=ident) if ident else []
    if not found:
        _unknown(ident)
        return
    calls = answers.rows("conversation_calls", Filters(), conversation=ident)
    zone = filter_bar.zone()
    with st.container(horizontal=True, vertical_alignment="center", key="crumbs"):
        if st.button("Conversations", icon=":material/arrow_back:", type="tertiary", key="back-to-conversations"):
            links.go("conversations")
        st.space("stretch")
        grids.sql_button("conversation_calls", key="conversation-calls", filters=Filters(), conversation=ident)
    contexts = _contexts(calls)
    _heading(found[0], calls, contexts, zone)
    _chat(ident, calls, contexts, zone)


def _unknown(ident: str) -> None:
    with st.container(border=True, key="no-conversation"):
        st.header("This conversation is not here" if ident else "No conversation is chosen", anchor=False)
        st.text("No stored call belongs to it. It may not have been folded yet, or its days were dropped by retention.")
        if ident:
            st.code(ident[:128], language=None)
        if st.button("Open Conversations"):
            links.go("conversations")


def _heading(row: Row, calls: Sequence[Row], contexts: Mapping[tuple[str, str, str], Row], zone: str) -> None:
    sent = sum(call["context_chars"] or 0 for call in calls)
    new = sum(
        m["chars"] or 0 for c in contexts.values() for m in c["messages"] if m["is_new"] and c["direction"] == "input"
    )
    facts = [
        ("Started", f"{formatting.when(row['start_time'], zone)} {zone}"),
        ("Lasted", formatting.duration(row["duration_ms"])),
        ("Calls", formatting.count(row["calls"])),
        ("Traces", formatting.count(row["turns"])),
        ("Service", row["service_name"]),
        ("Models", ", ".join(row["models"] or ())),
        ("Agents", ", ".join(row["agents"] or ())),
        ("User", row["user_id"]),
        ("Tokens", formatting.tokens_in_out(row)),
        ("Cost", formatting.cost_of(row)),
        ("Key", row["key_label"]),
    ]
    if sent and len(contexts) and sent > new:
        saved = f"{1 - new / sent:.0%} of {formatting.short(sent)} characters sent were repeats, stored once"
        facts.append(("Folded", saved))
    tone = grids.STATUS_TONE[row["worst_status"]]
    word = {"success": "OK", "error": "Has errors", "canceled": "Has canceled calls"}[row["worst_status"]]
    name = row["conversation_id"] or row["session_id"] or "Conversation"
    shown: list[grids.Row] = [{"label": label, "value": str(value)} for label, value in facts if value]
    shown.append({"label": "Id", "value": row["conversation"], "mono": True, "copy": row["conversation"]})
    component("heading")(data={"title": name, "pills": [[word, tone]], "facts": shown}, key="conversation-heading")


def _contexts(calls: Sequence[Row]) -> dict[tuple[str, str, str], Row]:
    """(trace_id, span_id, direction) -> context, of the calls that are shown."""
    keys = [(c["date"], c["tenant"], c["trace_id"], c["span_id"]) for c in calls[: _shown_calls()]]
    view = backend().reader.view()
    try:
        found = view.messages(keys, words=True)
        if found:
            reads.note(f"conversation {calls[0]['conversation']}", tenant=calls[0]["tenant"], calls=len(keys))
    except KeyMissing:  # the words cannot be opened here: their outline still can
        found = view.messages(keys, words=False)
    return {(c.key[2], c.key[3], c.direction): c.as_dict() for c in found}


def _shown_calls() -> int:
    return int(st.session_state.get("calls-shown", CALLS_AT_ONCE))


def _chat(ident: str, calls: Sequence[Row], contexts: Mapping[tuple[str, str, str], Row], zone: str) -> None:
    @st.fragment
    def chat() -> None:
        key = f"chat-{ident}"
        opened = (st.session_state.get(key) or {}).get("opened") or []
        items: list[Row] = []
        before: Row | None = None
        easel = Easel()
        for number, call in enumerate(calls[: _shown_calls()], 1):
            given = contexts.get((call["trace_id"], call["span_id"], "input"))
            said = contexts.get((call["trace_id"], call["span_id"], "output"))
            items.append(_turn(number, call, zone))
            items += _rewritten(before, call, given)
            system = transcripts.system_text(given)
            items += transcripts.of_call(
                given,
                said,
                prefix=f"{call['span_id']}.",
                opened=opened,
                finish=call["finish_reasons"] or [],
                system=before is None or system != before["system"],
                easel=easel,
            )
            if not given and not said:
                items.append({"type": "note", "text": "No messages came with this call."})
            before = {"call": call, "system": system}
        component("transcript", "transcript_items")(
            data={"items": items, "opened": opened}, key=key, on_opened_change=ignore
        )

    chat()
    left = len(calls) - _shown_calls()
    if left > 0:
        st.button(f"Show {min(left, CALLS_AT_ONCE)} more of {left:,} calls", key="more-calls", on_click=_more)


def _more() -> None:
    st.session_state["calls-shown"] = _shown_calls() + CALLS_AT_ONCE


def _turn(number: int, call: Row, zone: str) -> Row:
    meta = [
        formatting.when(call["start_time"], zone),
        call["model"] or "",
        formatting.duration(call["duration_ms"]),
        *formatting.use_of_call(call),
    ]
    flag = {"error": ("Error", "bad"), "canceled": ("Canceled", "warn")}.get(call["status"])
    turn: Row = {
        "type": "turn",
        "title": f"Call {number}",
        "meta": "  ·  ".join(filter(None, meta)),
        "href": links.to_span(call["trace_id"], call["span_id"]),
    }
    return turn | ({"flag": flag[0], "tone": flag[1]} if flag else {})


def _rewritten(before: Row | None, call: Row, given: Row | None) -> list[Row]:
    """What a call changed of the history it continues: another system text, messages that are gone."""
    if before is None or given is None:
        return []
    items: list[Row] = []
    system = transcripts.system_text(given)
    if system and before["system"] and system != before["system"]:
        items.append(transcripts.difference("The system text changed", before["system"], system))
    last = before["call"]
    if call["continues_span_id"] == last["span_id"] and call["context_messages"] is not None:
        had = (last["context_messages"] or 0) + (last["output_messages"] or 0)
        gone = had - (call["context_messages"] - (call["new_messages"] or 0))
        if gone > 0:
            lost = f"{formatting.plural(gone, 'message')} of the call before {'is' if gone == 1 else 'are'}"
            text = f"The history was rewritten: {lost} not repeated here."
            items.append({"type": "note", "tone": "warn", "text": text})
    return items


states.guarded(page)
