"""Everything kept of a span or a trace as one JSON document: what `show --json` prints and the API answers.

Attributes, events and links come by key, as sent, with their private parts put back where the reader has the keys.
Values that JSON cannot hold (bytes, NaN, no value) stand in `attributes_typed` in OTLP JSON as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from spanfold.analytics import content as unfold
from spanfold.analytics.queries import View
from spanfold.analytics.records import INPUT, INSTRUCTIONS, OUTPUT, TOOLS, input_messages, output_messages
from spanfold.semconv.anyvalue import jsonable
from spanfold.semconv.restore import restore_attributes, restore_body, restore_events, restore_links

Row = dict[str, Any]
_PARSED = ("resource", "scope_attributes", "attributes_typed")
_PLACES = ("private_block", "private_offset", "private_length")


def span_document(view: View, span_id: str, *, trace_id: str | None = None, content: bool) -> Row | None:
    """One span; None if there is none. Raises KeyMissing where content is asked for and encrypted without a key."""
    rows = view.query("span_row", span_id=span_id, trace_id=trace_id).to_pylist()
    return _documents(view, rows[:1], content=content)[0] if rows else None


def trace_document(view: View, trace_id: str, *, content: bool) -> Row | None:
    """One trace with all its spans and the log records that name no span of it; None if there is none."""
    found = view.query("trace_row", trace_id=trace_id).to_pylist()
    if not found:
        return None
    rows = view.query("trace_span_rows", trace_id=trace_id).to_pylist()
    spans = _documents(view, rows, content=content)
    known = {span["span_id"] for span in spans}
    logs = [log for log in _logs(view, trace_id, content=content) if log["span_id"] not in known]
    trail = view.query("review_trail", trace_id=trace_id).to_pylist()
    trace: Row = found[0]
    return trace | {"span_documents": spans, "logs": logs, "review_events": trail}


def _documents(view: View, rows: Sequence[Row], *, content: bool) -> list[Row]:
    trace_id = rows[0]["trace_id"]
    secrets = view.private(rows) if content else [{} for _ in rows]
    keys = [(row["date"], row["tenant"], row["trace_id"], row["span_id"]) for row in rows]
    contexts = {(c.key, c.direction): c for c in (view.messages(keys, words=True) if content else ())}
    calls = {call["span_id"]: call for call in view.query("trace_calls", trace_id=trace_id).to_pylist()}
    logs = _logs(view, trace_id, content=content)
    documents = []
    for row, secret, key in zip(rows, secrets, keys, strict=True):
        call = calls.get(row["span_id"])
        document = _span(row, secret)
        if content:
            document |= _lists(contexts.get((key, "input")), contexts.get((key, "output")), call)
        document["call"] = call
        document["price"] = _price(view, row) if call else []
        document["logs"] = [log for log in logs if log["span_id"] == row["span_id"]]
        documents.append(document)
    return documents


def _span(row: Row, secret: Mapping[str, Any]) -> Row:
    document = {name: value for name, value in row.items() if name not in _PLACES}
    document |= _parsed(row, secret)
    document["attributes"] = jsonable(restore_attributes(row, secret))
    if secret.get("attributes_typed"):
        document["attributes_typed"] = (document["attributes_typed"] or {}) | secret["attributes_typed"]
    document["events"] = jsonable(restore_events(row, secret))
    document["links"] = jsonable(restore_links(row, secret))
    document["error_message"] = secret.get("error_message")
    document["status_message"] = secret.get("status_message")
    if identifiers := secret.get("identifiers"):  # stored in clear as a keyed hash only
        document["identifiers"] = identifiers
    return document


def _lists(given: unfold.Context | None, said: unfold.Context | None, call: Row | None) -> Row:
    """The content lists of the OTel GenAI schemas. What a tool or a retrieval gave has no finish reason."""
    said_by_others = [m.body for m in said.messages if m.body] if said and call is None else None
    return {
        INSTRUCTIONS: unfold.instructions(given.system) if given else None,
        TOOLS: unfold.definitions(given.tools) if given else None,
        INPUT: input_messages(given),
        OUTPUT: said_by_others if call is None else output_messages(said, call),
    }


def _price(view: View, row: Row) -> list[Row]:
    rows: list[Row] = view.query("price_used", trace_id=row["trace_id"], span_id=row["span_id"]).to_pylist()
    return rows


def _logs(view: View, trace_id: str, *, content: bool) -> list[Row]:
    rows = view.query("trace_logs", trace_id=trace_id).to_pylist()
    secrets = view.private(rows) if content else [{} for _ in rows]
    return [_log(row, secret) for row, secret in zip(rows, secrets, strict=True)]


def _log(row: Row, secret: Mapping[str, Any]) -> Row:
    document = {name: value for name, value in row.items() if name not in _PLACES}
    document |= _parsed(row, secret)
    document["attributes"] = jsonable(restore_attributes(row, secret))
    document["body"] = jsonable(restore_body(secret))
    return document


def _parsed(row: Row, secret: Mapping[str, Any]) -> Row:
    """The JSON columns, with the private members of resource and scope put back."""
    parsed = {name: _loaded(row.get(name)) for name in _PARSED}
    for name in ("resource", "scope_attributes"):
        if secret.get(name):
            parsed[name] = (parsed[name] or {}) | secret[name]
    return parsed


def _loaded(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value
