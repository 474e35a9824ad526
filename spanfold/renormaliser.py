"""One day of stored spans read again by today's dialect tables, and what follows from it, on the thread that folds.

One day is one commit: its changed span files, decisions, links, rollup deltas and new words, in a new generation; files
that were replaced stay for readers of the manifest before, as after a merge. What the log records of the day say is a
second commit: it needs the calls of the first.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.analytics.derive import COLUMNS, Deriver
from spanfold.analytics.recall import recent_turns
from spanfold.collector.as_sent import Side
from spanfold.collector.journal_window import JournalWindow
from spanfold.collector.renormalise import Identity, Rereader, Revised, StoredWords, said_of
from spanfold.errors import SpanfoldError
from spanfold.exporter.compact import merged_rows
from spanfold.exporter.errors import FileDamaged
from spanfold.exporter.lake import read_rows
from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.reading import open_reader
from spanfold.semconv.schema import CONTEXTS, FACT_COLUMNS, FACTS, SPANS
from spanfold.settings import Settings
from spanfold.stored_calls import calls, places

if TYPE_CHECKING:
    from spanfold.folding import Folding

_TRIES = 3
_SLICE, _SLICE_BYTES = 4096, 32 << 20  # spans in memory as objects, and bytes of them as they were sent
_TURNS = 100_000  # calls that others may continue
_IDENTITY = ["tenant", "trace_id", "span_id"]
_FACT = [*_IDENTITY, "fact_id"]
_IDENTITIES = pa.schema([(name, pa.string()) for name in _IDENTITY])
_NO_SPANS = pa.Table.from_batches(
    [], pa.schema([pa.field("date", pa.date32()) if name == "date" else SPANS.field(name) for name in COLUMNS])
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; days as YYYY-MM-DD, None = from the first, to the last."""

    since: str | None
    until: str | None
    dry_run: bool

    def files(self, manifest: Manifest) -> list[FileEntry]:
        """The files of spans of these days."""
        first, last = self.since or "", self.until or "9999"
        return [file for file in manifest.files_of("spans") if first <= file.date <= last]


@dataclass(slots=True)
class Told:
    """What came of it, so far."""

    days: int = 0
    spans: int = 0
    changed: int = 0
    unchanged: int = 0
    unreadable: int = 0  # spans whose private part does not open: they stay as they are
    calls_gained: int = 0
    calls_lost: int = 0
    words_read: int = 0  # spans whose words were found now
    from_journal: int = 0  # spans read as they were sent
    out_of_window: int = 0  # spans of which only what was kept could be read
    facts_read: int = 0  # log records found to state something of a call, or something else than before
    columns: Counter[str] = field(default_factory=Counter)

    def add(self, other: Told) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "columns"}
        return counts | {"columns": dict(sorted(self.columns.items()))}


@dataclass(slots=True)
class _Day:
    """What one day comes to before it is committed."""

    told: Told = field(default_factory=lambda: Told(days=1))
    added: list[FileEntry] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    spans: list[pa.Table] = field(default_factory=list)  # changed rows, in the columns that others follow from
    contexts: list[dict[str, Any]] = field(default_factory=list)  # new ones
    facts: pa.Table | None = None  # new ones
    words: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))  # of one file: rows by table


