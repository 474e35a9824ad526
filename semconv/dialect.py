"""A dialect as data: how it is detected, which key fills which column, and where its content lies.

A dialect table is a frozen `Dialect`. The built-in ones are Python literals in `semconv/dialects/`; `read_dialect`
makes one from plain mappings (YAML), so that a user can add or override one by a file. Nothing in a table is code:
patterns are regular expressions, shapes are names of readers in `semconv/content.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from spanfold.semconv.schema import COUNT_COLUMNS

TEXT_COLUMNS = frozenset((
    "operation", "provider", "request_model", "response_model", "response_id", "agent_name", "tool_name",
    "tool_call_id", "session_id", "conversation_id", "user_id", "service_tier", "prompt_name", "prompt_version",
    "error_type", "status", "service_name", "service_version", "environment", "project", "key_label",
))  # fmt: skip
INTEGER_COLUMNS = frozenset((*COUNT_COLUMNS, "total_tokens"))
NUMBER_COLUMNS = frozenset(("ttft_ms",))
FLAG_COLUMNS = frozenset(("streaming",))
LIST_COLUMNS = frozenset(("finish_reasons", "tags"))
COLUMNS = TEXT_COLUMNS | INTEGER_COLUMNS | NUMBER_COLUMNS | FLAG_COLUMNS | LIST_COLUMNS

SIDES = ("input", "output", "system", "tools")
SHAPES = (  # readers in content.py
    "messages", "event_list", "parts", "tools", "tool_call", "tool_result", "query", "documents", "records", "texts",
    "transcript",  # a flat text, a line `role: words` a message
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


Path = tuple[str | int, ...]


class DialectError(ValueError):
    """A table that cannot be used; the message names the dialect and the entry, `at` leads to the entry in the table
    (names and positions), so that a file can say which line it is."""

    def __init__(self, message: str, at: Path = ()) -> None:
        super().__init__(message)
        self.at = at


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
    deltas: bool = False  # True: a span says only what is new, its parents said the rest (collector/deltas.py)
    facts: tuple[str, ...] = ()  # log records of these names state columns of the call that they are about
    input_tokens: str = ""
    output_tokens: str = ""
    providers: tuple[str, ...] = ()
    labels: bool = True  # False: fills columns, but does not name the span's dialect
    guarded: bool = False  # True: its keys are common words, so they are read on spans of this dialect only

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {c: _sources(self.name, c, s) for c, s in self.fields.items()})
        object.__setattr__(self, "content", {s: _places(self.name, s, p) for s, p in self.content.items()})
        messages = tuple(_message(self.name, entry, ("messages", at)) for at, entry in enumerate(self.messages))
        object.__setattr__(self, "messages", messages)
        for name in ("input_tokens", "output_tokens"):
            stated = getattr(self, name)
            if stated not in ("", "inclusive", "exclusive"):
                raise DialectError(f"{self.name}: {name}: totals are inclusive or exclusive, not {stated!r}", (name,))


def _sources(dialect: str, column: str, entries: Any) -> tuple[Source, ...]:
    at, where = ("fields", column), f"{dialect}: fields.{column}"
    if column not in COLUMNS:
        near = get_close_matches(str(column), COLUMNS, 1)
        raise DialectError(f"{where}: there is no such column" + (f"; did you mean {near[0]}?" if near else ""), at)
    found = tuple(_one(Source, where, entry, (*at, i)) for i, entry in enumerate(_listed(where, entries, at)))
    for i, source in enumerate(found):
        if source.unit not in UNITS:
            raise DialectError(f"{where}: unit {source.unit!r} is none of {', '.join(UNITS[1:])}", (*at, i, "unit"))
        try:
            if source.pattern and not re.compile(source.pattern).groups:
                problem = f"{where}: pattern {source.pattern!r} has no group to take"
                raise DialectError(problem, (*at, i, "pattern"))
        except re.error as error:
            raise DialectError(f"{where}: pattern {source.pattern!r}: {error}", (*at, i, "pattern")) from error
    return found


def _places(dialect: str, side: str, entries: Any) -> tuple[Content, ...]:
    at, where = ("content", side), f"{dialect}: content.{side}"
    if side not in SIDES:
        raise DialectError(f"{where}: a side is one of {', '.join(SIDES)}", at)
    found = tuple(_one(Content, where, entry, (*at, i)) for i, entry in enumerate(_listed(where, entries, at)))
    for i, place in enumerate(found):
        if place.shape not in SHAPES:
            raise DialectError(f"{where}: shape {place.shape!r} is none of {', '.join(SHAPES)}", (*at, i, "shape"))
    return found


def _message(dialect: str, entry: Any, at: Path) -> EventMessage:
    if not isinstance(entry, EventMessage):
        entry = _record(EventMessage, f"{dialect}: messages", entry, at)
    if entry.side not in ("input", "output"):
        raise DialectError(
            f"{dialect}: messages.{entry.event}: a message is input or output, not {entry.side!r}", (*at, "side")
        )
    found: EventMessage = entry
    return found


def _listed(where: str, entries: Any, at: Path) -> Sequence[Any]:
    if isinstance(entries, str | Mapping | Source | Content):
        return [entries]
    if not isinstance(entries, Sequence):
        raise DialectError(f"{where}: give a key, a mapping with `key`, or a list of them, not {entries!r}", at)
    return entries


def _one(kind: type[Any], where: str, entry: Any, at: Path) -> Any:
    """A record from itself, from a bare key, or from a mapping."""
    if isinstance(entry, kind):
        return entry
    return kind(entry) if isinstance(entry, str) and entry else _record(kind, where, entry, at)


def _record(kind: type[Any], where: str, entry: Any, at: Path) -> Any:
    """A record of `kind` from a mapping, every value checked against the type of its field."""
    known = {f.name: f for f in fields(kind)}
    needed = [f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING]
    if not isinstance(entry, Mapping) or not set(needed) <= set(entry):
        raise DialectError(f"{where}: {entry!r} is no mapping with {', '.join(f'`{name}`' for name in needed)}", at)
    values = {}
    for name, value in entry.items():
        if name not in known:
            raise DialectError(f"{where}: unknown setting {name!r}", (*at, name))
        values[name] = _typed(str(known[name].type), f"{where}: {name}", value, (*at, name))
    return kind(**values)


def _typed(kind: str, where: str, value: Any, at: Path) -> Any:
    """A plain value as the type of a field asks for it; numbers and flags are texts where a text is asked for."""
    if kind == "str" and isinstance(value, str | bool | int | float):
        return _text(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "tuple[str, ...]" and isinstance(value, list | tuple | str):
        items = [value] if isinstance(value, str) else value
        if all(isinstance(item, str | int | float) for item in items):
            return tuple(_text(item) for item in items)
    if kind.startswith("Mapping[str, str]") and isinstance(value, Mapping):
        return {_text(key).lower(): _text(said) for key, said in value.items()}
    wanted = {"str": "a text", "bool": "true or false", "float": "a number", "tuple[str, ...]": "a list of texts"}
    raise DialectError(f"{where}: {wanted.get(kind, 'a mapping')} is needed, not {value!r}", at)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def read_dialect(table: Any) -> Dialect:
    """A dialect from plain data (a parsed YAML file). Raises DialectError naming the entry that is wrong."""
    name = table.get("name") if isinstance(table, Mapping) else None
    if not isinstance(name, str) or not name:
        raise DialectError("a dialect is a mapping with a `name`")
    known = {f.name: str(f.type) for f in fields(Dialect)}
    for setting in table:
        if setting not in known:
            near = get_close_matches(str(setting), known, 1)
            problem = f"{name}: unknown setting {setting!r}" + (f"; did you mean {near[0]}?" if near else "")
            raise DialectError(problem, (setting,))
    rest: dict[str, Any] = {}
    for setting, value in table.items():
        at, where = (setting,), f"{name}: {setting}"
        if setting == "detect":
            rest[setting] = _record(Detect, where, value, at)
        elif setting == "turn":
            rest[setting] = _turn(where, value)
        elif setting in ("fields", "content"):
            if not isinstance(value, Mapping):
                raise DialectError(f"{where}: a mapping is needed, not {value!r}", at)
            rest[setting] = value
        elif setting == "messages":
            rest[setting] = tuple(_listed(where, value, at))
        else:
            rest[setting] = _typed(known[setting], where, value, at)
    marks = rest.get("detect")
    if marks is None or not any(getattr(marks, f.name) for f in fields(Detect)):
        raise DialectError(f"{name}: detect: give at least one of scopes, keys, prefixes, events", ("detect",))
    return Dialect(**rest)


def _turn(where: str, value: Any) -> Turn:
    if not isinstance(value, Mapping) or set(value) - {"said", "tools"}:
        raise DialectError(f"{where}: give said and tools", ("turn",))
    said, tools = (_listed(f"{where}.{part}", value.get(part, ()), ("turn", part)) for part in ("said", "tools"))
    return Turn(
        said=tuple(_message(where, entry, ("turn", "said", i)) for i, entry in enumerate(said)),
        tools=tuple(_record(ToolEvent, where, entry, ("turn", "tools", i)) for i, entry in enumerate(tools)),
    )
