"""Errors that are not the fault of who asks: of files, and from within DuckDB.

After one from within, the whole instance is given up: every later statement on it fails, whoever asks. So what
holds an instance for long opens another one (`snapshots.Opened.reading`, `lookup.StoredSpans`); what opens one for each
use has to say only what happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from spanfold.analytics.errors import DatabaseFailed, FileUnreadable

GAVE_UP = (duckdb.InternalException, duckdb.FatalException)
_KINDS = {  # how the text of an error begins -> what it was
    "INTERRUPT": duckdb.InterruptException, "INTERNAL": duckdb.InternalException, "FATAL": duckdb.FatalException,
    "IO": duckdb.IOException, "Out of Memory": duckdb.OutOfMemoryException,
}  # fmt: skip


@contextmanager
def failure_told() -> Iterator[None]:
    """What DuckDB says then is about its own code and paths of this machine: people are told what to do instead."""
    try:
        yield
    except GAVE_UP as error:
        raise DatabaseFailed from error
    except duckdb.IOException as error:
        raise FileUnreadable from error


def batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches of a running query. Raises DuckDB's exceptions, of which pyarrow leaves the text only."""
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:
        text = str(error)
        raise _KINDS.get(text.partition(" Error:")[0], duckdb.Error)(text) from error
