"""What spans and log records mean: dialect tables applied to a batch, column by column.

    detect dialects -> fill columns by rules (first value wins) -> content -> usage buckets -> kind and status

Nothing a sender writes stops a batch: a value that cannot be read stays NULL and leaves a note, which data quality
counts. The attributes themselves are kept elsewhere (`keep.py`) exactly as sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.semconv import content, events, fingerprint, messages, operations, usage
from spanfold.semconv.detection import DIALECTS, Dialects, Mask, detect
from spanfold.semconv.dialect import Content, Source
from spanfold.semconv.dialects.common import RESOURCE_KEYS
from spanfold.semconv.dialects.otel import maker_of
from spanfold.semconv.events import LogContent, assemble
from spanfold.semconv.fill import Filler
from spanfold.semconv.fill_columns import ListColumn, NumberColumn, TextColumn
from spanfold.semconv.log_content import normalise_logs
from spanfold.semconv.records import SpanBatch, SpanContent, SpanEvent
from spanfold.semconv.schema import COUNT_COLUMNS

__all__ = ["Dialects", "LogContent", "Normalised", "Note", "assemble", "normalise_logs", "normalise_spans"]

HashKey = Callable[[str], bytes]

_TEXTS = (
    "provider", "request_model", "response_model", "response_id", "agent_name", "tool_name", "tool_call_id",
    "session_id", "conversation_id", "user_id", "service_tier", "prompt_name", "prompt_version", "error_type",
    "service_name", "service_version", "environment", "project", "key_label",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Note:
    """Something that could not be taken as sent. `detail` is an attribute key or a rule, never content."""

    kind: str  # not_a_number | refused_count | usage_disagrees | cut_json | python_repr | bad_json | truncated
    detail: str
    row: int


@dataclass(slots=True)
class Normalised:
    """`fields`: every column of meaning of `schema.SPANS`. `content_keys` are understood as content wherever they
    stand, except at the places in `unparsed` (row, key), which are kept as they are."""

    fields: dict[str, pa.Array]
    contents: list[SpanContent]
    content_keys: set[str]
    unparsed: list[tuple[int, str]]
    notes: list[Note]
    event_keys: set[tuple[str, str]]  # the same of span events: (event name, attribute key)


@dataclass(slots=True)
class _Spans:
    """One batch while it is read."""

    batch: SpanBatch
    dialects: Dialects
    filler: Filler
    origin: NDArray[np.int32]
    events: dict[int, list[SpanEvent]]
    masks: dict[str, Mask]
    said: dict[int, content.Found] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    event_keys: set[tuple[str, str]] = field(default_factory=set)

    @property
    def length(self) -> int:
        return len(self.batch.columns)

    def text(self, name: str) -> pa.Array:
        column = self.filler.column(name)
        assert isinstance(column, TextColumn)
        return column.array()


def normalise_spans(
    batch: SpanBatch,
    dialects: Dialects = DIALECTS,
    *,
    hash_key: HashKey | None = None,
    filler: Callable[..., Filler] = Filler,
    marked: Mapping[str, Mask] = MappingProxyType({}),
) -> Normalised:
    """Reads what the spans of a batch mean. `hash_key(tenant)` keys the prompt fingerprint; `filler` may be one that
    remembers which rule filled what (semconv/explain.py); `marked`: rows known to speak a dialect of which they may
    show no mark any more (semconv/renormalise.py)."""
    spans = _opened(batch, dialects, filler)
    for name, mask in marked.items():
        spans.masks[name] = spans.masks[name] | mask if name in spans.masks else mask
    _fill_fields(spans)
    _fill_from_origins(spans)
    content_keys, unparsed = _read_content(spans)
    fields = _dimensions(spans) | _usage(spans) | _answers(spans)
    fields |= _kinds(spans, fields)
    tenants = [batch.origins[i].tenant for i in range(len(batch.origins))]
    contents = [found.content for found in spans.said.values()]
    owner = {found.row: tenants[spans.origin[found.row]] for found in contents}
    fields["prompt_fingerprint"] = fingerprint.column(spans.length, contents, fields, owner, hash_key)
    spans.notes += [Note(kind, key, row) for kind, key, row in spans.filler.trouble]
    return Normalised(fields, contents, content_keys, unparsed, spans.notes, spans.event_keys)


def normalise_facts(batch: SpanBatch, dialects: Dialects = DIALECTS) -> dict[str, pa.Array]:
    """Columns that attributes state, for records that are no spans (semconv/log_facts.py): no content, no kind."""
    spans = _opened(batch, dialects)
    _fill_fields(spans)
    return _dimensions(spans) | _usage(spans) | _answers(spans)


def _opened(batch: SpanBatch, dialects: Dialects, filler: Callable[..., Filler] = Filler) -> _Spans:
    origin = batch.columns["origin"].to_numpy()
    names = batch.columns["name"].combine_chunks().dictionary_encode()
    scopes = pa.array([item.scope_name for item in batch.origins], pa.string())
    pseudo = {"@name": (np.asarray(names.indices), names.dictionary), "@scope": (origin, scopes)}
    listed = batch.columns["events"].combine_chunks()
    counts = np.diff(np.asarray(listed.offsets))
    found = {row: events.decode_events(listed[row].as_py()) for row in np.flatnonzero(counts).tolist()}
    masks = detect(dialects.tables, batch.attributes, batch.origins, origin, found)
    return _Spans(
        batch,
        dialects,
        filler(batch.attributes, batch.columns["start_ns"].to_numpy(), pseudo, found),
        origin,
        found,
        masks,
    )


# ---- columns -----------------------------------------------------------------------------------------------------
def _fill_fields(spans: _Spans) -> None:
    for table in spans.dialects.tables:
        mask = spans.masks.get(table.name)
        if table.guarded and mask is None:
            continue
        for column, sources in table.fields.items():
            for source in sources:
                own = (
                    not source.event and source.key[0] == "@"
                )  # the name and scope of every span: only of those that speak it
                if spans.filler.has(source) and not (own and mask is None):
                    spans.filler.fill(column, source, mask if table.guarded or own else None)
    for column in ("request_model", "response_model"):
        _guess_provider(spans, column)


def _guess_provider(spans: _Spans, column: str) -> None:
    """Where nobody says who served a call: whose model it was."""
    target, models = spans.filler.column("provider"), spans.text(column)
    if isinstance(target, TextColumn) and models.null_count < spans.length and not target.filled.all():
        coded = models.dictionary_encode()
        makers = pa.array([maker_of(model) for model in coded.dictionary.to_pylist()], pa.string())
        target.offer(np.arange(spans.length), makers.take(coded.indices))


def _fill_from_origins(spans: _Spans) -> None:
    """Resource attributes, then baggage copied to the span with a prefix, then the API key's label."""
    for column, keys in RESOURCE_KEYS.items():
        for key in keys:
            _offer_by_origin(spans, column, [item.attributes.get(key) for item in spans.batch.origins])
        for key in keys:
            source = Source(f"baggage.{key}")
            if spans.filler.has(source):
                spans.filler.fill(column, source, None)
    _offer_by_origin(spans, "key_label", [item.key_label for item in spans.batch.origins])


