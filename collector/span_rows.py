"""Trace requests to span rows: decode, normalise, keep, and leave out what is stored already."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.collector.deltas import Step
from spanfold.collector.noise import Noise
from spanfold.collector.turns import TurnCall, sides_said
from spanfold.exporter.fold import Place
from spanfold.exporter.identity import (
    ANY_HOUR,
    Identities,
    IdentityRuns,
    span_identities,
    tenant_hash,
    trace_identities,
)
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.semconv import keep, normalise
from spanfold.semconv.detection import DIALECTS, Dialects
from spanfold.semconv.records import SpanBatch, SpanContent
from spanfold.semconv.schema import SPANS
from spanfold.semconv.turns import CallOfTurn
from spanfold.semconv.value_columns import binary_parts

if TYPE_CHECKING:
    from spanfold.collector.pipeline import Batch


class HasPrivate(Protocol):
    """Rows of which some have a private part."""

    table: pa.Table
    private_ids: dict[int, bytes]

    def day(self, row: int) -> dt.date: ...


Located = Callable[[str, dt.date, bytes], tuple[bytes, int, int] | None]

_DAY_US = 86_400_000_000
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: hours of one trace never fall together
_FIRST_DAY = (dt.date(2015, 1, 1) - EPOCH_DAY).days
_LAST_DAY = (dt.date(2100, 12, 31) - EPOCH_DAY).days


@dataclass(slots=True)
class SpanRows:
    """New spans of a chunk, on their way to rows. `table` has the columns of `SPANS`."""

    table: pa.Table
    days: NDArray[np.int64]  # partition, days since 1970-01-01
    found: list[SpanContent]  # `row` indexes `table`
    private: dict[int, dict[str, Any]]
    identities: Identities
    traces_before: set[tuple[str, str]]
    quality: Counter[tuple[str, ...]]
    counters: Counter[str]
    private_ids: dict[int, bytes] = field(default_factory=dict)

    def day(self, row: int) -> dt.date:
        return EPOCH_DAY + dt.timedelta(days=int(self.days[row]))

    def contents(self) -> list[tuple[Place, SpanContent]]:
        """Contents with their places, in order of start, so that a history meets its beginning first."""
        out = list(zip(self.places_of(self.found), self.found, strict=True))
        return sorted(out, key=lambda item: item[0].start_time)

    def places_of(self, contents: Sequence[SpanContent]) -> list[Place]:
        """The spans that these contents belong to."""
        return self._places([content.row for content in contents])

    def places(self) -> list[tuple[Place, SpanContent | None]]:
        """Every GenAI span with its content or None; the content may be kept."""
        found = {content.row: content.kept() for content in self.found}
        genai = pc.is_valid(self.table["operation"]).to_numpy(zero_copy_only=False)
        rows = sorted({*np.flatnonzero(genai).tolist(), *found})
        out = [(place, found.get(row)) for place, row in zip(self._places(rows), rows, strict=True)]
        return sorted(out, key=lambda item: item[0].start_time)

    def turn_calls(self, dialects: Collection[str]) -> list[TurnCall]:
        """The calls of these dialects, and what they say themselves."""
        spoken = pc.unique(self.table["dialect"]).to_pylist()
        if not any(name in dialects for name in spoken):
            return []
        table = self.table
        asked = pc.and_(pc.is_in(table["dialect"], pa.array(sorted(dialects))), table["is_candidate"])
        rows = np.flatnonzero(pc.and_not(asked, table["is_container"]).to_numpy()).tolist()
        at = pa.array(rows, pa.int64())
        facts = zip(*(table[n].take(at).to_pylist() for n in ("span_id", "parent_span_id")), strict=True)
        starts = table["start_time"].take(at).cast(pa.int64()).to_pylist()
        says = {content.row: sides_said(content) for content in self.found}
        return [
            TurnCall(place, CallOfTurn(span_id, parent, start * 1000), says.get(row, frozenset()))
            for row, place, (span_id, parent), start in zip(rows, self._places(rows), facts, starts, strict=True)
        ]

    def steps(self, dialects: Collection[str], traces: Collection[str]) -> list[Step]:
        """The spans of these traces, and of those in which a span of these dialects stands."""
        if not traces and not any(name in dialects for name in pc.unique(self.table["dialect"]).to_pylist()):
            return []
        table = self.table
        own = pc.fill_null(pc.is_in(table["dialect"], pa.array(sorted(dialects), pa.string())), False)
        wanted = {*traces, *table["trace_id"].filter(own).to_pylist()}
        rows = np.flatnonzero(pc.is_in(table["trace_id"], pa.array(sorted(wanted), pa.string())).to_numpy()).tolist()
        at = pa.array(rows, pa.int64())
        facts = zip(*(c.take(at).to_pylist() for c in (table["parent_span_id"], table["operation"], own)), strict=True)
        said = {content.row: content.kept() for content in self.found}
        return [
            Step(place, parent, said.get(row) if speaks and operation != "execute_tool" else None)
            for row, place, (parent, operation, speaks) in zip(rows, self._places(rows), facts, strict=True)
        ]

    def _places(self, rows: Sequence[int]) -> list[Place]:
        facts = self.table.select(_PLACE).take(pa.array(rows, pa.int64())).to_pydict()
        return [
            Place(
                tenant=tenant, trace_id=trace, span_id=span, date=self.day(row), start_time=start,
                hints=tuple(hint for hint in (conversation, session) if hint), service=service,
                is_call=bool(is_call),
            )
            for row, tenant, trace, span, start, conversation, session, service, is_call in zip(
                rows, *facts.values(), strict=True
            )
        ]  # fmt: skip

    def finish(self, batch: Batch, located: Located) -> None:
        """Puts the rows into the batch, by day."""
        table, parts = by_day(private_columns(self, located), self.days)
        for date, rows in parts:
            batch.tables["spans"][date] = rows
        dates = np.sort(self.days).astype(np.int32)
        batch.spans.append(table.append_column("date", pa.array(dates, pa.int32()).cast(pa.date32())))
        batch.identities["spans"].append(self.identities)
        batch.traces_before |= self.traces_before
        batch.quality.update(self.quality)
        batch.counters.update(self.counters)


_PLACE = (
    "tenant",
    "trace_id",
    "span_id",
    "start_time",
    "conversation_id",
    "session_id",
    "service_name",
    "is_candidate",
)
_PRIVATE = ("private_block", "private_offset", "private_length")


def by_day(table: pa.Table, days: NDArray[np.int64]) -> tuple[pa.Table, list[tuple[dt.date, pa.Table]]]:
    """(the rows in order of their day, each day's rows)."""
    if len(days) and bool((np.diff(days) < 0).any()):
        order = np.argsort(days, kind="stable")
        table, days = table.take(pa.array(order)), days[order]
    distinct, starts = np.unique(days, return_index=True)
    ends = [] if not len(days) else [*starts[1:].tolist(), len(days)]
    parts = zip(distinct.tolist(), starts.tolist(), ends, strict=True)
    return table, [(EPOCH_DAY + dt.timedelta(days=day), table.slice(first, last - first)) for day, first, last in parts]


def private_columns(rows: HasPrivate, located: Located) -> pa.Table:
    """The table with the columns that say where each row's private JSON lies."""
    count = len(rows.table)
    block: list[bytes | None] = [None] * count
    offset: list[int | None] = [None] * count
    length: list[int | None] = [None] * count
    for row, item_id in rows.private_ids.items():
        at = located(rows.table["tenant"][row].as_py(), rows.day(row), item_id)
        if at is not None:
            block[row], offset[row], length[row] = at
    table = rows.table
    columns = (pa.array(block, pa.binary(16)), pa.array(offset, pa.int32()), pa.array(length, pa.int32()))
    for name, values in zip(_PRIVATE, columns, strict=True):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


def read(
    source: SpanBatch, runs: IdentityRuns, hash_key: Callable[[str], bytes], noise: Noise,
    dialects: Dialects = DIALECTS,
) -> SpanRows:  # fmt: skip
    """Rows of the spans that are not stored yet."""
    meaning = normalise.normalise_spans(source, dialects, hash_key=hash_key)
    kept = keep.keep_spans(
        source, meaning.fields, meaning.content_keys, unparsed=meaning.unparsed, event_keys=meaning.event_keys
    )
    identities, traces = _identities(source)
    fresh, resent, changed = _fresh(identities, runs)
    columns = {**kept.columns, **meaning.fields}
    length = len(source.columns)
    table = pa.table([columns[f.name] if f.name in columns else pa.nulls(length, f.type) for f in SPANS], schema=SPANS)
    days = partition_days(table["start_time"])
    backwards = table["duration_ns"].to_numpy() < 0
    quality: Counter[tuple[str, ...]] = Counter()
    cut = np.array([origin.dropped_attributes > 0 for origin in source.origins], np.bool_)
    for kind, detail, hit in (
        ("duplicate_span", "", resent), ("changed_duplicate", "", changed), ("skewed_time", "", fresh & (days == 0)),
        ("ends_before_start", "", fresh & backwards),
        ("truncated", "resource or scope", fresh & cut[source.columns["origin"].to_numpy()]),
    ):  # fmt: skip
        quality += _counted(kind, detail, hit, source, table)
    quality += _notes(meaning.notes, table)
    counters = Counter(duplicates=int((resent | changed).sum()), changed_duplicates=int(changed.sum()))
    gone = [(row, rule) for row, rule in noise.dropped(source, meaning.fields["operation"]) if fresh[row]]
    counters["dropped_spans"] += len(gone)
    quality += _notes([normalise.Note("dropped_span", str(rule), row) for row, rule in gone], table)
    fresh[[row for row, _ in gone]] = False
    at = np.flatnonzero(fresh)
    new_row = np.full(length, -1, np.int64)
    new_row[at] = np.arange(len(at))
    found = []
    for content in meaning.contents:
        if fresh[content.row]:
            content.row = int(new_row[content.row])
            found.append(content)
    if len(at) < length:
        table = table.take(pa.array(at))
    counters["spans"] += len(at)
    counters["skewed"] += int((days[at] == 0).sum())
    return SpanRows(
        table=table, days=days[at], found=found, private={int(new_row[r]): v for r, v in kept.private if fresh[r]},
        identities=Identities.concat([identities.take(at), traces]), counters=counters, quality=quality,
        traces_before=_known_traces(source, table, traces, runs),
    )  # fmt: skip


def _identities(source: SpanBatch) -> tuple[Identities, Identities]:
    """Identities of the spans, and the marks of their traces: that a trace was seen before, and in which hours."""
    ids = np.zeros((len(source.columns), 24), np.uint8)
    for name, start, width in (("trace_id", 0, 16), ("span_id", 16, 8)):
        offsets, data = binary_parts(source.columns[name].combine_chunks())
        ids[:, start : start + width] = data[offsets[:-1, None] + np.arange(width)]
    tenants = np.array([tenant_hash(origin.tenant) for origin in source.origins], np.uint64)
    owner = tenants[source.columns["origin"].to_numpy()]
    end = source.columns["end_ns"].to_numpy()
    attributes = np.bincount(source.attributes.rows, minlength=len(ids)).astype(np.uint64)
    status = source.columns["status_code"].to_numpy().astype(np.uint64)
    digest = end ^ (attributes << np.uint64(48)) ^ (status << np.uint64(60))
    traces = ids.copy()
    traces[:, 16:] = 0
    marks = span_identities(owner, traces, hours_of(source.columns["start_ns"].to_numpy()))
    with np.errstate(over="ignore"):
        first = np.unique(marks.low + marks.digest * _SPREAD, return_index=True)[1]
    return span_identities(owner, ids, digest), marks.take(first)


def hours_of(start_ns: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hours since 1970, ANY_HOUR where the start decides no partition."""
    days = start_ns // np.uint64(_DAY_US * 1000)
    believable = (days >= np.uint64(_FIRST_DAY)) & (days <= np.uint64(_LAST_DAY))
    return np.where(believable, start_ns // np.uint64(3_600_000_000_000), np.uint64(ANY_HOUR))


def _fresh(
    identities: Identities, runs: IdentityRuns
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """(new, sent again, sent again but different) of each span. New is what is not stored, and the first of its
    identity in this chunk: first stored wins."""
    known, same = runs.find(identities)
    first = np.unique(identities.low, return_index=True)[1]
    fresh = np.zeros(len(known), np.bool_)
    fresh[first] = True
    repeated = ~fresh & ~known
    changed = known & ~same
    if repeated.any():
        of = np.unique(identities.low, return_inverse=True)[1]
        changed |= repeated & (identities.digest != identities.digest[first[of]])
    return fresh & ~known, (known | repeated) & ~changed, changed


def _counted(
    kind: str, detail: str, hit: NDArray[np.bool_], source: SpanBatch, table: pa.Table
) -> Counter[tuple[str, ...]]:
    """The marked rows as counts of quality, by their resource and scope, each with its first one as the example."""
    rows = np.flatnonzero(hit)
    origins, first, counts = np.unique(source.columns["origin"].to_numpy()[rows], return_index=True, return_counts=True)
    out: Counter[tuple[str, ...]] = Counter()
    for origin, row, count in zip(origins.tolist(), rows[first].tolist(), counts.tolist(), strict=True):
        at = source.origins[origin]
        ids = (table[name][row].as_py() or "" for name in ("trace_id", "span_id"))
        out[at.tenant, str(at.attributes.get("service.name", "")), at.scope_name, kind, detail, *ids] += count
    return out


def _known_traces(source: SpanBatch, table: pa.Table, traces: Identities, runs: IdentityRuns) -> set[tuple[str, str]]:
    known, _ = runs.find(traces)
    if not known.any():
        return set()
    frame = table.select(["tenant", "trace_id"]).group_by(["tenant", "trace_id"]).aggregate([])
    ids = [(row["tenant"], row["trace_id"]) for row in frame.to_pylist()]
    stored, _ = runs.find(trace_identities(ids))
    return {pair for pair, hit in zip(ids, stored.tolist(), strict=True) if hit}


def partition_days(times: pa.ChunkedArray) -> NDArray[np.int64]:
    days = times.cast(pa.int64()).to_numpy() // _DAY_US
    return np.where((days >= _FIRST_DAY) & (days <= _LAST_DAY), days, 0)


def _notes(notes: Sequence[normalise.Note], table: pa.Table) -> Counter[tuple[str, ...]]:
    out: Counter[tuple[str, ...]] = Counter()
    for note in notes:
        row = {
            name: table[name][note.row].as_py()
            for name in ("tenant", "service_name", "scope_name", "trace_id", "span_id")
        }
        out[row["tenant"], row["service_name"] or "", row["scope_name"] or "", note.kind, note.detail,
            row["trace_id"] or "", row["span_id"] or ""] += 1  # fmt: skip
    return out
