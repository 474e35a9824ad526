"""The write path on one screen: journal records in, lake rows out.

    decode to columns -> normalise (dialects, usage) -> keep the rest -> redact -> fold -> rows

A stage is a function from batch to batch; the journal is read and files are written by the caller. Rules, keys and
settings come in as values. One odd record never costs its batch: it is set aside and counted.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from spanfold.collector import decode, log_rows, metric_rows, span_rows
from spanfold.collector.deltas import Deltas
from spanfold.collector.facts import of_content
from spanfold.collector.log_join import FindPlaces, LogJoin
from spanfold.collector.noise import Noise
from spanfold.collector.redaction import Redaction
from spanfold.collector.segments import JournalRecord, Position
from spanfold.collector.turns import FindCalls, Turns
from spanfold.exporter.content_writer import ContentWriter
from spanfold.exporter.fold import Folded, Folder, Place
from spanfold.exporter.fold_rows import RowWriter
from spanfold.exporter.identity import Identities, IdentityRuns
from spanfold.exporter.keys import Keyring
from spanfold.exporter.redact import Redactor
from spanfold.semconv.detection import DIALECTS, Dialects
from spanfold.semconv.fingerprint import fingerprint, opening_texts
from spanfold.semconv.records import SpanBatch, SpanContent

Entry = tuple[Position, JournalRecord]
Tables = dict[str, dict[dt.date, pa.Table]]
SetAside = Callable[[Entry, Exception], None]


@dataclass(slots=True)
class Batch:
    """What a chunk of the journal became: rows by table and day, and what else its commit has to know."""

    tables: Tables = field(default_factory=lambda: defaultdict(dict))
    spans: list[pa.Table] = field(default_factory=list)  # the new span rows, with their `date`
    contexts: list[dict[str, Any]] = field(default_factory=list)  # the new context rows, with their `date`
    facts: list[pa.Table] = field(default_factory=list)  # the new facts, with their `date`
    identities: dict[str, list[Identities]] = field(default_factory=lambda: defaultdict(list))
    traces_before: set[tuple[str, str]] = field(default_factory=set)  # (tenant, trace_id) stored before this chunk
    quality: Counter[tuple[str, ...]] = field(default_factory=Counter)
    counters: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Tenant:
    folder: Folder
    rows: RowWriter


class Pipeline:
    """Holds what is remembered between chunks: known messages, waiting log pieces. All of it may be lost."""

    def __init__(
        self,
        keyring: Keyring,
        content_mode: str,
        redactor: Callable[[str], Redactor],
        runs: Mapping[str, IdentityRuns],
        find_places: FindPlaces,
        find_calls: FindCalls,
        set_aside: SetAside,
        *,
        quiet_seconds: float,
        noise: Noise | None = None,
        dialects: Dialects = DIALECTS,
    ) -> None:
        self.dialects = dialects
        self._keyring, self._set_aside = keyring, set_aside
        self._content = ContentWriter(keyring, content_mode)
        self._redaction = Redaction(redactor)
        self._quiet_seconds, self._find_places, self._find_calls = quiet_seconds, find_places, find_calls
        self._listen()
        self._noise = noise or Noise()
        self._tenants: dict[str, _Tenant] = {}
        self.runs = dict(runs)

    def fold(
        self, entries: Sequence[Entry], *, flush: bool, decoded: Callable[[], SpanBatch] | None = None,
        again: Callable[[], Sequence[Entry]] | None = None,
    ) -> Batch:  # fmt: skip
        """Folds a chunk. Entries that cannot be folded alone while others can are set aside; else the error goes up.
        `decoded` hands over the spans of its trace requests, where that was done before; `again` gives the same
        entries with their bodies, which they may have lost to that."""
        try:
            return self._fold(entries, flush=flush, decoded=decoded)
        except Exception as error:  # whatever one record does, the others go on: find it by folding each alone
            entries = again() if again is not None else entries
            bad = self._unfoldable(entries)
            if not bad or len(bad) == len(entries):  # no record's fault: nothing may be set aside for it
                raise
            for entry, problem in bad:
                self._set_aside(entry, problem)
            self._forget()
            spoilt = [entry for entry, _ in bad]
            try:
                return self._fold([entry for entry in entries if entry not in spoilt], flush=flush)
            except Exception as second:
                raise second from error

    def _unfoldable(self, entries: Sequence[Entry]) -> list[tuple[Entry, Exception]]:
        bad = []
        for entry in entries:
            self._forget()
            try:
                self._fold([entry], flush=False)
            except Exception as problem:
                bad.append((entry, problem))
        return bad

    def pending(self) -> Position | None:
        """The first journal position whose log content still waits for its span, or whose turn may still grow."""
        oldest = [at for at in (self._join.oldest(), self._turns.oldest()) if at]
        return Position(*min(oldest)) if oldest else None

    def relearn(self, entries: Sequence[Entry]) -> None:
        """Reads log records again whose content still waited when the last process ended; stores nothing."""
        log_rows.pieces_into(
            self._meetings, [e for e in entries if e[1].signal == "logs"], self._record_key, self.dialects
        )

    def _fold(self, entries: Sequence[Entry], *, flush: bool, decoded: Callable[[], SpanBatch] | None = None) -> Batch:
        batch, today = Batch(), dt.datetime.now(dt.UTC).date()
        by_signal = defaultdict(list)
        for entry in entries:
            by_signal[entry[1].signal].append(entry)
        logs = (
            log_rows.read(by_signal["logs"], self._meetings, self.runs["logs"], self._record_key, self.dialects)
            if by_signal["logs"]
            else None
        )
        decoded = decoded or (lambda: decode.decode_spans([record for _, record in by_signal["traces"]]))
        spans = (  # what was decoded is held by nobody else, and goes as soon as it is read
            span_rows.read(decoded(), self.runs["spans"], self._fingerprint_key, self._noise, self.dialects)
            if by_signal["traces"]
            else None
        )
        points = metric_rows.read(by_signal["metrics"], self.runs["metrics"]) if by_signal["metrics"] else None
        folded = []
        own = self._span_contents(spans)  # first: what waits has to meet these spans
        met = [*self._join.ready(flush=flush), *self._turns.ready(flush=flush)]
        facts = [f for f in (logs.facts if logs else None, of_content(self._fingerprints(met))) if f is not None]
        for place, content in [*own, *met]:
            folded.append(self._tenant(place.tenant).folder.take(content, place))
        self._redaction.words({name: tenant.folder for name, tenant in self._tenants.items()}, today)
        self._add_rows(folded)
        batch.quality.update(_rebuilt(folded))
        for rows in (spans, logs, points):
            if rows is not None:
                self._redaction.columns(rows)
                self._private(rows)
        self._seal(batch)
        for rows in (spans, logs, points):
            if rows is not None:
                rows.finish(batch, self._located)
        for stated in facts:
            self._redaction.columns(stated)
            stated.finish(batch)
        batch.tables["redactions"] = self._redaction.take_tables()
        return batch

    def _span_contents(self, spans: span_rows.SpanRows | None) -> list[tuple[Place, SpanContent]]:
        """Content found on spans, except what has to wait for log records of the same span."""
        if spans is None:
            return []
        for call in spans.turn_calls(self.dialects.turn_names):
            self._turns.call(call)
        longer = self._deltas.take(spans.steps(self.dialects.delta_names, self._deltas.trace_ids))
        if self._join.listening:
            own = [
                (place, content)
                for place, content in spans.places()
                if not self._join.span(place, content) and content is not None
            ]
            return [*own, *longer]
        return [*spans.contents(), *longer]

    def _fingerprints(self, met: Sequence[tuple[Place, SpanContent]]) -> Iterator[tuple[Place, int, str]]:
        """Of the calls whose words came beside them."""
        for place, content in met:
            if place.is_call and (texts := opening_texts(content)) is not None:
                yield place, content.pieces, fingerprint(*texts, self._fingerprint_key(place.tenant))

    def _add_rows(self, folded: Sequence[Folded]) -> None:
        for item in folded:
            self._tenant(item.place.tenant).rows.add(item)

    def _private(self, rows: span_rows.SpanRows | log_rows.LogRows | metric_rows.MetricRows) -> None:
        for tenant, day, item_id, body in self._redaction.private(rows):
            self._tenant(tenant).rows.private(day, item_id, body)

    def _seal(self, batch: Batch) -> None:
        for tenant in self._tenants.values():
            tables, contexts = tenant.rows.tables()
            batch.contexts += contexts
            for table, days in tables.items():
                for day, rows in days.items():
                    held = batch.tables[table].get(day)
                    batch.tables[table][day] = rows if held is None else pa.concat_tables([held, rows])

    def _located(self, tenant: str, day: dt.date, item_id: bytes) -> tuple[bytes, int, int] | None:
        at = self._tenants[tenant].rows.where(day, item_id) if tenant in self._tenants else None
        return (at.block_id, at.offset, at.length) if at else None

    def _record_key(self, tenant: str) -> bytes:
        return self._keyring.hash_key(tenant, "record")

    def _fingerprint_key(self, tenant: str) -> bytes:
        return self._keyring.hash_key(tenant, "fingerprint")

    def _tenant(self, name: str) -> _Tenant:
        tenant = self._tenants.get(name)
        if tenant is None:
            folder = Folder(lambda purpose: self._keyring.hash_key(name, purpose))
            tenant = self._tenants[name] = _Tenant(folder, RowWriter(name, folder, self._content))
        return tenant

    def _listen(self) -> None:
        self._join = LogJoin(self._quiet_seconds, self._find_places)
        self._turns = Turns(self._quiet_seconds, self._find_calls)
        self._deltas = Deltas()
        self._meetings = log_rows.Meetings(self._join, self._turns)

    def forget(self) -> None:
        """Drops every memory of what was sent, after somebody changed what is stored: as if the process had begun."""
        self._tenants.clear()
        self._listen()

    def forget_words(self) -> None:
        """Drops what is known of words, after the rules changed by which they were redacted."""
        self._tenants.clear()

    def _forget(self) -> None:
        """Drops the memory of what was stored: after a failure nobody knows which rows were lost with it."""
        self._tenants.clear()
        self._join.again()
        self._turns.again()
        self._deltas.again()


def _rebuilt(folded: Sequence[Folded]) -> Counter[tuple[str, ...]]:
    """Counts of histories whose lost beginning was proven, by service."""
    places = [item.place for item in folded if item.source == "rebuilt"]
    return Counter((p.tenant, p.service or "", "", "rebuilt_prefix", "", p.trace_id, p.span_id) for p in places)