def _offer_by_origin(spans: _Spans, column: str, values: Sequence[Any]) -> None:
    if all(value in (None, "", []) for value in values):
        return
    target = spans.filler.column(column)
    if isinstance(target, ListColumn):
        lists = [tuple(map(str, v if isinstance(v, list) else [v])) if v else () for v in values]
        target.offer(np.arange(spans.length), [lists[i] for i in spans.origin.tolist()])
    elif isinstance(target, TextColumn):
        texts = [None if value is None or isinstance(value, dict | list) else str(value) for value in values]
        target.offer(np.arange(spans.length), pa.array(texts, pa.string()).take(pa.array(spans.origin)))


def _dimensions(spans: _Spans) -> dict[str, pa.Array]:
    fields = {name: spans.text(name) for name in _TEXTS}
    fields["tags"] = spans.filler.column("tags").array()
    dropped = spans.batch.columns["dropped_attributes"].to_numpy() > 0
    fields["truncated"] = pa.array(dropped)
    spans.notes += [Note("truncated", "dropped_attributes_count", int(row)) for row in np.flatnonzero(dropped)]
    return fields


# ---- content -----------------------------------------------------------------------------------------------------
def _read_content(spans: _Spans) -> tuple[set[str], list[tuple[int, str]]]:
    """Fills `said`; (attribute keys understood as content, places where they were not understood)."""
    gathered = content.gather(spans.batch.attributes, spans.dialects.places)
    facts = _facts(spans, list(gathered.rows))
    dropped, indexed = spans.batch.columns["dropped_attributes"].to_numpy() > 0, spans.dialects.indexed_inputs
    by_shut: dict[frozenset[str], dict[str, list[Content]]] = {}
    guarded = [table.name for table in spans.dialects.tables if table.guarded and table.content]
    keys: set[str] = set()
    left: list[tuple[int, str]] = []
    for row, values in gathered.rows.items():
        shut = frozenset(name for name in guarded if name not in spans.masks or not spans.masks[name][row])
        places = by_shut.get(shut)
        if places is None:
            places = by_shut[shut] = spans.dialects.places_without(shut, gathered.keys)
        found = _sides(values, places, facts[row], row)
        keys |= gathered.attribute_keys(found.used)
        left += [(row, key) for key in values.keys() - found.used | found.partly]
        spans.notes += [Note(kind, key, row) for kind, key in found.trouble]
        if not found.empty:
            spans.said[row] = found
            first = next(
                (gathered.first[row, key] for key in found.used & indexed if (row, key) in gathered.first), None
            )
            if first is not None and found.content.input is not None:
                found.content.indexed = True
                if dropped[row]:
                    found.content.lost, found.content.cut = first.index + first.cut, first.cut
    odd = _read_events(spans)
    spans.said = dict(sorted(spans.said.items()))
    return keys, [(row, key) for row, place in left for key in sorted(gathered.attribute_keys([place]) & keys)] + odd


