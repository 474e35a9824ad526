"""Builds the runs of identities again from the rows that are stored, file by file: memory is bounded by a file.

The digest that tells a changed span from a resent one is not stored with the rows; `UNKNOWN_DIGEST` stands for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.exporter.errors import FileDamaged, RunDamaged
from spanfold.exporter.identity import (
    ANY_HOUR,
    UNKNOWN_DIGEST,
    Identities,
    IdentityRuns,
    problem_of_run,
    span_identities,
    tenant_hash,
)
from spanfold.exporter.lake import EPOCH_DAY, Lake, read_table
from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.exporter.quarantine import set_aside

KINDS = ("spans", "logs", "metrics")  # what has identities
_ID_COLUMN = {"logs": "log_id", "metrics": "point_id"}
_HOUR_US = 3_600_000_000


def open_runs(lake: Lake) -> dict[str, IdentityRuns]:
    """The runs of the newest manifest; of a kind with a run that is missing or torn, all are built again."""
    runs, torn = {}, []
    for kind in KINDS:
        try:
            runs[kind] = IdentityRuns(lake.data, lake.manifest.runs.get(kind, ()))
        except RunDamaged:
            torn.append(kind)
    return runs | renew_runs(lake, torn) if torn else runs


def renew_runs(lake: Lake, kinds: Sequence[str]) -> dict[str, IdentityRuns]:
    """Builds the runs of these kinds again, in a commit of their own; what is damaged of the old ones is set aside.
    Gives the runs of all kinds."""
    old = [path for kind in kinds for path in lake.manifest.runs.get(kind, ())]
    problems = {path: problem for path in old if (problem := problem_of_run(lake.data / path))}
    paths = dict(lake.manifest.runs) | {kind: tuple(rebuild(lake.data, lake.manifest, kind).paths) for kind in kinds}
    lake.commit([], removed=old, runs=paths)
    for path, problem in problems.items():
        set_aside(lake.data, lake.data / path, f"{problem}; it was built again from the stored rows")
    return {kind: IdentityRuns(lake.data, paths.get(kind, ())) for kind in KINDS}


def rebuild(data: Path, manifest: Manifest, kind: str) -> IdentityRuns:
    """The identities of all stored rows of a kind (spans, logs, metrics), in new files that no manifest names yet."""
    runs = IdentityRuns(data, [])
    for number, file in enumerate(manifest.files_of(kind)):
        try:
            found = _of_spans(data, file) if kind == "spans" else _of_records(data, file, _ID_COLUMN[kind])
        except FileDamaged:  # it is set aside by those who look after files
            continue
        runs, _ = runs.add(found, f"{kind}-{manifest.version:08d}-again-{number:06d}")
    return runs


def _of_spans(data: Path, file: FileEntry) -> Identities:
    """Identities of the spans of a file, and the marks of their traces."""
    rows = read_table(data, file, ["tenant", "trace_id", "span_id", "start_time"])
    ids = np.zeros((rows.num_rows, 24), np.uint8)
    ids[:, :16], ids[:, 16:] = _from_hex(rows["trace_id"], 16), _from_hex(rows["span_id"], 8)
    tenants = rows["tenant"].combine_chunks().dictionary_encode()
    owner = np.array([tenant_hash(name) for name in tenants.dictionary.to_pylist()], np.uint64)[
        tenants.indices.to_numpy()
    ]
    spans = span_identities(owner, ids, np.full(rows.num_rows, UNKNOWN_DIGEST, np.uint64))
    hours = np.full(rows.num_rows, ANY_HOUR, np.uint64)
    if dt.date.fromisoformat(file.date) != EPOCH_DAY:
        hours = (rows["start_time"].cast(pa.int64()).to_numpy() // _HOUR_US).astype(np.uint64)
    ids[:, 16:] = 0
    marks = span_identities(owner, ids, hours)
    order = np.lexsort((marks.digest, marks.high, marks.low))
    marks = marks.take(order)
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(marks.low) != 0) | (np.diff(marks.high) != 0) | (np.diff(marks.digest) != 0)
    return Identities.concat([spans, marks.take(first)])


def _of_records(data: Path, file: FileEntry, column: str) -> Identities:
    raw = b"".join(read_table(data, file, [column])[column].to_pylist())
    words = np.frombuffer(raw, "<u8").reshape(-1, 2)
    return Identities(words[:, 0].copy(), words[:, 1].copy(), np.zeros(len(words), np.uint64))


def _from_hex(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    """Ids in hex as (n, width) bytes."""
    return np.frombuffer(bytes.fromhex("".join(column.to_pylist())), np.uint8).reshape(-1, width)
