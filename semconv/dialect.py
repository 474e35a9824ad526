"""A dialect as data: how it is detected, which key fills which column, and where its content lies.

A dialect table is a frozen `Dialect`. The built-in ones are Python literals in `semconv/dialects/`; `read_dialect`
makes one from plain mappings (YAML), so that a user can add or override one by a file. Nothing in a table is code:
patterns are regular expressions, shapes are names of readers in `semconv/content.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from spanfold.semconv.schema import USAGE_COLUMNS

TEXT_COLUMNS = frozenset((
    "operation", "provider", "request_model", "response_model", "response_id", "agent_name", "tool_name",
    "tool_call_id", "session_id", "conversation_id", "user_id", "service_tier", "prompt_name", "prompt_version",
    "error_type", "status", "service_name", "service_version", "environment", "project", "key_label",
))  # fmt: skip
INTEGER_COLUMNS = frozenset((*USAGE_COLUMNS, "total_tokens"))
NUMBER_COLUMNS = frozenset(("ttft_ms",))
FLAG_COLUMNS = frozenset(("streaming",))
LIST_COLUMNS = frozenset(("finish_reasons", "tags"))
COLUMNS = TEXT_COLUMNS | INTEGER_COLUMNS | NUMBER_COLUMNS | FLAG_COLUMNS | LIST_COLUMNS

SIDES = ("input", "output", "system", "tools")
SHAPES = (  # readers in content.py
    "messages", "event_list", "parts", "tools", "tool_call", "tool_result", "query", "documents", "records", "texts",
    "request", "response",  # a side of a provider's own object
)  # fmt: skip
UNITS = (
    "",
    "json",  # a JSON value in a string
    "time",  # a point in time, stored as milliseconds since the span's start
    "request",  # a provider's request object: `path` names the column wanted (see provider_objects.py)
    "response",  # a provider's response object
    "usage",  # a map of token counts
)


class DialectError(ValueError):
    """A table that cannot be used; the message names the dialect and the entry."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place a column may come from. `key` is an attribute key (a `*` in it stands for one name between dots), or
    `@name`, `@scope` (of the span itself).

    `path` leads into the value where it is JSON: names and positions separated by `/`, `*` for every list element.
    `pattern` takes the first group of a regular expression out of a text. `values` maps lower-cased texts (globs
    are not understood); with `only`, a text that is not in the map does not fill the column. `scale` multiplies
    numbers. `event` reads the attribute from span events of that name (`@time`, `@present`: the event's own). `since`
    says which version writes it so.
    """

    key: str
    path: str = ""
    pattern: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    only: bool = False
    scale: float = 1.0
    event: str = ""
    unit: str = ""  # how the value is read: one of UNITS
    since: str = ""
    constant: str = ""  # this text wherever the key is there, whatever its value


@dataclass(frozen=True, slots=True)
class Content:
    """One place where a side of the content may lie.

    `key` ends in `.*` for indexed attributes (`llm.input_messages.*` = `llm.input_messages.0.message.role` ...), in
    `.{a,b}` for several attributes that are one value (`{"a": ..., "b": ...}`).
    `shape` names the reader; `path` leads into JSON; `role` is given to messages that state none. `operations`
    restricts the place to spans of these operations. `event` is a span event's name.
    """

    key: str
    shape: str = "messages"
    path: str = ""
    role: str = ""
    operations: tuple[str, ...] = ()
    event: str = ""


@dataclass(frozen=True, slots=True)
class EventMessage:
    """A log record or span event that says one message. `event` is its name; `role` is given where it states none.

    The message is the record's body, or its attributes where it has no body; `path` leads further in.
    """

    event: str
    side: str
    role: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class ToolEvent:
    """A log record that tells of one use of a tool: the attribute keys of its parts. `result` only where the words are
    the ones the model was given."""

    event: str
    name: str
    arguments: str
    call_id: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """Emitters that say prompts, tool uses and answers beside their calls, never on them: what is said in one turn (the
    calls of one span, else of one trace) belongs to the calls between which it was said (semconv/turns.py)."""

    said: tuple[EventMessage, ...] = ()
    tools: tuple[ToolEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Detect:
    """Any one of these marks a span (or log record) of the dialect. `scopes` and `names` are globs."""

    scopes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One table. `fields`: column -> places in order of preference; `content`: side -> places in order.

    `input_tokens` and `output_tokens` say what this emitter's totals mean where it is known: `inclusive` or
    `exclusive` of cache (of reasoning), for the providers named in `providers` (empty = all).
    """

    name: str
    about: str = ""  # emitters and versions it was measured on
    detect: Detect
    fields: Mapping[str, Any] = field(default_factory=dict)  # after load: tuple[Source, ...]
    content: Mapping[str, Any] = field(default_factory=dict)  # after load: tuple[Content, ...]
    messages: tuple[EventMessage, ...] = ()
    turn: Turn | None = None
    facts: tuple[str, ...] = ()  # log records of these names state columns of the call that they are about
    input_tokens: str = ""
    output_tokens: str = ""
    providers: tuple[str, ...] = ()
    labels: bool = True  # False: fills columns, but does not name the span's dialect
    guarded: bool = False  # True: its keys are common words, so they are read on spans of this dialect only

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {c: _sources(self.name, c, s) for c, s in self.fields.items()})
        object.__setattr__(self, "content", {s: _places(self.name, s, p) for s, p in self.content.items()})
        object.__setattr__(self, "messages", tuple(_message(self.name, entry) for entry in self.messages))
        for stated in (self.input_tokens, self.output_tokens):
            if stated not in ("", "inclusive", "exclusive"):
                raise DialectError(f"{self.name}: token totals are inclusive or exclusive, not {stated!r}")


