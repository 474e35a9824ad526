"""`spanfold show` for a person: facts, messages, attributes. Texts of senders are cleaned of what is not text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from spanfold.analytics.records import INPUT, INSTRUCTIONS, OUTPUT, TOOLS
from spanfold.cli.output import cell, clean, print_mapping, print_table

Row = dict[str, Any]
LONG = 2_000  # characters of one text; the rest is counted
DEEPEST = 40  # a span that lies deeper is drawn at this depth
_FACTS = (
    "trace_id", "span_id", "parent_span_id", "name", "kind", "operation", "start_time", "duration_ms", "status",
    "error_type", "error_message", "service_name", "service_version", "environment", "project", "key_label",
    "session_id", "conversation_id", "user_id", "agent_name", "tool_name", "tags", "dialect", "scope_name",
    "trace_state", "dropped_attributes", "dropped_events", "dropped_links", "suppressed_reason", "merged_into",
)  # fmt: skip
_CALL = (
    "provider", "request_model", "response_model", "input_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "usage_verdict", "cost", "currency",
    "price_confidence", "rate_id", "streaming", "ttft_ms", "finish_reasons", "response_id", "prompt_fingerprint",
    "context_messages", "new_messages",
)  # fmt: skip
_TRACE = (
    "trace_id", "name", "start_time", "duration_ms", "spans", "errors", "calls", "input_tokens", "output_tokens",
    "cost", "unpriced_calls", "models", "status", "lifecycle", "review_state", "session_id", "user_id",
)  # fmt: skip


def print_span(span: Row) -> None:
    print_mapping({name: span[name] for name in _FACTS if span.get(name) not in (None, [], 0)})
    if call := span.get("call"):
        _heading("call")
        print_mapping({name: call[name] for name in _CALL if call.get(name) is not None})
    for amount in span.get("price") or ():
        print(f"  {amount['tokens']:>12,} {amount['bucket']} x {amount['rate']:.10g} = {amount['amount']:.8g}")
    _print_content(span)
    for title, values in (("attributes", span["attributes"]), ("resource", span["resource"])):
        if values:
            _heading(title)
            print_mapping({clean(name): _short(value) for name, value in sorted(values.items())})
    _print_events(span)


def print_trace(trace: Row) -> None:
    print_mapping({name: trace[name] for name in _TRACE if trace.get(name) is not None})
    depths = _depths(trace["span_documents"])
    _heading("spans")
    print_table(
        ("span", "status", "duration_ms", "model", "tokens in", "out", "cost", "span_id"),
        [_line(span, depths[span["span_id"]]) for span in trace["span_documents"]],
    )
    for log in trace["logs"]:
        print(f"log {cell(log['time'])} {cell(log['event_name'])} {_short(log['body'])}")
    print("\n`spanfold show SPAN_ID` shows one of them with its messages")


def _line(span: Row, depth: int) -> tuple[object, ...]:
    call = span["call"] or {}
    name = "· " * depth + clean(span["name"])
    model = span["response_model"] or span["request_model"]
    usage = (call.get("input_tokens"), call.get("output_tokens"), call.get("cost"))
    return (name, span["status"], round(span["duration_ms"], 1), model, *usage, span["span_id"])


def _depths(spans: list[Row]) -> dict[str, int]:
    """How deep each span lies below the topmost one that is stored, up to DEEPEST. A circle ends where it began."""
    parents = {span["span_id"]: span["parent_span_id"] for span in spans}
    depths = {}
    for span_id in parents:
        above, depth, seen = parents[span_id], 0, {span_id}
        while above in parents and above not in seen and depth < DEEPEST:
            seen.add(above)
            above, depth = parents[above], depth + 1
        depths[span_id] = depth
    return depths


def _print_content(span: Row) -> None:
    for part in span.get(INSTRUCTIONS) or ():
        _heading("system instructions")
        print(_part(part))
    if tools := span.get(TOOLS):
        _heading("tools")
        print(", ".join(clean(tool.get("name") or tool.get("type")) for tool in tools))
    for title, name in (("input", INPUT), ("output", OUTPUT)):
        for message in span.get(name) or ():
            reason = message.get("finish_reason")
            _heading(f"{title}: {clean(message.get('role'))}" + (f" ({clean(reason)})" if reason else ""))
            for part in message.get("parts") or ():
                print(_part(part))


def _part(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    if kind == "tool_call":
        return f"-> {clean(part.get('name'))}({_short(part.get('arguments'))})"
    if kind == "tool_call_response":
        return f"<- {_short(part.get('response', part.get('result')))}"
    text = _short(part.get("content", part))
    return text if kind == "text" else f"[{clean(kind)}] {text}"


def _print_events(span: Row) -> None:
    for event in span["events"]:
        _heading(f"event {clean(event['name'])}")
        print_mapping({clean(name): _short(value) for name, value in event["attributes"].items()})
    for link in span["links"]:
        _heading(f"link {clean(link['trace_id'])}/{clean(link['span_id'])}")
    for log in span["logs"]:
        _heading(f"log {cell(log['time'])} {cell(log['event_name'])}")
        print(_short(log["body"]))


def _heading(text: str) -> None:
    print(f"\n-- {text}")


def _short(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    text = clean(text)
    return text if len(text) <= LONG else f"{text[:LONG]} … ({len(text) - LONG:,} characters more: --json)"
