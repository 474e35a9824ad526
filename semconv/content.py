"""Where content lies: span attributes (plain, structured, indexed), span events, JSON inside other values.

Dialect tables name the places; `messages.py` repairs what is found there. Only spans that carry content are looped
over; which spans those are is found by key, for the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spanfold.semconv import content_shapes, messages, provider_objects
from spanfold.semconv.dialect import SIDES, Content
from spanfold.semconv.fill import matching_keys
from spanfold.semconv.json_paths import reach, unflatten
from spanfold.semconv.loose_json import looks_like_json, read_json
from spanfold.semconv.records import AttributeColumns, SpanContent
from spanfold.semconv.value_columns import STRING, binary_parts, header_length

Values = dict[str, Any]
Places = Mapping[str, Sequence[Content]]

_HEAD = 400  # characters in which a JSON list of messages in the newest shape shows its first "parts"


@dataclass(slots=True)
class Facts:
    """What a reader may need of the span besides the value."""

    operation: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


@dataclass(slots=True)
class Found:
    """What one span (or event) said: sides, the keys that were understood, finish reasons stated on answers."""

    content: SpanContent
    used: set[str] = field(default_factory=set)
    partly: set[str] = field(default_factory=set)  # understood, but the value says more than what was taken
    finish: list[str] = field(default_factory=list)
    holes: int = 0  # messages that were listed but said nothing: another place may know more
    trouble: list[tuple[str, str]] = field(default_factory=list)  # (kind, key)

    @property
    def empty(self) -> bool:
        sides = (getattr(self.content, side) for side in (*SIDES, "input_text"))
        return all(side is None for side in sides)


@dataclass(frozen=True, slots=True)
class First:
    """The beginning of an indexed list: its lowest index, and whether that entry has lost its role."""

    index: int
    cut: bool


@dataclass(slots=True)
class Gathered:
    """Content values of a batch: row -> key -> value, and for indexed keys which attributes they were."""

    rows: dict[int, Values] = field(default_factory=dict)
    keys: dict[str, set[str]] = field(default_factory=dict)  # place key -> attribute keys of the batch
    first: dict[tuple[int, str], First] = field(default_factory=dict)  # (row, indexed place) -> its beginning

    def attribute_keys(self, used: Iterable[str]) -> set[str]:
        return {key for place in used for key in self.keys.get(place, {place})}


def gather(attributes: AttributeColumns, places: Places) -> Gathered:
    """All values under the keys that places name. A history in the newest shape is not copied: it is a memoryview."""
    out = Gathered()
    histories = {place.key for place in places.get("input", ()) if _is_history("input", place)}
    for key in dict.fromkeys(place.key for side in places.values() for place in side if not place.event):
        if key.endswith(".*"):
            _gather_indexed(attributes, key, out)
        elif key.endswith("}"):
            _gather_several(attributes, key, out)
        else:
            for name in matching_keys(attributes, key):
                out.keys.setdefault(key, set()).add(name)
                for row, value in _values(attributes, name, views=key in histories):
                    out.rows.setdefault(row, {})[key] = value
    return out


def _values(attributes: AttributeColumns, key: str, *, views: bool = False) -> Iterable[tuple[int, Any]]:
    """(row, value) under a key. Long texts are copied once, straight out of the batch's buffer; `views`: not at all,
    where they are histories in the newest shape."""
    at = attributes.positions(key)
    texts = attributes.tags[at] == STRING
    plain, other = at[texts], at[~texts]
    offsets, data = binary_parts(attributes.values)
    begins, ends = offsets[plain], offsets[plain + 1]
    begins = begins + header_length(ends - begins)
    body = memoryview(data.data)
    for row, begin, end in zip(attributes.rows[plain].tolist(), begins.tolist(), ends.tolist(), strict=True):
        text = body[begin:end]
        yield row, text if views and _is_newest(text) else str(text, "utf-8")
    if len(other):
        yield from zip(attributes.rows[other].tolist(), attributes.decode(other), strict=True)


def _gather_several(attributes: AttributeColumns, place: str, out: Gathered) -> None:
    prefix, names = place[:-1].split("{")
    found = [name for name in names.split(",") if attributes.has_key(prefix + name)]
    for name in found:
        out.keys.setdefault(place, set()).add(prefix + name)
        for row, value in _values(attributes, prefix + name):
            out.rows.setdefault(row, {}).setdefault(place, {})[name] = value


def _gather_indexed(attributes: AttributeColumns, place: str, out: Gathered) -> None:
    prefix = place[:-1]
    keys = attributes.keys_like(lambda key: key.startswith(prefix) and key[len(prefix) : len(prefix) + 1].isdigit())
    keys = [key for key in keys if not key.endswith(".vector")]  # embeddings are numbers, kept as they are
    if not keys:
        return
    out.keys[place] = set(keys)
    flat: dict[int, dict[str, Any]] = {}
    for key in keys:
        for row, value in _values(attributes, key):
            flat.setdefault(row, {})[key[len(prefix) :]] = value
    for row, entries in flat.items():
        value = unflatten(entries)
        if not any(key.startswith("0") for key in entries):
            value = _roles_filled(value)
        out.first[row, place] = _first(entries)
        out.rows.setdefault(row, {})[place] = value


def _first(entries: Iterable[str]) -> First:
    paths = [(int(path[0]), path[-1]) for key in entries if (path := key.split("."))[0].isdecimal()]
    lowest = min((index for index, _ in paths), default=0)
    return First(lowest, not any(index == lowest and name == "role" for index, name in paths))


def _roles_filled(items: Any) -> Any:
    """Where an attribute cap ate the beginning of a history, the first message left may have lost its role: it takes
    the role of its next peer (agents alternate between assistant and tool, chats between assistant and user)."""
    held = [item.get("message", item) if isinstance(item, dict) else {} for item in items]
    if len(held) > 2 and held[0] and "role" not in held[0] and held[1].get("role") == "assistant":
        peer = next((item["role"] for item in held[2:] if item.get("role") not in (None, "assistant")), None)
        if peer is not None:
            held[0]["role"] = peer
    return items


def read_sides(values: Values, places: Places, facts: Facts, row: int, source: str = "span") -> Found:
    """The sides that these values hold; of each side the first place that says something."""
    found = Found(SpanContent(row=row, source=source))
    for side in SIDES:
        for place in places.get(side, ()):
            if place.key not in values or (place.operations and facts.operation not in place.operations):
                continue
            before = found.holes
            if not _read(found, side, place, values[place.key], facts):
                continue
            found.used.add(place.key)
            if found.holes == before:
                break
    return found


def _read(found: Found, side: str, place: Content, value: Any, facts: Facts) -> bool:
    content = found.content
    if _is_history(side, place) and isinstance(value, str | memoryview) and _is_newest(value):
        content.input_text = value
        return True
    if isinstance(value, memoryview):
        value = str(value, "utf-8")
    if isinstance(value, str) and (place.path or place.shape != "tool_result") and looks_like_json(value):
        value, trouble = read_json(value)
        if trouble and trouble != "loose_json":
            found.trouble.append((trouble, place.key))
    if place.path:
        value = reach(value, place.path)
    if value is None or value in ("", [], {}):
        return False
    if side == "output" and place.shape in ("messages", "response"):
        found.finish += messages.finish_reasons(value)
    said = shaped(place, side, value, facts, "assistant" if side == "output" else "user")
    held = getattr(content, side)
    if said and (held is None or (place.shape != "messages" and len(said) > len(held))):
        if place.key.endswith(".*"):
            found.holes += content_shapes.holes(value)
        setattr(content, side, said)
        if place.path or not content_shapes.is_all(value):
            found.partly.add(place.key)
        return True
    return False


def _is_history(side: str, place: Content) -> bool:
    """May a whole history stand there, as one text?"""
    return side == "input" and not place.path and place.shape == "messages"


def _is_newest(text: str | memoryview) -> bool:
    """A JSON list of messages in the newest shape, by its beginning and its end; a cut one is not."""
    if isinstance(text, memoryview):
        head = str(text[: 4 * _HEAD], "utf-8", "ignore")[:_HEAD]  # a character has four bytes at most
        whole = bytes(text[:2]) == b"[{" and bytes(text[-2:]) == b"}]"
        return whole and '"parts"' in head and ('"role"' in head or b'"role"' in bytes(text))
    return text.startswith("[{") and text.endswith("}]") and '"parts"' in text[:_HEAD] and '"role"' in text


def shaped(place: Content, side: str, value: Any, facts: Facts, role: str) -> list[dict[str, Any]]:
    """A value through the reader that the place names."""
    role = place.role or role
    match place.shape:
        case "messages":
            return messages.read_messages(value, role)
        case "request":
            return provider_objects.request_side(value, side)
        case "response":
            return provider_objects.response_messages(value)
        case "parts":
            return content_shapes.read_parts(value)
        case "event_list":
            return content_shapes.read_event_list(value, side)
        case "tools":
            return content_shapes.read_tools(value)
        case "tool_call":
            return content_shapes.call_message(facts.tool_name, value, facts.tool_call_id)
        case "tool_result":
            return content_shapes.result_message(value, facts.tool_call_id)
        case "documents":
            return content_shapes.read_documents(value)
        case "transcript":
            return content_shapes.read_transcript(value, role)
        case "records":
            return content_shapes.read_documents(value, "memory_record")
        case _:
            return content_shapes.read_texts(value, role)


def estimated_tokens(content: SpanContent) -> int | None:
    """Characters said in the answer, divided by four: for streams that report no usage."""
    if not content.output:
        return None
    return -(-sum(messages.characters(message) for message in content.output) // 4)


def merged(first: SpanContent, second: SpanContent) -> SpanContent:
    """The sides of both; `first` wins where both say one."""
    for side in ("output", "system", "tools"):
        if getattr(first, side) is None:
            setattr(first, side, getattr(second, side))
    if first.input is None and first.input_text is None:
        first.input, first.input_text = second.input, second.input_text
    first.pieces = max(first.pieces, second.pieces)
    return first