class Renormaliser:
    """Does one request, on the thread that folds. What it writes is of `generation` (None: the next one)."""

    def __init__(self, folding: Folding, settings: Settings, request: Request, generation: int | None = None) -> None:
        self._folding, self._settings, self._request = folding, settings, request
        self._reader = open_reader(settings.data)
        self._moved: Callable[[int], None] = lambda spans: None
        self.generation = folding.lake.manifest.generation + 1 if generation is None else generation
        stored, limits = settings.content != "none", settings.content_days is not None or settings.retention_rules
        self._rereader = Rereader(
            folding.parts.keyring, settings.content if stored else "encrypted", folding.parts.redactor,
            folding.parts.dialects, with_words=stored and not limits,
        )  # fmt: skip

    def days(self) -> list[str]:
        """The days asked for that hold spans."""
        return sorted({file.date for file in self._request.files(self._folding.lake.manifest)})

    def day(self, day: str, moved: Callable[[int], None] = lambda spans: None) -> Told:
        """Reads the spans of a day again and commits what changes; a file that is damaged is set aside first. `moved`
        is told how many of them are done."""
        lake, self._moved = self._folding.lake, moved
        for _ in range(_TRIES):
            self._folding.settle()
            self._folding.publish()
            lake.generation = self.generation
            try:
                return self._day(dt.date.fromisoformat(day))
            except FileDamaged as error:
                damaged = error.path
            finally:
                lake.generation = lake.manifest.generation
            self._folding.quarantine([damaged])
        raise SpanfoldError(f"files of {day} are damaged: `spanfold scrub` says which")

    def _day(self, day: dt.date) -> Told:
        self._rereader.forget()
        self._reader = open_reader(self._settings.data)
        lake, out = self._folding.lake, _Day()
        parts = [read_rows(lake.data, file) for file in lake.manifest.files_of("contexts", day.isoformat())]
        stored = pa.concat_tables(parts) if parts else pa.Table.from_batches([], CONTEXTS)
        contexts = pl.DataFrame(merged_rows("contexts", stored))
        window = JournalWindow(self._settings.data / "journal", self._folding.parts.keyring)
        try:
            for file in lake.manifest.files_of("spans", day.isoformat()):
                self._file(file, day, contexts, window, out)
            if out.spans:
                self._follow(day, contexts, out)
            beside = _Day(told=Told())
            self._logs(day, _with(contexts, out.contexts), window, beside)
            if beside.contexts or beside.facts is not None:
                self._follow(day, contexts, beside)
        finally:
            window.close()
        out.told.add(beside.told)
        return out.told

    # ---- reading ---------------------------------------------------------------------------------------------------
    def _file(self, file: FileEntry, day: dt.date, contexts: pl.DataFrame, window: JournalWindow, out: _Day) -> None:
        rows, parts, changed = read_rows(self._settings.data, file), [], 0
        times = rows["received_time"].cast(pa.int64()).to_pylist()
        for start, end in _slices(window.bytes_of(times)):
            part = rows.slice(start, end - start).combine_chunks()
            privates = self._privates(part, day)
            records = window.records(set(times[start:end])) if self._settings.content != "none" else []
            revised = self._rereader.revise(day, part, privates, _contexts_of(contexts, part), records)
            parts.append(revised.rows)
            self._moved(out.told.spans + end)
            changed += self._take(revised, day, out)
            out.told.unreadable += sum(private is None for private in privates)
        out.told.spans += len(rows)
        out.told.unchanged += len(rows) - changed
        out.told.out_of_window = out.told.spans - out.told.from_journal
        if changed and not self._request.dry_run:
            out.removed.append(file.path)
            lake, words = self._folding.lake, [(table, held) for table, held in out.words.items() if held]
            out.added.append(lake.write("spans", day, pa.concat_tables(parts), level=file.level))
            out.added += [lake.write(table, day, pa.concat_tables(held)) for table, held in words]
        out.words.clear()

    def _take(self, revised: Revised, day: dt.date, out: _Day) -> int:
        """Notes what came of a slice; gives how many rows changed."""
        at = np.flatnonzero(revised.changed)
        out.told.changed += len(at)
        out.told.words_read += revised.read
        out.told.from_journal += revised.sent
        out.told.columns += revised.columns
        if len(at):
            changed = revised.rows.select([name for name in COLUMNS if name != "date"]).take(pa.array(at))
            out.spans.append(changed.append_column("date", pa.array([day] * len(at), pa.date32())))
        out.contexts += revised.contexts
        for table, rows in revised.tables.items():
            out.words[table] += rows
        return len(at)

    def _privates(self, rows: pa.Table, day: dt.date) -> list[dict[str, Any] | None]:
        """The private object of each row, {} where it has none, None where it does not open."""
        places = [
            {"date": day, "tenant": tenant, "private_block": block.hex() if block else None, "private_offset": offset,
             "private_length": length}
            for tenant, block, offset, length in zip(
                *(rows[n].to_pylist() for n in ("tenant", "private_block", "private_offset", "private_length")),
                strict=True)
        ]  # fmt: skip
        opened = self._reader.private(places) if rows["private_block"].null_count < len(rows) else []
        if not opened:
            return [{} for _ in places]
        return [found or (None if place["private_block"] else {}) for found, place in zip(opened, places, strict=True)]

    def _logs(self, day: dt.date, contexts: pl.DataFrame, window: JournalWindow, out: _Day) -> None:
        """What log records of about this day, while the journal holds them, say of its calls that is not stored."""
        lake, stored = self._folding.lake, self._folding.parts.stored
        around = [(day + dt.timedelta(days=more)).isoformat() for more in (-1, 0, 1)]
        files = [file for file in lake.manifest.files_of("logs") if file.date in around]
        times = {at for file in files for at in read_rows(lake.data, file, ["received_time"])["received_time"]
                 .cast(pa.int64()).to_pylist()}  # fmt: skip
        entries = window.logs(times) if self._settings.content != "none" else []
        if not entries:
            return

        def said(spans: Sequence[Identity]) -> Mapping[Identity, Sequence[Side]]:
            wanted = pa.Table.from_pylist([dict(zip(_IDENTITY, span, strict=True)) for span in spans], _IDENTITIES)
            return said_of(_contexts_of(contexts, wanted))

        asked = StoredWords(partial(places, stored), partial(calls, stored), said)
        found = self._rereader.logs(day, entries, asked)
        out.contexts += found.contexts
        out.told.words_read += found.read
        held = [read_rows(lake.data, file) for file in lake.manifest.files_of("facts", day.isoformat())]
        out.facts = _new_facts(found.facts, held)
        out.told.facts_read += out.facts.num_rows if out.facts is not None else 0
        if not self._request.dry_run:
            parts = [*found.tables.items(), ("facts", [out.facts] if out.facts is not None else [])]
            out.added += [lake.write(table, day, pa.concat_tables(rows)) for table, rows in parts if rows]

    # ---- what follows ----------------------------------------------------------------------------------------------
    def _follow(self, day: dt.date, contexts: pl.DataFrame, out: _Day) -> None:
        """Decisions, links and rollups of the changed spans; then the commit."""
        folding, lake = self._folding, self._folding.lake
        spans, stored = pa.concat_tables(out.spans) if out.spans else _NO_SPANS, folding.parts.stored
        facts = pa.Table.from_batches([], FACTS) if out.facts is None else out.facts
        facts = facts.append_column("date", pa.array([day] * len(facts), pa.date32()))
        around = [day + dt.timedelta(days=more) for more in (-1, 0, 1)]
        traces = set(zip(spans["tenant"].to_pylist(), spans["trace_id"].to_pylist(), strict=True))
        traces |= set(zip(facts["tenant"].to_pylist(), facts["trace_id"].to_pylist(), strict=True))
        traces |= {(row["tenant"], row["trace_id"]) for row in out.contexts}
        traces |= stored.sharing(spans.filter(spans["is_candidate"]).select(["tenant", "response_id"]), around)
        turns = [*_contexts_of(contexts, spans), *out.contexts]
        deriver = Deriver(stored.traces, turns=_TURNS)
        if turns:
            earlier = tuple(file for file in lake.manifest.files if file.date <= around[-1].isoformat())
            deriver.recall(recent_turns(self._settings.data, replace(lake.manifest, files=earlier), _TURNS))
        derived = deriver.revise(stored.traces(sorted(traces)), spans, turns, lake.manifest.version + 1, facts=facts)
        assert derived.signed is not None
        signs = pl.DataFrame(derived.signed).group_by(_IDENTITY).agg(pl.col("sign").sum())["sign"]
        out.told.calls_gained += int((signs > 0).sum())
        out.told.calls_lost += int((signs < 0).sum())
        if self._request.dry_run:
            return
        for table, days in (derived.tables | {"rollup": folding.parts.roll_up(derived.signed)}).items():
            out.added += [lake.write(table, date, rows) for date, rows in days.items() if rows.num_rows]
        counters = {"calls": derived.calls, "renormalised": out.told.changed}
        lake.commit(out.added, removed=out.removed, counters=counters)
        folding.forget()
        folding.publish()


