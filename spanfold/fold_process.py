"""The fold process around `folding.py`: one loop, memory that suits chunks of many megabytes, a rehearsal at the start.

Freed memory is kept for the next chunk and cycles are looked for only when there is time (together a sixth of the CPU
under load); both are given back once the journal is folded.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import gc
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path

import polars as pl
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanfold.analytics.derive import Deriver
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.rollup import RollUp
from spanfold.care import Care
from spanfold.collector.pipeline import Pipeline
from spanfold.collector.segments import JournalRecord, Position
from spanfold.erasing import erase_if_asked
from spanfold.exporter.identity import IdentityRuns
from spanfold.exporter.identity_rebuild import KINDS
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import Lake
from spanfold.exporter.redact import Redactor
from spanfold.exporter.redaction_rules import BUILT_IN
from spanfold.folding import Folding
from spanfold.renormalising import renormalise_if_asked
from spanfold.retaining import Retention
from spanfold.settings import Settings

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # mallopt(3)
_ARENAS = 2  # more, and what one thread freed is not there for another; one, and threads wait for each other
_MB = 1 << 20
_TIDY_SECONDS = 60.0  # between looks for cycles while there is nothing to fold
_TIDY_AT_LAST = 900.0  # between looks for cycles whatever there is to fold


def run(settings: Settings, stop: threading.Event, its_turn: Callable[[float], bool] | None = None) -> None:
    """Folds until told to stop. Whatever goes wrong ends the process; the supervisor starts it again. With `its_turn`
    it is on standby before that, ready, without a lock or a file of the data directory, until that says so (it is
    given the seconds to wait)."""
    sys.meta_path.insert(0, _WithoutPandas())
    _keep_freed_memory()
    gc.disable()
    rehearsed = False
    if its_turn is not None and not its_turn(0):
        _rehearse_if_room()
        _tidy()
        rehearsed = True
        while not its_turn(0.5):
            if stop.is_set():
                return
    folding = Folding(settings)
    care, retention = Care(folding, settings.data), Retention(folding, settings)
    try:
        care.begin()
        # What waits is safe in the lake before readers get a new snapshot. A record that may be blamed for a kill is
        # not folded by a process that has all to do for the first time.
        if rehearsed:
            folding.step()
        elif folding.doubts or not folding.step():
            _rehearse_if_room()
        folding.publish()
        kept_at = tidied = time.monotonic()
        dirty = False
        while not stop.is_set():
            began = time.monotonic()
            folding.refresh_rules()
            folded = folding.step()
            folding.merge_some()
            folding.compact_if_asked()
            erase_if_asked(folding, settings)
            renormalise_if_asked(folding, settings)
            care.look()
            if began - kept_at > 10:
                _keep_house(folding, retention)
                kept_at = began
            dirty |= folded
            if dirty and began - tidied > (_TIDY_AT_LAST if folded else _TIDY_SECONDS):
                _tidy()
                tidied, dirty = began, False
            if not (folded and (folding.behind or folding.searches)):  # else what waits behind small pieces grows old
                stop.wait(max(0.0, settings.fold_interval_seconds - (time.monotonic() - began)))
    finally:
        care.close()
        folding.close()


def fold_to_end(settings: Settings) -> None:
    """Folds everything that was accepted, in this process. Raises LakeLocked while another one folds."""
    with prepared(settings) as folding:
        while folding.step():
            continue
        folding.publish()
        folding.refresh_prices()


def compact_all(settings: Settings) -> None:
    """Compacts everything now. Raises LakeLocked while another process folds."""
    with prepared(settings) as folding:
        folding.compact_everything()


def set_aside(settings: Settings, paths: Sequence[str]) -> None:
    """Takes the damaged ones of these files out of the lake. Raises LakeLocked while another process folds."""
    with prepared(settings, paths):
        pass


def retain_all(settings: Settings) -> None:
    """Drops and thins everything that is over its time. Raises LakeLocked while another process folds."""
    with prepared(settings) as folding:
        Retention(folding, settings).work(confirmed=True)


@contextmanager
def prepared(settings: Settings, doubtful: Sequence[str] = ()) -> Iterator[Folding]:
    """A folding whose files were looked at, and that publishes at its end."""
    folding = Folding(settings)
    care = Care(folding, settings.data)
    try:
        care.begin(doubtful)
        yield folding
        care.look()
        folding.publish()
    finally:
        care.close()
        folding.close()


def _keep_house(folding: Folding, retention: Retention) -> None:
    folding.trim_journal()
    retention.look()
    folding.refresh_dialects()
    folding.refresh_prices()


def _rehearse_if_room() -> None:
    with contextlib.suppress(OSError):  # no room for it: the first span takes a second longer
        rehearse()


def rehearse() -> None:
    """Folds one span into a directory that is thrown away: what is imported, compiled and built at the first use is
    there before the first span comes."""
    day = dt.datetime.now(dt.UTC)
    with tempfile.TemporaryDirectory(prefix="spanfold-") as name:
        data = Path(name)
        keyring, lake, roll_up = Keyring.open(data), Lake(data), RollUp(PriceBook.load(()))
        runs = {kind: IdentityRuns(data, ()) for kind in KINDS}
        pipeline = Pipeline(
            keyring, "encrypted", lambda tenant: Redactor(BUILT_IN, hash_key=keyring.hash_key(tenant, "identifier")),
            runs, lambda keys: {}, lambda traces: [], lambda entry, error: None, quiet_seconds=0,
        )  # fmt: skip
        record = JournalRecord("traces", "default", None, time.time_ns(), _one_call(day))
        batch = pipeline.fold([(Position(0, 0), record)], flush=True)
        derived = Deriver(lambda traces: pl.DataFrame()).update(pa.concat_tables(batch.spans), batch.contexts, set(), 1)
        batch.tables |= derived.tables
        if derived.signed is not None:
            batch.tables["rollup"] = roll_up(derived.signed)
        parts = [(table, day, rows) for table, days in batch.tables.items() for day, rows in days.items()]
        lake.commit(lake.write_many(parts))
        lake.close()


def _one_call(at: dt.datetime) -> bytes:
    """A trace request with one call, words included."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "rehearsal"
    start = int(at.timestamp()) * 1_000_000_000
    span = scope.spans.add(
        trace_id=b"\1" * 16, span_id=b"\1" * 8, name="chat", start_time_unix_nano=start, end_time_unix_nano=start + 1
    )
    said = '[{"role": "user", "parts": [{"type": "text", "content": "Write to someone@example.com"}]}]'
    texts = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
             "gen_ai.input.messages": said, "gen_ai.output.messages": said}  # fmt: skip
    for key, text in texts.items():
        span.attributes.add(key=key).value.string_value = text
    span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 1
    body: bytes = request.SerializeToString()
    return body


class _WithoutPandas(MetaPathFinder):
    """pyarrow imports pandas at its first array where it is installed: 0.3 s of every start, for nothing."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def _keep_freed_memory() -> None:
    """Buffers of a chunk are mapped once and used again, instead of being given to the system and fetched page by page
    for the next chunk. Nothing happens where the C library has no mallopt."""
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in (
        (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 1024 * _MB), (_M_TOP_PAD, 64 * _MB), (_M_ARENA_MAX, _ARENAS)
    ):  # fmt: skip
        mallopt(parameter, value)


def _tidy() -> None:
    """Frees cycles, and gives memory that is free back to the system."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