def _sources(dialect: str, column: str, entries: Sequence[Any]) -> tuple[Source, ...]:
    if column not in COLUMNS:
        raise DialectError(f"{dialect}: fields.{column}: there is no such column")
    found = tuple(_one(Source, f"{dialect}: fields.{column}", entry) for entry in _listed(entries))
    for source in found:
        if source.unit not in UNITS:
            raise DialectError(f"{dialect}: fields.{column}: unit {source.unit!r} is none of {', '.join(UNITS[1:])}")
        try:
            if source.pattern and not re.compile(source.pattern).groups:
                raise DialectError(f"{dialect}: fields.{column}: pattern {source.pattern!r} has no group to take")
        except re.error as error:
            raise DialectError(f"{dialect}: fields.{column}: pattern {source.pattern!r}: {error}") from error
    return found


def _places(dialect: str, side: str, entries: Sequence[Any]) -> tuple[Content, ...]:
    if side not in SIDES:
        raise DialectError(f"{dialect}: content.{side}: a side is one of {', '.join(SIDES)}")
    found = tuple(_one(Content, f"{dialect}: content.{side}", entry) for entry in _listed(entries))
    for place in found:
        if place.shape not in SHAPES:
            raise DialectError(f"{dialect}: content.{side}: shape {place.shape!r} is none of {', '.join(SHAPES)}")
    return found


def _message(dialect: str, entry: Any) -> EventMessage:
    if isinstance(entry, Mapping):
        unknown = sorted(set(entry) - {f.name for f in fields(EventMessage)})
        if unknown or not {"event", "side", "role"} <= set(entry):
            raise DialectError(f"{dialect}: messages: {dict(entry)!r} needs event, side and role, and may have path")
        entry = EventMessage(**entry)
    if not isinstance(entry, EventMessage):
        raise DialectError(f"{dialect}: messages: {entry!r} is no mapping")
    if entry.side not in ("input", "output"):
        raise DialectError(f"{dialect}: messages.{entry.event}: a message is input or output, not {entry.side!r}")
    return entry


def _listed(entries: Any) -> Sequence[Any]:
    return [entries] if isinstance(entries, str | Mapping | Source | Content) else entries


def _one(kind: type[Any], where: str, entry: Any) -> Any:
    """A record from itself, from a bare key, or from a mapping."""
    if isinstance(entry, kind):
        return entry
    if isinstance(entry, str):
        return kind(entry)
    if not isinstance(entry, Mapping) or "key" not in entry:
        raise DialectError(f"{where}: {entry!r} is neither a key nor a mapping with `key`")
    unknown = sorted(set(entry) - {f.name for f in fields(kind)})
    if unknown:
        raise DialectError(f"{where}: {entry['key']}: unknown setting {unknown[0]!r}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()})


def read_dialect(table: Mapping[str, Any]) -> Dialect:
    """A dialect from plain data (a parsed YAML file). Raises DialectError naming the entry that is wrong."""
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise DialectError("a dialect needs a `name`")
    unknown = sorted(set(table) - {f.name for f in fields(Dialect)})
    if unknown:
        raise DialectError(f"{name}: unknown setting {unknown[0]!r}")
    marks = table.get("detect")
    if not isinstance(marks, Mapping) or set(marks) - {f.name for f in fields(Detect)}:
        raise DialectError(f"{name}: detect: give scopes, keys, prefixes or events")
    rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items() if k != "detect"}
    return Dialect(detect=Detect(**{k: tuple(v) for k, v in marks.items()}), **rest)