def _sides(values: content.Values, places: content.Places, facts: content.Facts, row: int) -> content.Found:
    """What one span said. A shape that no reader foresaw is kept as it is, and counted: it never costs the batch."""
    try:
        return content.read_sides(values, places, facts, row)
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError):
        found = content.Found(SpanContent(row=row, source="span"))
        found.trouble += [("unread_content", key) for key in values]
        return found


def _facts(spans: _Spans, rows: list[int]) -> dict[int, content.Facts]:
    at = pa.array(rows, pa.int64())
    taken = [spans.text(name).take(at).to_pylist() for name in ("operation", "tool_name", "tool_call_id")]
    return {row: content.Facts(*values) for row, *values in zip(rows, *taken, strict=True)}


def _read_events(spans: _Spans) -> list[tuple[int, str]]:
    """Content of span events; what the span's own attributes say wins. Gives the places that were not understood."""
    rules, places = spans.dialects.event_messages, spans.dialects.places
    seen: list[tuple[int, str, str]] = []
    used: set[tuple[int, str, str]] = set()
    for row, listed in spans.events.items():
        pieces = []
        for at, event in enumerate(listed):
            if event.name in spans.dialects.event_names:
                seen += [(row, event.name, key) for key in event.attributes]
                piece = events.safe_piece(event.name, None, event.attributes, rules, places, row, "span_event")
                if piece is not None:
                    used |= {(row, event.name, key) for key in piece.keys}
                    piece.sequence = (event.time_ns, events.position_in(event.attributes, None), at)
                    pieces.append(piece)
        if pieces:
            own = spans.said.setdefault(row, content.Found(SpanContent(row=row, source="span_event")))
            own.content = content.merged(own.content, assemble(pieces))
            own.finish += [reason for piece in sorted(pieces, key=lambda p: p.sequence) for reason in piece.finish]
    spans.event_keys = {(name, key) for _, name, key in used}
    return [(row, key) for row, name, key in seen if (name, key) in spans.event_keys and (row, name, key) not in used]


# ---- usage, kinds ------------------------------------------------------------------------------------------------
def _usage(spans: _Spans) -> dict[str, pa.Array]:
    columns = spans.filler.columns
    counts = {
        name: c.count() for name in (*COUNT_COLUMNS, "total_tokens") if isinstance(c := columns.get(name), NumberColumn)
    }
    found = usage.usage_columns(spans.length, counts, _claims(spans))
    spans.notes += [Note("usage_disagrees", "tokens", int(row)) for row in found.disagree]
    spans.notes += [Note("refused_count", "tokens", int(row)) for row in found.refused]
    return {**found.columns, "usage_verdict": found.verdict}


