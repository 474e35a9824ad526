"""Stored spans on the write path once more: rows of a day's files in, the rows that today's tables make of them out.

    rebuild -> normalise (today's tables) -> merge with what is stored -> keep the rest -> redact -> fold -> rows

Spans whose request the journal still holds are read as they were sent, words included (`as_sent.py`). Of older ones
words are taken from kept attributes where none are stored yet. Rows that come out the same are not touched, so that
doing it again changes nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.collector import log_rows
from spanfold.collector.as_sent import OWN, Sent, Side, as_sent, says_more
from spanfold.collector.facts import of_content
from spanfold.collector.log_join import FindPlaces, LogJoin
from spanfold.collector.log_rows import Meetings
from spanfold.collector.redaction import IDENTIFIERS, Redaction
from spanfold.collector.segments import JournalRecord
from spanfold.collector.span_rows import SpanRows, private_columns
from spanfold.collector.turns import FindCalls, Turns
from spanfold.exporter.content_writer import ContentWriter
from spanfold.exporter.fold import Folded, Folder
from spanfold.exporter.fold_rows import RowWriter
from spanfold.exporter.identity import Identities, IdentityRuns
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.exporter.redact import Redactor
from spanfold.semconv import keep
from spanfold.semconv.detection import Dialects
from spanfold.semconv.fingerprint import fingerprint, opening_texts
from spanfold.semconv.normalise import Normalised
from spanfold.semconv.rebuild import Row, rebuilt_batch
from spanfold.semconv.records import SpanBatch, SpanContent
from spanfold.semconv.renormalise import Known, differing, hidden_keys, renormalise
from spanfold.semconv.schema import SPANS

if TYPE_CHECKING:
    from spanfold.collector.pipeline import Entry

Identity = tuple[str, str, str]  # tenant, trace_id, span_id
Mask = NDArray[np.bool_]

_NOBODY = Identities(*(np.zeros(0, np.uint64) for _ in range(3)))  # none of these spans is new
_NOTHING = IdentityRuns(Path(), ())  # every record counts as new
_KEPT = ("attributes", "attributes_typed", "events")  # members of the private object that are made again
_REDACTED = re.compile(r"\[[A-Z][A-Z0-9_]*\]")  # an identifier of which redaction left only this names nobody


@dataclass(slots=True)
class Revised:
    """What became of some rows: `rows` in their old order, and of those that `changed` what is new."""

    rows: pa.Table
    changed: Mask
    columns: Counter[str] = field(default_factory=Counter)  # column -> rows in which it changed
    contexts: list[dict[str, Any]] = field(default_factory=list)  # new context rows, with their `date`
    tables: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))  # contexts, messages, content
    read: int = 0  # spans whose words are new
    sent: int = 0  # spans that were read as they were sent


@dataclass(slots=True)
class Beside:
    """What log records say that is not stored."""

    contexts: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    facts: list[pa.Table] = field(default_factory=list)  # whether stored or not, in the columns of `FACTS`
    read: int = 0  # spans whose words are new


@dataclass(frozen=True, slots=True)
class StoredWords:
    """Asks what is stored: spans by identity, calls of traces, contexts of a day."""

    places: FindPlaces
    calls: FindCalls
    said: Callable[[Sequence[Identity]], Mapping[Identity, Sequence[Side]]]


class Rereader:
    """Reads stored spans of one day after another again. `with_words`: what is kept includes words and the private
    parts of spans, and no rule lets them go before the spans."""

    def __init__(
        self, keyring: Keyring, mode: str, redactor: Callable[[str], Redactor], dialects: Dialects, *, with_words: bool
    ) -> None:
        self._keyring, self._redactor, self._dialects = keyring, redactor, dialects
        self._hidden = hidden_keys(dialects)
        self._content, self._with_words = ContentWriter(keyring, mode), with_words
        self._tenants: dict[str, tuple[Folder, RowWriter]] = {}

    def forget(self) -> None:
        """Begins a new commit: what an abandoned one was to store is not stored."""
        self._tenants.clear()

    def revise(
        self, day: dt.date, rows: pa.Table, privates: Sequence[Row | None], contexts: Sequence[Row],
        records: Sequence[JournalRecord],
    ) -> Revised:  # fmt: skip
        """`privates`: the private object of each row, None where it could not be opened (the row stays as it is);
        `contexts`: the rows of `CONTEXTS` that are stored of these spans; `records`: requests that they came in."""
        said = said_of(contexts)
        sent = as_sent(records, rows, self._dialects, self._fingerprint_key)
        if sent is None:
            return self._from_kept(day, rows, privates, said)
        there = sent.rows >= 0
        first = self._from_sent(day, rows.filter(pa.array(there)), replace(sent, rows=sent.rows[there]), said)
        gone = np.flatnonzero(~there)
        if not len(gone):
            return first
        rest = self._from_kept(day, rows.take(pa.array(gone)), [privates[row] for row in gone.tolist()], said)
        return _together(first, rest, np.argsort(np.concatenate([np.flatnonzero(there), gone])))

    # ---- logs, from the journal --------------------------------------------------------------------------------------
    def logs(self, day: dt.date, entries: Sequence[Entry], stored: StoredWords) -> Beside:
        """Words of the spans of a day, and facts of that day, that these log requests hold by today's tables and that
        are not stored."""
        met = Meetings(LogJoin(0.0, stored.places), Turns(0.0, stored.calls))
        rows = log_rows.read(entries, met, _NOTHING, self._record_key, self._dialects)
        found = [*met.join.ready(flush=True), *met.turns.ready(flush=True)]
        out, more = Beside(), []
        here = [(place, content) for place, content in found if place.date == day]
        folded = [(content, self._tenant(place.tenant)[0].take(content, place)) for place, content in here]
        Redaction(self._redactor).words({name: folder for name, (folder, _) in self._tenants.items()}, EPOCH_DAY)
        said = stored.said([(p.tenant, p.trace_id, p.span_id) for p, _ in here])
        for (place, content), (_, item) in zip(here, folded, strict=True):
            held = said.get((place.tenant, place.trace_id, place.span_id), ())
            if self._with_words and says_more(self._tenant(place.tenant)[0], item, held, (content.source,)):
                item.revision = max([item.revision, *(side[2] + 1 for side in held)])
                self._tenant(place.tenant)[1].add(item)
                more.append((place, content))
        self._take_words(out)
        out.read = len(more)
        told = of_content(
            (place, content.pieces, fingerprint(*texts, self._fingerprint_key(place.tenant)))
            for place, content in more
            if place.is_call and (texts := opening_texts(content)) is not None
        )
        for stated in (rows.facts, told):
            if stated is not None:
                Redaction(self._redactor).columns(stated)
                out.facts.append(stated.table.filter(pa.array(stated.days == (day - EPOCH_DAY).days)))
        return out

    def _take_words(self, out: Revised | Beside) -> None:
        for _, writer in self._tenants.values():
            tables, contexts = writer.tables()
            out.contexts += contexts
            for name, days in tables.items():
                out.tables[name] += days.values()

    def _record_key(self, tenant: str) -> bytes:
        return self._keyring.hash_key(tenant, "record")

    # ---- from the journal --------------------------------------------------------------------------------------------
    def _from_sent(self, day: dt.date, rows: pa.Table, sent: Sent, said: Mapping[Identity, Sequence[Side]]) -> Revised:
        """All that a span was sent with is there: what today's tables say of it holds."""
        at, meaning = pa.array(sent.rows), sent.meaning
        fields = {name: values.take(at) for name, values in meaning.fields.items()}
        spans = _span_rows(day, pa.table(fields | {"tenant": rows["tenant"]}))
        Redaction(self._redactor).columns(spans)
        differs = differing(rows, {name: spans.table[name].combine_chunks() for name in fields})
        out = Revised(rows, _any(differs, len(rows)), _counts(differs), sent=len(rows))
        identities = _identities(rows)
        where = {int(row): place for place, row in enumerate(sent.rows.tolist())}
        contents = [content for content in meaning.contents if content.row in where] if self._with_words else []
        original = {id(content): content.row for content in contents}
        for content in contents:
            content.row = where[content.row]
        places = _span_rows(day, pa.table([fields.get(f.name, rows[f.name]) for f in SPANS], schema=SPANS))
        places.found = contents
        more, left = [], list(meaning.unparsed)
        for content, folded in self._folded(places):
            held = said.get(identities[content.row], ())
            if says_more(self._tenant(folded.place.tenant)[0], folded, held):
                folded.revision = max([folded.revision, *(side[2] + 1 for side in held)])
                more.append(folded)
                out.changed[content.row] = True
            elif any(side[1] not in OWN for side in held):  # the span's own words are not what is stored of it
                row = original[id(content)]
                left += [(row, key) for key in meaning.content_keys]
                left += [(row, key) for _, key in meaning.event_keys]
        out.read = len(more)
        if out.changed.any():
            kept = keep.keep_spans(
                sent.source, meaning.fields, meaning.content_keys, unparsed=left, event_keys=meaning.event_keys
            )
            columns, length = {**kept.columns, **meaning.fields}, len(sent.source.columns)
            made = [columns[f.name] if f.name in columns else pa.nulls(length, f.type) for f in SPANS]
            changed = np.flatnonzero(out.changed)
            spans = _span_rows(day, pa.table(made, schema=SPANS).take(at.take(pa.array(changed))))
            private, new = (
                dict(kept.private),
                {int(row): place for place, row in enumerate(sent.rows[changed].tolist())},
            )
            spans.private = {place: private[row] for row, place in new.items() if row in private}
            out.rows = _replaced(rows, changed, self._stored(spans, more, out))
        return out

    # ---- from what is kept -------------------------------------------------------------------------------------------
    def _from_kept(
        self, day: dt.date, rows: pa.Table, privates: Sequence[Row | None], said: Mapping[Identity, Sequence[Side]]
    ) -> Revised:
        readable = np.array([private is not None for private in privates], np.bool_)
        held = [private or {} for private in privates]
        batch, identities = rebuilt_batch(rows.to_pylist(), held), _identities(rows)
        own = [any(side[1] not in ("log", "turn") for side in said.get(one, ())) for one in identities]
        known = Known(
            columns=rows, spoken=np.array(own, np.bool_), whole=np.full(len(rows), self._with_words),
            held=_identified(held),
        )  # fmt: skip
        found, fields = renormalise(batch, known, self._dialects, self._hidden, hash_key=self._fingerprint_key)
        fields |= {name: _named(fields[name], rows[name]) for name in IDENTIFIERS}
        differs = {name: mask & readable for name, mask in differing(rows, fields).items()}
        contents = [
            content for content in found.contents
            if self._with_words and readable[content.row] and identities[content.row] not in said
        ]  # fmt: skip
        out = Revised(rows, _any(differs, len(rows)), _counts(differs), read=len(contents))
        out.changed[[content.row for content in contents]] = True
        if out.changed.any():
            self._rewrite(day, batch, found, fields, held, contents, out)
        return out

    def _rewrite(
        self, day: dt.date, batch: SpanBatch, found: Normalised, fields: Mapping[str, pa.Array],
        held: Sequence[Row], contents: Sequence[SpanContent], out: Revised,
    ) -> None:  # fmt: skip
        """Puts the changed rows and their words into `out`."""
        taken = {content.row for content in contents}
        left = [
            (row, key)
            for key in sorted(found.content_keys)
            for row in batch.attributes.rows_of(key).tolist()
            if row not in taken
        ]
        left += [(row, key) for row in np.flatnonzero(out.changed).tolist() if row not in taken
                 for _, key in found.event_keys]  # fmt: skip
        kept = keep.keep_again(
            batch, fields, found.content_keys, unparsed=[*found.unparsed, *left], event_keys=found.event_keys
        )
        columns = {**kept.columns, **fields}
        at = np.flatnonzero(out.changed)
        new_row = {row: place for place, row in enumerate(at.tolist())}
        made = dict(kept.private)
        table = pa.table([columns.get(f.name, out.rows[f.name]) for f in SPANS], schema=SPANS).take(pa.array(at))
        spans = _span_rows(day, table)
        for row, place in new_row.items():
            rest = {name: value for name, value in held[row].items() if name not in _KEPT} | made.get(row, {})
            if rest:
                spans.private[place] = rest
        for content in contents:
            content.row = new_row[content.row]
        spans.found = list(contents)
        out.rows = _replaced(out.rows, at, self._stored(spans, [folded for _, folded in self._folded(spans)], out))

    # ---- writing -----------------------------------------------------------------------------------------------------
    def _folded(self, spans: SpanRows) -> list[tuple[SpanContent, Folded]]:
        """What the contents of these rows become, their words redacted. Nothing is counted: it was when they came."""
        found = sorted(zip(spans.places_of(spans.found), spans.found, strict=True), key=lambda item: item[0].start_time)
        folded = [(content, self._tenant(place.tenant)[0].take(content, place)) for place, content in found]
        folders = {name: folder for name, (folder, _) in self._tenants.items()}
        Redaction(self._redactor).words(folders, EPOCH_DAY)
        return folded

    def _stored(self, spans: SpanRows, folded: Sequence[Folded], out: Revised) -> pa.Table:
        """The rows redacted, their words and private parts written."""
        redaction = Redaction(self._redactor)
        for item in folded:
            self._tenant(item.place.tenant)[1].add(item)
        redaction.columns(spans)
        for tenant, day, item_id, body in redaction.private(spans):
            self._tenant(tenant)[1].private(day, item_id, body)
        self._take_words(out)
        return private_columns(spans, self._located)

    def _located(self, tenant: str, day: dt.date, item_id: bytes) -> tuple[bytes, int, int] | None:
        at = self._tenant(tenant)[1].where(day, item_id)
        return (at.block_id, at.offset, at.length) if at else None

    def _tenant(self, name: str) -> tuple[Folder, RowWriter]:
        if name not in self._tenants:
            folder = Folder(lambda purpose: self._keyring.hash_key(name, purpose))
            self._tenants[name] = (folder, RowWriter(name, folder, self._content))
        return self._tenants[name]

    def _fingerprint_key(self, tenant: str) -> bytes:
        return self._keyring.hash_key(tenant, "fingerprint")


