"""Log requests to rows of `logs`, and the content pieces in them to the join with their spans."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from spanfold.collector import decode
from spanfold.collector.facts import FactRows, of_logs
from spanfold.collector.log_join import LogJoin
from spanfold.collector.span_rows import Located, by_day, partition_days, private_columns
from spanfold.collector.turns import Turns
from spanfold.exporter.identity import Identities, IdentityRuns, record_identities
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.semconv import log_records, normalise, turns
from spanfold.semconv.detection import DIALECTS, Dialects
from spanfold.semconv.log_facts import log_facts
from spanfold.semconv.records import LogBatch
from spanfold.semconv.schema import LOGS
from spanfold.semconv.value_columns import binary_parts

if TYPE_CHECKING:
    from spanfold.collector.pipeline import Batch, Entry

HashKey = Callable[[str], bytes]  # tenant -> secret


@dataclass(frozen=True, slots=True)
class Meetings:
    """Where content in log records meets the spans that it belongs to."""

    join: LogJoin
    turns: Turns


@dataclass(slots=True)
class LogRows:
    """New log records of a chunk, on their way to rows. `table` has the columns of `LOGS`."""

    table: pa.Table
    days: NDArray[np.int64]
    private: dict[int, dict[str, Any]]
    identities: Identities
    counters: Counter[str]
    facts: FactRows | None = None  # what they state of calls
    private_ids: dict[int, bytes] = field(default_factory=dict)

    def day(self, row: int) -> dt.date:
        return EPOCH_DAY + dt.timedelta(days=int(self.days[row]))

    def finish(self, batch: Batch, located: Located) -> None:
        """Puts the rows into the batch, by day."""
        batch.tables["logs"].update(by_day(private_columns(self, located), self.days)[1])
        batch.identities["logs"].append(self.identities)
        batch.counters.update(self.counters)


def read(
    entries: Sequence[Entry], meetings: Meetings, runs: IdentityRuns, hash_key: HashKey, dialects: Dialects = DIALECTS
) -> LogRows:
    """Rows of the records that are not stored yet; their content pieces go to `meetings`."""
    source, hashes = _decode(entries, hash_key)
    pieces = normalise.normalise_logs(source, dialects)
    kept = log_records.keep_logs(source, pieces)
    _hand_over(meetings, entries, source, hashes, pieces, dialects)
    identities = record_identities(hashes)
    known, _ = runs.find(identities)
    fresh = np.zeros(len(known), np.bool_)
    fresh[np.unique(identities.low, return_index=True)[1]] = True
    fresh &= ~known
    at = np.flatnonzero(fresh)
    columns = dict(kept.columns)
    columns["log_id"] = pa.array([h.to_bytes(16, "little") for h in hashes], pa.binary(16))
    length = len(source.columns)
    table = pa.table([columns[f.name] if f.name in columns else pa.nulls(length, f.type) for f in LOGS], schema=LOGS)
    new_row = {int(old): new for new, old in enumerate(at)}
    stating, stated = log_facts(source, pieces, dialects)
    new = np.isin(stating, at)
    return LogRows(
        table=table.take(pa.array(at)), days=partition_days(table["time"])[at],
        private={new_row[row]: value for row, value in kept.private if row in new_row},
        identities=identities.take(at), counters=Counter(logs=len(at), duplicate_logs=length - len(at)),
        facts=of_logs(table.take(pa.array(stating[new])), stated.filter(pa.array(new))) if new.any() else None,
    )  # fmt: skip


def pieces_into(meetings: Meetings, entries: Sequence[Entry], hash_key: HashKey, dialects: Dialects = DIALECTS) -> None:
    """Only the pieces: for records whose rows are stored but whose content still waited."""
    if entries:
        source, hashes = _decode(entries, hash_key)
        pieces = normalise.normalise_logs(source, dialects)
        _hand_over(meetings, entries, source, hashes, pieces, dialects)


def _decode(entries: Sequence[Entry], hash_key: HashKey) -> tuple[LogBatch, list[int]]:
    source = decode.decode_logs([record for _, record in entries])
    return source, _hashes(source, hash_key)


def _hashes(source: LogBatch, hash_key: HashKey) -> list[int]:
    """One keyed 128-bit hash a record over everything in it but the time of observation."""
    columns = {
        n: source.columns[n].to_pylist() for n in ("trace_id", "span_id", "time_ns", "event_name", "body", "origin")
    }
    offsets, data = binary_parts(source.attributes.values)
    starts = np.searchsorted(source.attributes.rows, np.arange(len(source.columns) + 1))
    codes = source.attributes.codes
    keys = [xxhash.xxh3_64_digest(key.encode()) for key in source.attributes.keys]
    secrets = [hash_key(origin.tenant) for origin in source.origins]
    out = []
    for row, (trace, span, time, event, body, origin) in enumerate(zip(*columns.values(), strict=True)):
        first, last = int(starts[row]), int(starts[row + 1])
        digest = blake2b(digest_size=16, key=secrets[origin])
        for part in (trace, span, time.to_bytes(8, "little"), event.encode(), body or b""):
            digest.update(len(part).to_bytes(4, "little") + part)
        digest.update(b"".join(keys[code] for code in codes[first:last].tolist()))
        digest.update(data[offsets[first] : offsets[last]].tobytes())
        out.append(int.from_bytes(digest.digest(), "little"))
    return out


def _hand_over(
    meetings: Meetings,
    entries: Sequence[Entry],
    source: LogBatch,
    hashes: Sequence[int],
    pieces: Sequence[normalise.LogContent],
    dialects: Dialects,
) -> None:
    position = (entries[0][0].segment, entries[0][0].offset)
    tenants = [source.origins[at].tenant for at in source.columns["origin"].to_pylist()]
    for told in turns.turn_pieces(source, dialects):
        meetings.turns.piece(tenants[told.row], hashes[told.row].to_bytes(16, "little"), told, position)
    times = source.columns["time_ns"].to_pylist()
    observed = source.columns["observed_ns"].to_pylist()
    for piece in pieces:
        time = times[piece.row] or observed[piece.row]
        at = dt.datetime.fromtimestamp(min(time, 4_102_444_800 * 10**9) / 1e9, dt.UTC).replace(tzinfo=None)
        identity = hashes[piece.row].to_bytes(16, "little")
        meetings.join.log(tenants[piece.row], identity, piece, at, position)
