"""Turns: prompts, tool uses and answers that an emitter records beside its calls, given to the calls.

Command line agents (Claude Code, Codex) say what was asked, which tools ran and what was answered in log records of
the whole turn; their calls carry numbers only. `compose` tells from the times who heard and said what: a call heard
what was said before it began, and said what came after, until the next call. It takes no words that the model may not
have seen in this form (`ToolEvent.result`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from spanfold.semconv import messages
from spanfold.semconv.detection import DIALECTS, Dialects
from spanfold.semconv.dialect import EventMessage, ToolEvent
from spanfold.semconv.ids import hex_ids
from spanfold.semconv.log_content import attributes_of, event_names
from spanfold.semconv.parts import Part, text_part, tool_call, tool_response
from spanfold.semconv.records import LogBatch

Message = dict[str, Any]
Told = tuple[tuple[Part, ...], tuple[Message, ...]]  # said, heard


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPiece:
    """What one record tells of a turn. `said`: parts of the assistant's message; `heard`: messages for later calls."""

    row: int
    trace_id: str
    span_id: str
    time_ns: int
    said: tuple[Part, ...] = ()
    heard: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class CallOfTurn:
    """What `compose` has to know of a call."""

    span_id: str
    parent_span_id: str | None
    start_ns: int


@dataclass(slots=True)
class Share:
    """What one call heard and said. `revision` grows with what is known of the turn."""

    heard: list[Message] = field(default_factory=list)
    said: list[Part] = field(default_factory=list)
    revision: int = 0

    @property
    def answer(self) -> list[Message]:
        return [{"role": "assistant", "parts": self.said}] if self.said else []


def turn_pieces(batch: LogBatch, dialects: Dialects = DIALECTS) -> list[TurnPiece]:
    """The pieces in a batch of log records; records of no trace are left out."""
    rules = dialects.turn_rules
    hits = [any(fnmatchcase(item.scope_name, glob) for glob in dialects.turn_scopes) for item in batch.origins]
    if not any(hits):
        return []
    origin = batch.columns["origin"].to_pylist()
    names = event_names(batch, dialects)
    rows = [row for row, name in enumerate(names) if name in rules and hits[origin[row]]]
    if not rows:
        return []
    attributes = attributes_of(batch, rows)
    traces, spans = (hex_ids(batch.columns[name].combine_chunks()).to_pylist() for name in ("trace_id", "span_id"))
    times, observed = (batch.columns[name].to_pylist() for name in ("time_ns", "observed_ns"))
    out = []
    for row in rows:
        said, heard = _told(rules[names[row] or ""], attributes.get(row, {}))
        if traces[row] and (said or heard):
            out.append(
                TurnPiece(
                    row=row, trace_id=traces[row], span_id=spans[row] or "", time_ns=times[row] or observed[row],
                    said=said, heard=heard,
                )
            )  # fmt: skip
    return out


def _told(
    rule: EventMessage | ToolEvent, attributes: Mapping[str, Any]
) -> tuple[tuple[Part, ...], tuple[Message, ...]]:
    if isinstance(rule, ToolEvent):
        name, call_id = attributes.get(rule.name), attributes.get(rule.call_id)
        if not name or rule.arguments not in attributes:
            return (), ()
        result = attributes.get(rule.result) if rule.result else None
        answer = [{"role": "tool", "parts": [tool_response(result, call_id)]}] if result is not None else []
        return (tool_call(name, attributes[rule.arguments], call_id),), tuple(answer)
    text = attributes.get(rule.path)
    if not isinstance(text, str) or not text:
        return (), ()
    if rule.side == "output":
        return (text_part(text),), ()
    return (), ({"role": rule.role, "parts": [text_part(text)]},)


def compose(calls: Iterable[CallOfTurn], pieces: Sequence[TurnPiece]) -> dict[str, Share]:
    """What each call of a trace heard and said, by span id. Pieces recorded at a span that is a call's parent are of
    that parent's calls only; all others are of every call of the trace."""
    ordered = sorted(calls, key=lambda c: (c.start_ns, c.span_id))
    apart = {piece.span_id for piece in pieces} & {call.parent_span_id for call in ordered}
    groups: dict[str | None, list[CallOfTurn]] = {}
    for call in ordered:
        groups.setdefault(call.parent_span_id if call.parent_span_id in apart else None, []).append(call)
    told = sorted(pieces, key=lambda p: (p.time_ns, messages.canonical(_all_of(p))))
    out: dict[str, Share] = {}
    for parent, members in groups.items():
        own = [piece for piece in told if piece.span_id == parent or piece.span_id not in apart]
        if own:
            out.update(_shares(members, own))
    return out


def _all_of(piece: TurnPiece) -> Message:
    return {"role": "", "parts": [*piece.said, *(part for message in piece.heard for part in message["parts"])]}


def _shares(calls: Sequence[CallOfTurn], pieces: Sequence[TurnPiece]) -> dict[str, Share]:
    """`calls` and `pieces` in order of time."""
    shares = {}
    past: list[Message] = []
    at = 0
    while at < len(pieces) and pieces[at].time_ns < calls[0].start_ns:
        past += pieces[at].heard
        at += 1
    for number, call in enumerate(calls):
        share = shares[call.span_id] = Share(heard=list(past), revision=len(calls) + len(pieces))
        heard: list[Message] = []
        until = calls[number + 1].start_ns if number + 1 < len(calls) else None
        while at < len(pieces) and (until is None or pieces[at].time_ns < until):
            share.said += pieces[at].said
            heard += pieces[at].heard
            at += 1
        past += share.answer + heard
    return shares