def said_of(contexts: Sequence[Row]) -> dict[Identity, list[Side]]:
    """Rows of `CONTEXTS` by the span that they belong to."""
    said: dict[Identity, list[Side]] = defaultdict(list)
    for row in contexts:
        said[row["tenant"], row["trace_id"], row["span_id"]].append(_side(row))
    return said


def _side(row: Row) -> Side:
    names = ("direction", "source", "revision", "count", "chars")
    known = (row[name] is not None for name in ("tools_id", "system_id", "answer_key"))
    return (*(row[name] for name in names), *known)


def _identities(rows: pa.Table) -> list[Identity]:
    return list(zip(*(rows[name].to_pylist() for name in ("tenant", "trace_id", "span_id")), strict=True))


def _span_rows(day: dt.date, table: pa.Table) -> SpanRows:
    return SpanRows(
        table=table, days=np.full(len(table), (day - EPOCH_DAY).days, np.int64), found=[], private={},
        identities=_NOBODY, traces_before=set(), quality=Counter(), counters=Counter(),
    )  # fmt: skip


def _any(masks: Mapping[str, Mask], length: int) -> Mask:
    out = np.zeros(length, np.bool_)
    for mask in masks.values():
        out |= mask
    return out


def _counts(masks: Mapping[str, Mask]) -> Counter[str]:
    return Counter({name: int(mask.sum()) for name, mask in masks.items() if mask.any()})