def _new_facts(found: Sequence[pa.Table], stored: Sequence[pa.Table]) -> pa.Table | None:
    """Those of these facts that are not stored so; one that changes takes the next revision."""
    if not found or not any(table.num_rows for table in found):
        return None
    fresh = pl.DataFrame(pa.concat_tables(found)).unique(_FACT, keep="last", maintain_order=True)
    held = pl.DataFrame(merged_rows("facts", pa.concat_tables(stored)) if stored else pa.Table.from_batches([], FACTS))
    both = fresh.join(held, on=_FACT, how="left", suffix="_held")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in FACT_COLUMNS)
    revision = pl.max_horizontal("revision", pl.col("revision_held") + 1)
    new = both.filter(~same).with_columns(revision=revision).select(FACTS.names)
    return new.to_arrow().cast(FACTS) if len(new) else None


def _with(contexts: pl.DataFrame, more: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The context rows that count once these are stored, too."""
    if not more:
        return contexts
    fresh = pa.Table.from_pylist([dict(row) for row in more], CONTEXTS)
    return pl.DataFrame(merged_rows("contexts", pa.concat_tables([contexts.to_arrow().cast(CONTEXTS), fresh])))


def _contexts_of(contexts: pl.DataFrame, spans: pa.Table) -> list[dict[str, Any]]:
    """The stored context rows of these spans that count."""
    return contexts.join(pl.DataFrame(spans.select(_IDENTITY)), on=_IDENTITY, how="semi").to_dicts()


def _slices(sizes: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows that are little enough to be held as objects. `sizes`: bytes of each row as it was sent."""
    start, held = 0, 0.0
    for row, size in enumerate(sizes.tolist()):
        if row > start and (row - start >= _SLICE or held + size > _SLICE_BYTES):
            yield start, row
            start, held = row, 0.0
        held += size
    if start < len(sizes):
        yield start, len(sizes)
