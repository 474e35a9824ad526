"""The right panel of a trace: one span, in tabs."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from spanfold.analytics.errors import KeyMissing
from spanfold.dashboard import answers, formatting, grids, reads, span_explained, span_tree, transcripts
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component, ignore
from spanfold.dashboard.thumbnails import Easel

Row = Mapping[str, Any]
TABS = ("Messages", "Tools", "Attributes", "Events", "Cost", "Raw", "Explain")


def draw(span_id: str, trace_id: str, tree: Mapping[str, Sequence[Any]], zone: str) -> None:
    """Everything kept of one span."""
    record = _record(answers.version(), backend().scope, trace_id, span_id)
    if record is None:
        _gap(span_id, tree)
        return
    if not record["closed"] and (record["contexts"] or record["private"]):
        reads.note(f"span {span_id}", trace_id=trace_id, tenant=record["tenant"])
    _heading(record)
    _failure(record)
    first = "Messages" if record["contexts"] or record["closed"] else "Attributes"
    tabs = st.tabs(list(TABS), key=f"span-tab-{first}", default=first, on_change="rerun")
    drawn = (_messages, _tools, _attributes, _events, _cost, _raw, span_explained.draw)
    for tab, draw_tab in zip(tabs, drawn, strict=True):
        if tab.open:
            with tab:
                draw_tab(record, zone)


@st.cache_data(max_entries=60, ttl=600, show_spinner=False)
def _record(version: str, data: str, trace_id: str, span_id: str) -> dict[str, Any] | None:
    """The span with its words; without them, and saying so, where the key is not here."""
    reader = backend().reader
    try:
        found = reader.span(span_id, trace_id=trace_id, content=True)
        return None if found is None else dict(found) | {"closed": False}
    except KeyMissing:
        found = reader.span(span_id, trace_id=trace_id)
        return None if found is None else dict(found) | {"closed": True, "contexts": [], "private": {}}


def _gap(span_id: str, tree: Mapping[str, Sequence[Any]]) -> None:
    component("heading")(
        data={
            "title": "Parent not received",
            "small": True,
            "pills": [["gap", "warn"]],
            "facts": [{"label": "Span id", "value": span_id, "mono": True, "copy": span_id}],
        },
        key="span-heading",
    )
    orphans = sum(parent == span_id for parent in tree["parent"])
    st.text(
        f"{formatting.plural(orphans, 'span')} of this trace name this one as parent, but it has not come. "
        "It may still run, "
        "may have been sampled away, or its service does not export."
    )


def _heading(record: Row) -> None:
    call = record["call"]
    model = record["response_model"] or record["request_model"]
    tokens = formatting.tokens_in_out(call) if call else None
    facts = [
        ("Operation", record["operation"] or record["kind"]),
        ("Model", model),
        ("Tool", record["tool_name"]),
        ("Agent", record["agent_name"]),
        ("Duration", formatting.duration(record["duration_ms"])),
        ("First token", formatting.duration(call["ttft_ms"]) if call and call["ttft_ms"] else None),
        ("Tokens", tokens),
        ("Cost", formatting.money(call["cost"]) if call else None),
        ("Service", record["service_name"]),
        ("Error", record["error_type"]),
    ]
    shown: list[grids.Row] = [{"label": label, "value": str(value)} for label, value in facts if value]
    shown.append({"label": "Span id", "value": record["span_id"], "mono": True, "copy": record["span_id"]})
    pills = [
        ["Error", "bad"]
        if record["status"] == "error"
        else ["Canceled", "warn"]
        if record["status"] == "canceled"
        else ["OK", "good"]
    ]
    if call and call["price_confidence"] == "unpriced":
        pills.append(["Unpriced", "warn"])
    if record["suppressed_reason"] in ("twin", "mirror"):
        pills.append([f"Not counted: {record['suppressed_reason']}", "info"])
    component("heading")(
        data={"title": span_tree.title_of(record), "small": True, "pills": pills, "facts": shown},
        key="span-heading",
    )


def _failure(record: Row) -> None:
    """What went wrong, in the words that came with the span."""
    said = record["private"].get("error_message") or record["private"].get("status_message")
    if said:
        component("notice")(data={"tone": "bad", "text": str(said)[:2_000]}, key=f"failure-{record['span_id']}")


def _messages(record: Row, zone: str) -> None:
    given, said = _context(record, "input"), _context(record, "output")
    if record["closed"]:
        st.text(transcripts.CLOSED)
        return
    if not given and not said:
        st.text("No messages came with this span. Content capture is the sender's choice.")
        return
    key = f"words-{record['span_id']}"
    opened = (st.session_state.get(key) or {}).get("opened") or []
    finish = record["call"]["finish_reasons"] or [] if record["call"] else []
    items = transcripts.of_call(given, said, prefix="", opened=opened, finish=finish)
    component("transcript", "transcript_items")(
        data={"items": items, "opened": opened}, key=key, on_opened_change=ignore
    )


def _context(record: Row, direction: str) -> Row | None:
    return next((context for context in record["contexts"] if context["direction"] == direction), None)


def _tools(record: Row, zone: str) -> None:
    key = f"tools-{record['span_id']}"
    opened = (st.session_state.get(key) or {}).get("opened") or []
    items = transcripts.tool_items(_context(record, "input"), opened)
    used = [
        part
        for context in record["contexts"]
        for entry in context["messages"]
        if entry["is_new"] and entry.get("message")
        for part in entry["message"].get("parts") or ()
        if part.get("type") in ("tool_call", "tool_call_response")
    ]
    if used:
        parts = [transcripts.part(part, f"used{at}", opened, Easel()) for at, part in enumerate(used)]
        items.insert(0, {"type": "message", "role": "tool", "note": "called or answered in this span", "parts": parts})
    if not items:
        st.text("This span neither had tools to use nor used any.")
        return
    component("transcript", "transcript_items")(
        data={"items": items, "opened": opened}, key=key, on_opened_change=ignore
    )


def _attributes(record: Row, zone: str) -> None:
    private = record["private"].get("attributes") or {}
    groups = (
        ("Span", _object(record["attributes"])),
        ("Span, encrypted", private),
        ("Resource", _object(record["resource"])),
        (
            "Scope",
            {"name": record["scope_name"], "version": record["scope_version"]} | _object(record["scope_attributes"]),
        ),
        ("Kept as sent", _object(record["attributes_typed"])),
    )
    rows = [
        {"where": where, "key": key, "value": value}
        for where, group in groups
        for key, value in sorted(group.items())
        if value is not None
    ]
    columns = (
        grids.Column("Key", lambda r: r["key"], kind="mono wrap"),
        grids.Column("Value", lambda r: _plain(r["value"]), kind="wrap"),
        grids.Column("Of", lambda r: grids.cell(r["where"], tone="soft")),
    )
    grids.draw(
        f"attributes-{record['span_id']}", columns, rows, row_id=lambda r: f"{r['where']} {r['key']}", sortable=True
    )


def _events(record: Row, zone: str) -> None:
    rows = []
    hidden = record["private"].get("events") or []
    for at, event in enumerate(_list(record["events"])):
        more = hidden[at] if at < len(hidden) and isinstance(hidden[at], dict) else {}
        attributes = (event.get("attributes") or {}) | (more.get("attributes") or {})
        rows.append(
            {
                "at": _offset(event.get("time_unix_nano"), record),
                "name": event.get("name"),
                "of": "event",
                "more": attributes,
            }
        )
    for log in record["logs"]:
        private = log.get("private") or {}
        more = (
            _object(log["attributes"])
            | (private.get("attributes") or {})
            | ({"body": private["body"]} if private.get("body") else {})
        )
        rows.append(
            {
                "at": _between(log["time"], record["start_time"]),
                "name": log["event_name"] or log["severity_text"],
                "of": "log",
                "more": more,
            }
        )
    links = _list(record["links"])
    if not rows and not links:
        st.text("No events, log records or links belong to this span.")
        return
    columns = (
        grids.Column("After", lambda r: grids.cell(formatting.duration(r["at"]), v=r["at"]), align="right"),
        grids.Column("Name", lambda r: grids.cell(r["name"] or "(no name)", sub=r["of"])),
        grids.Column(
            "Details", lambda r: "\n".join(f"{k}: {_plain(v)}" for k, v in r["more"].items()) or None, kind="wrap"
        ),
    )
    if rows:
        ordered = sorted(rows, key=lambda r: (r["at"] is None, r["at"] or 0))
        grids.draw(f"events-{record['span_id']}", columns, ordered, row_id=lambda r: f"{r['at']}{r['name']}")
    if links:
        st.caption("Links to other spans")
        st.code("\n".join(f"{link.get('trace_id')} / {link.get('span_id')}" for link in links), language=None)


def _cost(record: Row, zone: str) -> None:
    call, price = record["call"], record["price"]
    if not call:
        reason = record["suppressed_reason"]
        why = {
            "container": "It repeats the usage of the calls inside it.",
            "twin": "The same call was reported twice in this trace.",
            "mirror": "A gateway or wrapper reported the same call.",
        }.get(reason, "It is not a call to a model.")
        st.text(f"This span costs nothing by itself. {why}")
        return
    if not price:
        st.text(f"No price is known for {call['model'] or 'a call without a model'}: its cost is unknown, not 0.")
        return
    columns = (
        grids.Column("Bucket", lambda r: formatting.BUCKETS.get(r["bucket"], r["bucket"])),
        grids.Column("Tokens", lambda r: grids.cell(formatting.count(r["tokens"]), v=r["tokens"]), align="right"),
        grids.Column(
            "Price",
            lambda r: (
                formatting.money(r["rate"]) if r["bucket"] in ("request", "web_search") else formatting.rate(r["rate"])
            ),
            align="right",
        ),
        grids.Column("Amount", lambda r: grids.cell(formatting.money(r["amount"]), v=r["amount"]), align="right"),
    )
    order = {name: at for at, name in enumerate(formatting.BUCKETS)}
    ordered = sorted(price, key=lambda r: order.get(r["bucket"], 99))
    grids.draw(
        f"price-{record['span_id']}",
        columns,
        ordered,
        row_id=lambda r: r["bucket"],
        foot=f"Total {formatting.money(call['cost'])}",
    )
    confidence = {
        "exact": "the book's row for this very model",
        "assumed": "the row of the family this name belongs to",
        "fallback": "a fallback row",
    }.get(call["price_confidence"], call["price_confidence"])
    facts = [
        {"label": "Price row", "value": call["rate_id"] or formatting.DASH, "mono": True},
        {"label": "Match", "value": confidence},
        {"label": "Usage", "value": _usage(call["usage_verdict"])},
    ]
    component("heading")(
        data={"title": "", "small": True, "pills": [], "facts": facts},
        key=f"priced-{record['span_id']}",
    )
    grids.sql_button("price_used", key="price-used", trace_id=record["trace_id"], span_id=record["span_id"])


def _usage(verdict: str | None) -> str:
    """How it is known what the token counts mean (semconv/usage.py), in words."""
    if not verdict:
        return "no token counts were sent"
    source, _, way = verdict.partition(":")
    known = {
        "stated": "stated by the sender",
        "known_emitter": "known of this instrumentation",
        "proven": "proven by its sums",
    }
    counts = {"inclusive": ", input includes cached tokens", "exclusive": ", cached tokens come on top"}
    return known.get(source, source.replace("_", " ")) + counts.get(way, "")


def _raw(record: Row, zone: str) -> None:
    shown = {key: _parsed(key, value) for key, value in record.items() if key not in ("closed",)}
    text = json.dumps(shown, indent=2, ensure_ascii=False, default=str)
    if len(text) > transcripts.LARGE:
        st.caption(
            f"The first {formatting.short(transcripts.LARGE)} of {formatting.short(len(text))} characters; "
            "`spanfold show` prints all."
        )
    st.code(text[: transcripts.LARGE], language="json", height=620)


def _parsed(key: str, value: Any) -> Any:
    documents = ("attributes", "attributes_typed", "resource", "events", "links", "scope_attributes")
    return json.loads(value) if key in documents and isinstance(value, str) else value


def _object(text: str | None) -> dict[str, Any]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _list(text: str | None) -> list[dict[str, Any]]:
    found = json.loads(text) if text else []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _offset(nanos: Any, record: Row) -> float | None:
    """Milliseconds after the span's start."""
    if not nanos:
        return None
    return float(int(nanos) / 1e6 - record["start_time"].replace(tzinfo=dt.UTC).timestamp() * 1e3)


def _between(moment: Any, start: Any) -> float | None:
    return None if moment is None else float((moment - start).total_seconds() * 1e3)
