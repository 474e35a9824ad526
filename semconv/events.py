"""Content that comes in pieces: log records and span events, one message or one side each.

A piece says whole sides (`gen_ai.client.inference.operation.details`) or a single message (`gen_ai.user.message`,
`gen_ai.choice` ...). `assemble` puts the pieces of one span together; the result depends on the pieces alone, not on
the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.semconv import messages
from spanfold.semconv.anyvalue import plain
from spanfold.semconv.content import Facts, Places, read_sides
from spanfold.semconv.dialect import EventMessage
from spanfold.semconv.json_paths import lookup, reach
from spanfold.semconv.loose_json import opened
from spanfold.semconv.records import SpanContent, SpanEvent

Sequence3 = tuple[int, int, int]
DETAILS = "gen_ai.client.inference.operation.details"
_POSITION_KEYS = ("gen_ai.message.index", "gen_ai.event.index", "CHAT_MESSAGE_INDEX", "index")
_OUTSIDE = frozenset(("event.name", "gen_ai.system", "gen_ai.provider.name", *_POSITION_KEYS))


@dataclass(slots=True, kw_only=True)
class LogContent:
    """One piece of content. `sequence` orders the single messages of a span: (time, stated index, place in request).

    `keys` are the record's attribute keys that were understood as content, `body` says whether its body was;
    `finish` holds the finish reasons that it states."""

    row: int
    content: SpanContent
    single: bool  # one message; else whole sides
    trace_id: str = ""
    span_id: str = ""
    sequence: Sequence3 = (0, 0, 0)
    keys: frozenset[str] = frozenset()
    body: bool = False
    finish: tuple[str, ...] = ()


def piece_of(
    name: str, body: Any, attributes: Mapping[str, Any], rules: Mapping[str, EventMessage], places: Places,
    row: int, source: str,
) -> LogContent | None:  # fmt: skip
    """What an event with this name says, or None. Single messages by `rules`; whole sides by `places`."""
    rule = rules.get(name)
    if rule is not None:
        return _single(rule, body, attributes, row, source)
    if name != DETAILS and name not in {place.event for side in places.values() for place in side}:
        return None
    told = {"", name} if name == DETAILS else {name}
    own = {side: [p for p in side_places if p.event in told] for side, side_places in places.items()}
    held = {**body, **attributes} if isinstance(body, dict) else attributes
    wanted = {place.key for side_places in own.values() for place in side_places}
    values = {key: value for key in wanted if (value := lookup(held, key)) is not None}
    found = read_sides(values, own, Facts(), row, source)
    if found.empty:
        return None
    taken = found.used - found.partly
    inside = isinstance(body, dict) and bool(taken & body.keys() - attributes.keys())
    keys = frozenset(key for key in attributes if key in taken or any(key.startswith(place + ".") for place in taken))
    return LogContent(row=row, content=found.content, single=False, keys=keys, body=inside, finish=tuple(found.finish))


def safe_piece(*given: Any) -> LogContent | None:
    """`piece_of`, for which a shape that nobody foresaw is no content."""
    try:
        return piece_of(*given)
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError):
        return None


def _single(rule: EventMessage, body: Any, attributes: Mapping[str, Any], row: int, source: str) -> LogContent | None:
    value, keys, used_body = opened(body), frozenset[str](), body is not None
    if rule.path and not (isinstance(value, dict) and reach(value, rule.path) is not None):
        value, keys, used_body = attributes, frozenset((rule.path,)), False  # a body that only names the event
    elif value in (None, "", {}):
        value = {key: entry for key, entry in attributes.items() if key not in _OUTSIDE}
        keys, used_body = frozenset(value), False
    if rule.path:
        value = reach(value, rule.path)
    said = _message(rule, value)
    if not said:
        return None
    content = SpanContent(row=row, source=source)
    setattr(content, rule.side, said)
    finish = messages.finish_reasons([value]) if rule.side == "output" else []
    return LogContent(row=row, content=content, single=True, keys=keys, body=used_body, finish=tuple(finish))


def _message(rule: EventMessage, value: Any) -> list[dict[str, Any]]:
    """The message of an event: its map as it is, or the map under `message`; strings that hold JSON opened."""
    if isinstance(value, dict) and "message" in value:
        inner = opened(value["message"])
        stated = {key: entry for key, entry in value.items() if key in ("tool_calls", "role")}
        value = {**stated, **inner} if isinstance(inner, dict) else {**stated, "content": inner}
    if isinstance(value, dict):
        content = opened(value.get("content"))
        content = content if isinstance(content, list | dict) else value.get("content")
        value = {**value, "role": value.get("role") or rule.role, "content": content}
        if not _speaks(value):
            return []
    return messages.read_messages(value, rule.role)


def _speaks(value: Mapping[str, Any]) -> bool:
    return any(value.get(key) not in (None, "", [], {}) for key in ("content", "tool_calls", "parts", "function_call"))


def assemble(pieces: Sequence[LogContent]) -> SpanContent:
    """One content from the pieces of one span, whatever order they are in. Repeated pieces count once."""
    found = SpanContent(row=pieces[0].row, source=pieces[0].content.source, pieces=len(pieces))
    for side in ("input", "output", "system", "tools"):
        whole = [_side(p.content, side) for p in pieces if not p.single and _side(p.content, side) is not None]
        if whole:
            setattr(found, side, max(whole, key=_fullness))
            continue
        single = {
            (piece.sequence, messages.canonical(message)): message
            for piece in pieces
            if piece.single
            for message in _side(piece.content, side) or ()
        }
        if single:
            setattr(found, side, [single[key] for key in sorted(single)])
    found.notes = sorted({note for piece in pieces for note in piece.content.notes})
    return found


def _side(content: SpanContent, side: str) -> Any:
    if side == "input" and content.input is None and content.input_text is not None:
        return messages.parse_messages(content.input_text)[0]
    return getattr(content, side)


def _fullness(side: Any) -> tuple[int, bytes]:
    text = messages.canonical(side)
    return len(text), text


def position_in(attributes: Mapping[str, Any], body: Any) -> int:
    """The index that a record states for its message; 0 if it states none."""
    for holder in (attributes, body if isinstance(body, dict) else {}):
        for key in _POSITION_KEYS:
            value = holder.get(key)
            if isinstance(value, int | str) and str(value).isdigit():
                return int(value)
    return 0


def decode_events(raw: Iterable[bytes]) -> list[SpanEvent]:
    """Span events from their protobuf messages; a malformed one is left out."""
    out = []
    for item in raw:
        try:
            event = Span.Event.FromString(item)
        except DecodeError:
            continue
        out.append(
            SpanEvent(
                name=event.name, time_ns=event.time_unix_nano,
                attributes={entry.key: plain(entry.value) for entry in event.attributes},
                dropped_attributes=event.dropped_attributes_count,
            )
        )  # fmt: skip
    return out