def _together(first: Revised, second: Revised, order: NDArray[np.int64]) -> Revised:
    """Two parts of one slice, in the order of the slice."""
    for name, tables in second.tables.items():
        first.tables[name] += tables
    return Revised(
        pa.concat_tables([first.rows, second.rows]).take(pa.array(order)),
        np.concatenate([first.changed, second.changed])[order], first.columns + second.columns,
        first.contexts + second.contexts, first.tables, first.read + second.read, first.sent,
    )  # fmt: skip


def _identified(privates: Sequence[Row]) -> dict[str, Mask]:
    """Identifiers that were stored as a keyed hash: what is kept of their attributes names nobody any more."""
    held = [private.get("identifiers") or {} for private in privates]
    return {name: np.array([name in one for one in held], np.bool_) for name in IDENTIFIERS}


def _named(values: pa.Array, stored: pa.ChunkedArray) -> pa.Array:
    """The values, but what is stored where only the mark of a redaction is left of one."""
    if values.null_count == len(values):
        return values
    bare = pc.fill_null(pc.match_substring_regex(values, _REDACTED.pattern), False)
    return pc.if_else(bare, stored.combine_chunks(), values)


def _replaced(rows: pa.Table, at: NDArray[np.int64], by: pa.Table) -> pa.Table:
    """The rows with those at `at` replaced."""
    index = np.arange(len(rows))
    index[at] = len(rows) + np.arange(len(at))
    return pa.concat_tables([rows, by]).take(pa.array(index))