def _claims(spans: _Spans) -> usage.Claims:
    """What is known of the emitters' totals, from the tables whose marks a row shows; the most specific wins."""
    claims = {side: np.zeros(spans.length, np.int8) for side in ("input", "output")}
    codes = {"inclusive": usage.INCLUSIVE, "exclusive": usage.EXCLUSIVE}
    for table in spans.dialects.tables:
        mask = spans.masks.get(table.name)
        if mask is None:
            continue
        if table.providers:
            mask = mask & operations.matches(spans.text("provider"), table.providers.__contains__)
        for side, stated in (("input", table.input_tokens), ("output", table.output_tokens)):
            if stated:
                claims[side][mask & (claims[side] == usage.UNKNOWN)] = codes[stated]
    stated_keys = spans.batch.attributes.mask("gen_ai.usage.input_tokens")
    if spans.filler.by_name is not None:
        stated_keys |= spans.filler.by_name
    return usage.Claims(input=claims["input"], output=claims["output"], stated=stated_keys)


def _answers(spans: _Spans) -> dict[str, pa.Array]:
    """Streaming, time to the first token, finish reasons, and an estimate where a stream reported no usage."""
    streaming, ttft = spans.filler.column("streaming"), spans.filler.column("ttft_ms")
    finish, output = spans.filler.column("finish_reasons"), spans.filler.column("output_tokens")
    assert isinstance(streaming, NumberColumn)
    assert isinstance(finish, ListColumn)
    first = np.flatnonzero(ttft.filled)
    streaming.offer(first, np.ones(len(first), np.bool_))
    rows = [row for row, found in spans.said.items() if found.finish]
    finish.offer(np.array(rows, np.int64), [tuple(spans.said[row].finish) for row in rows])
    silent = streaming.numbers & ~output.filled
    guess = {row: content.estimated_tokens(f.content) for row, f in spans.said.items() if silent[row]}
    estimate: list[int | None] = [None] * spans.length
    for row, tokens in guess.items():
        estimate[row] = tokens
    return {
        "streaming": streaming.array(), "ttft_ms": ttft.array(),
        "finish_reasons": finish.mapped(messages.finish_reason).array(),
        "estimated_output_tokens": pa.array(estimate, pa.int64()) if guess else pa.nulls(spans.length, pa.int64()),
    }  # fmt: skip


def _kinds(spans: _Spans, fields: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Dialect, operation, candidacy and status."""
    labels = [table.name for table in spans.dialects.tables if table.labels and table.name in spans.masks]
    code = np.full(spans.length, -1, np.int32)
    for at, name in enumerate(labels):
        code[(code < 0) & spans.masks[name]] = at
    genai = code >= 0
    dialect = (
        pa.array(labels, pa.string()).take(pa.array(code, mask=~genai))
        if labels
        else pa.nulls(spans.length, pa.string())
    )
    operation = _operations(spans, genai)
    model = _valid(fields["request_model"]) | _valid(fields["response_model"])
    used = _valid(fields["input_tokens"]) | _valid(fields["output_tokens"])
    candidate, container = operations.kinds(operation, used, model)
    reasons = fields["finish_reasons"]
    only_error = operations.matches(
        pc.binary_join(reasons.cast(pa.list_(pa.string())), ","), lambda text: text == "error"
    )
    columns = spans.batch.columns
    status = operations.statuses(
        columns["status_code"].to_numpy(), spans.text("status"), fields["error_type"],
        columns["status_message"].combine_chunks(), only_error,
    )  # fmt: skip
    return {
        "dialect": dialect, "operation": operation, "status": status,
        "is_candidate": pa.array(candidate & genai), "is_container": pa.array(container & genai),
    }  # fmt: skip


def _operations(spans: _Spans, genai: Mask) -> pa.Array:
    """The operation of GenAI spans: stated, else read from the name; NULL for all other spans."""
    column = spans.filler.column("operation")
    assert isinstance(column, TextColumn)
    if bool((genai & ~column.filled).any()):
        codes, names = spans.filler.pseudo["@name"]
        told = pa.array([operations.operation_of_name(name) for name in names.to_pylist()], pa.string())
        column.offer(np.arange(spans.length), told.take(pa.array(codes)))
    stated = column.array()
    return stated if genai.all() else pc.if_else(pa.array(genai), stated, pa.scalar(None, pa.string()))


def _valid(array: pa.Array) -> Mask:
    return np.asarray(array.is_valid())
