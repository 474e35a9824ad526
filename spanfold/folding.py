"""The fold process: tail the journal, fold, derive, commit, publish. One loop, one writer.

Everything it knows besides the lake is memory that may be lost: after a crash it starts at the manifest's journal
position, and what it does again changes nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from spanfold import stored_calls
from spanfold.analytics.derive import Deriver
from spanfold.analytics.lookup import StoredSpans
from spanfold.analytics.recall import recent_turns
from spanfold.analytics.rollup import RollUp
from spanfold.chunks import Chunks
from spanfold.collector.dead_letters import DeadLetters
from spanfold.collector.journal_reader import trim
from spanfold.collector.noise import Noise, read_rules
from spanfold.collector.pipeline import Batch, Entry, Pipeline
from spanfold.collector.quality import quality_tables
from spanfold.collector.segments import Position
from spanfold.exporter.durable import write_for_readers
from spanfold.exporter.identity import Identities, IdentityRuns
from spanfold.exporter.identity_rebuild import KINDS, open_runs, renew_runs
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import Lake
from spanfold.exporter.manifest import Manifest
from spanfold.exporter.redact import Redactor
from spanfold.merging import Merging
from spanfold.prices_in_force import PricesInForce
from spanfold.publishing import Publishing
from spanfold.requests import Requests
from spanfold.rules_in_force import RulesInForce
from spanfold.semconv import dialect_files
from spanfold.semconv.detection import Dialects
from spanfold.settings import Settings
from spanfold.state.store import StateStore

TURNS = 100_000  # latest calls that a new call may be found to continue


@dataclass(frozen=True, slots=True)
class Parts:
    """What rewriting stored rows needs, on the thread that folds and after `Folding.settle`."""

    keyring: Keyring
    redactor: Callable[[str], Redactor]
    dialects: Dialects
    stored: StoredSpans
    roll_up: RollUp


class Folding:
    """Owns the lake's writer lock and all that is remembered between chunks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.lake = Lake(settings.data)
        self._committer = ThreadPoolExecutor(1)
        self._committing: Future[None] | None = None  # at most one; nothing else may commit until it is done
        self._publishing: Future[None] | None = None  # of what it commits, behind it
        self._keyring = Keyring.open(settings.data)
        self._state = StateStore.open(settings.data)
        self._prices = PricesInForce(
            self.lake, self._state, settings.data / "spanfold.duckdb", self.settle, self.publish, self.quarantine
        )
        self._dialect_files = dialect_files.signature(settings.dialects_folder)
        self._loaded = dialect_files.load_dialects(settings.dialects_folder)
        self._stored = StoredSpans(
            settings.data, lambda traces: self._pipeline.runs["spans"].hours(traces), self._without_damaged
        )
        self._dead = DeadLetters(settings.data, self._keyring)
        self._chunks = Chunks(settings.data, self._keyring, self._dead, settings.chunk_bytes)
        self._deriver = Deriver(self._stored.traces, turns=TURNS)
        self._deriver.recall(self._recent_turns())
        self._published = Publishing(settings.data, self._prices.roll_up)
        runs = open_runs(self.lake)
        self._rules = RulesInForce(self._state, self._keyring, enabled=settings.redaction_enabled)
        self._pipeline = Pipeline(
            self._keyring, settings.content, self._rules.redactor, runs, partial(stored_calls.places, self._stored),
            partial(stored_calls.calls, self._stored), self._set_aside,
            quiet_seconds=settings.quiet_seconds, noise=Noise(read_rules(settings.drop_spans)),
            dialects=self._loaded.dialects,
        )  # fmt: skip
        self.retention_held: str | None = None  # what retention does not do unasked
        self.behind = False  # does more wait than is folded at once?
        self._position = Position(*self.lake.manifest.journal)
        self._merging = Merging(self.lake, self._keyring, settings.content, self._settle_commit, self.quarantine)
        self.requests = Requests(settings.data)
        self._relearn()

    @property
    def position(self) -> Position:
        """Everything before it is folded, and after `settle` committed."""
        return self._position

    @property
    def published_as(self) -> str | None:
        """Name of the newest snapshot."""
        return self._published.newest

    @property
    def searches(self) -> bool:
        """Is what ended a process being read again, piece by piece?"""
        return self._chunks.searches(self._position)

    @property
    def doubts(self) -> bool:
        """Did a process end on what comes next?"""
        return self._chunks.doubts(self._position)

    @property
    def parts(self) -> Parts:
        """The parts in force now; the stored spans are those of the newest manifest."""
        self._stored.manifest = self.lake.manifest
        return Parts(self._keyring, self._rules.redactor, self._loaded.dialects, self._stored, self._prices.roll_up)

    def settle(self) -> None:
        """Waits for the commit and the merge that are under way."""
        self._settle_commit()
        self._merging.settle()

    def forget(self) -> None:
        """Drops the memory of what was stored, after somebody changed that."""
        self._pipeline.forget()
        self._deriver = Deriver(self._stored.traces, turns=TURNS)
        self._deriver.recall(self._recent_turns())

    def forget_words(self) -> None:
        """Drops what is known of words: days that held them may hold them no longer."""
        self._pipeline.forget_words()

    def _recent_turns(self) -> Any:
        try:
            return recent_turns(self._settings.data, self.lake.manifest, TURNS)
        except duckdb.Error:  # of a file that cannot be read
            if self._without_damaged() is None:
                raise
            return recent_turns(self._settings.data, self.lake.manifest, TURNS)

    # ---- one step ------------------------------------------------------------------------------------------------
    def step(self, *, flush: bool = False) -> bool:
        """Folds what the journal holds now, up to one chunk. Says whether there was anything. `flush`: content that
        waits for its span waits no longer."""
        chunk = self._chunks.next(self._position)
        entries, after = chunk.entries, chunk.after
        request = self.requests.get("flush")
        asked = request is not None and after >= Position(*request["position"])
        flushing = flush or asked
        if flushing or any(record.signal != "traces" for _, record in entries):
            self._settle_commit()  # log records look for their spans in the lake
        self._stored.manifest = self.lake.manifest
        batch = self._pipeline.fold(
            entries, flush=flushing, decoded=chunk.spans, again=partial(self._chunks.again, chunk, self._position)
        )
        if after != self._position or batch.contexts or batch.facts:
            self._begin_commit(batch, after)
        self._position = after
        # The first chunk of a process is published, and so committed, at once; what is doubted is committed: each start
        # gets further, up to the record that ended the process before.
        self.behind = self._chunks.is_full(chunk)
        backlog, due = self.searches or self.behind, self._published.is_due
        if asked or not backlog or self._published.version < 0 or (due and chunk.doubted):
            self.publish()
        elif due:
            self._publish_behind()
        elif chunk.doubted:
            self._settle_commit()
        if request is not None and asked:
            self.requests.done("flush", request)
        self._write_status(idle=not entries)
        return bool(entries)

    def _begin_commit(self, batch: Batch, after: Position) -> None:
        """Derives, then writes and commits in another thread, so that the next chunk is folded meanwhile. Chunks commit
        in their order; what a crash leaves uncommitted is folded again."""
        self._settle_commit()
        self._stored.manifest = self.lake.manifest
        version, signed = self.lake.manifest.version + 1, None
        if batch.spans or batch.contexts or batch.facts:
            spans, facts = (pa.concat_tables(parts) if parts else None for parts in (batch.spans, batch.facts))
            derived = self._deriver.update(spans, batch.contexts, batch.traces_before, version, facts=facts)
            for table, days in derived.tables.items():
                batch.tables[table] = days
            batch.counters["calls"] += derived.calls
            signed = derived.signed
        batch.tables["quality"] = quality_tables(batch.quality)
        runs, merged = self._add_identities(batch, version)
        self._pipeline.runs = runs
        pending = self._pipeline.pending() or after
        self._committing = self._committer.submit(self._commit, batch, signed, runs, merged, after, pending)

    def _commit(
        self, batch: Batch, signed: pa.Table | None, runs: dict[str, IdentityRuns], merged: list[str],
        after: Position, pending: Position,
    ) -> None:  # fmt: skip
        if signed is not None:
            batch.tables["rollup"] = self._prices.roll_up(signed)
        files = self.lake.write_many(
            [(table, day, rows) for table, days in batch.tables.items() for day, rows in days.items() if rows.num_rows]
        )
        self.lake.commit(
            files, removed=merged, journal=(after.segment, after.offset), pending=(pending.segment, pending.offset),
            runs={kind: tuple(run.paths) for kind, run in runs.items()}, counters=batch.counters,
            priced_by=self._prices.first_name,
        )  # fmt: skip

    def _settle_commit(self) -> None:
        """Waits for the commit that is under way, and for what publishes it. Raises what they raised, except for a file
        that cannot be read: then it publishes without it."""
        if self._committing is not None:
            committing, self._committing = self._committing, None
            committing.result()
        if self._publishing is not None:
            publishing, self._publishing = self._publishing, None
            try:
                publishing.result()
            except duckdb.Error:  # of a file that cannot be read
                self.publish()

    def _add_identities(self, batch: Batch, version: int) -> tuple[dict[str, IdentityRuns], list[str]]:
        """(runs with the identities of this batch, run files that were merged away)."""
        runs, merged = dict(self._pipeline.runs), []
        for kind, parts in batch.identities.items():
            fresh = _distinct(Identities.concat(parts), runs[kind])
            runs[kind], gone = runs[kind].add(fresh, f"{kind}-{version:08d}")
            merged += gone
        return runs, merged

    def publish(self, *, again: bool = False) -> None:
        """Makes the newest manifest readable, unless it is already (`again`: even then)."""
        self._settle_commit()
        copies = self._state.copies()
        try:
            self._published.publish(self.lake.manifest, self._prices.book, copies, again=again)
        except duckdb.Error:  # of a file that cannot be read
            if self._without_damaged() is None:
                raise
            self._published.publish(self.lake.manifest, self._prices.book, copies, again=again)

    def _publish_behind(self) -> None:
        """Publishes what is being committed as soon as it is, while the next chunk is folded."""
        book, copies = self._prices.book, self._state.copies()
        self._publishing = self._committer.submit(lambda: self._published.publish(self.lake.manifest, book, copies))

    # ---- housekeeping ---------------------------------------------------------------------------------------------
    def merge_some(self) -> None:
        """Merges small files beside the folding, one group at a time."""
        self._merging.merge_some()

    def compact_everything(self) -> None:
        """Every table and day into as few files as may be, words repacked."""
        self._merging.merge_everything()

    def quarantine(self, paths: Iterable[str] = ()) -> bool:
        """Sets those of these files aside that are damaged; what was computed from lost ones is computed again."""
        self.settle()
        self.lake.quarantine(paths)
        lost, self.lake.lost = self.lake.lost, set()
        if kinds := [kind for kind in KINDS if kind in lost]:  # what was lost may be sent again
            self.renew_runs(kinds)
        if not self._prices.rollups_fit:
            self.rebuild_rollups()
        elif lost:
            self.publish()
        return bool(lost)

    def _without_damaged(self) -> Manifest | None:
        """For who cannot read a file: the manifest without those that are damaged; None if all are as they were."""
        self._settle_commit()
        found = self.lake.quarantine(file.path for file in self.lake.manifest.files)
        return self.lake.manifest if found else None

    def renew_runs(self, kinds: Sequence[str]) -> None:
        """Builds the identities of these kinds again from what is stored."""
        self._pipeline.runs = renew_runs(self.lake, kinds)

    def compact_if_asked(self) -> None:
        """Answers `spanfold compact --all`."""
        request = self.requests.get("compact")
        if request is not None:
            self.compact_everything()
            self.publish()
            self.answer("compact", request)

    def trim_journal(self) -> None:
        """Forgets journal segments that are folded for good and older than the window."""
        window = self._settings.journal_window_seconds, self._settings.journal_window_bytes
        trim(self._settings.data / "journal", Position(*self.lake.replay_from), *window)

    def close_expired(self) -> None:
        """Tokens, sessions and keys that are over their time open nothing from now on, whatever clocks say."""
        self._state.close_expired()

    def refresh_dialects(self) -> bool:
        """Takes over changed dialect files; what comes from now on is read by them."""
        folder = self._settings.dialects_folder
        found = dialect_files.signature(folder)
        if found == self._dialect_files:
            return False
        self._dialect_files, self._loaded = found, dialect_files.load_dialects(folder)
        self._pipeline.dialects = self._loaded.dialects
        return True

    def refresh_rules(self) -> None:
        """Takes over changed redaction rules."""
        if self._rules.refresh():
            self._pipeline.forget_words()

    def refresh_prices(self) -> bool:
        """Takes over changed prices."""
        return self._prices.refresh()

    def rebuild_rollups(self) -> None:
        """Computes every rollup row from the stored calls."""
        self._prices.rebuild()

    def close(self) -> None:
        self._chunks.close()
        self._committer.shutdown()
        self._merging.close()
        self._published.close()
        self._state.close()
        self.lake.close()

    # ---- what the stages ask for ------------------------------------------------------------------------------------
    def _set_aside(self, entry: Entry, error: Exception) -> None:
        self._dead.put(*entry, error)

    # ---- beginnings --------------------------------------------------------------------------------------------
    def _relearn(self) -> None:
        """Log content that still waited for its span when the last process ended."""
        at = Position(*self.lake.manifest.pending)
        while at < self._position:
            chunk = self._chunks.read(at)
            self._pipeline.relearn([entry for entry in chunk.entries if entry[0] < self._position])
            if chunk.after == at:
                break
            at = chunk.after

    def answer(self, name: str, request: Mapping[str, Any]) -> None:
        """Tells who asked that it is done."""
        self.requests.done(name, request)
        self._write_status(idle=True)

    def _write_status(self, *, idle: bool) -> None:
        manifest = self.lake.manifest
        status = {
            "pid": os.getpid(),
            "time_ns": time.time_ns(),
            "journal": list(manifest.journal),
            "manifest": manifest.version,
            "snapshot": self._published.version,
            **self.requests.answered,
            "counters": dict(manifest.counters),
            "files": len(manifest.files),
            "dialects": {
                "own": dict(self._loaded.own),
                "switched_off": list(self._loaded.switched_off),
                "refused": [str(refusal) for refusal in self._loaded.refused],
            },
            "rules": self._rules.told(),
            "retention_held": self.retention_held,
            "dead_letters": len(self._dead.names()),
            "idle": idle,
            "behind": self.behind,
        }
        write_for_readers(self._settings.data / "run" / "folder.json", json.dumps(status).encode())


def _distinct(fresh: Identities, runs: IdentityRuns) -> Identities:
    """Leaves out what the runs hold already (the marks of traces come again with every chunk of the same hour)."""
    known, same = runs.find(fresh)
    return fresh.take(~(known & same))
