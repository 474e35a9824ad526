"""Rows of `facts`: what log records, and content that came in them, state of calls."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.collector.span_rows import by_day, hours_of, partition_days
from spanfold.exporter.fold import Place
from spanfold.exporter.identity import Identities, trace_identities
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.semconv.schema import FACT_COLUMNS, FACTS

if TYPE_CHECKING:
    from spanfold.collector.pipeline import Batch

CONTENT = "content"  # fact_id of what follows from content that came in log records


@dataclass(slots=True)
class FactRows:
    """New facts of a chunk. `table` has the columns of `FACTS`; identifiers in clear stay with the log record."""

    table: pa.Table
    days: NDArray[np.int64]
    private: dict[int, dict[str, Any]] = field(default_factory=dict)
    private_ids: dict[int, bytes] = field(default_factory=dict)

    def day(self, row: int) -> dt.date:
        return EPOCH_DAY + dt.timedelta(days=int(self.days[row]))

    def finish(self, batch: Batch) -> None:
        """Puts the rows into the batch, by day, with a mark of each trace, so that its spans find them."""
        table, parts = by_day(self.table, self.days)
        for date, rows in parts:  # beside those of another source
            held = batch.tables["facts"].get(date)
            batch.tables["facts"][date] = rows if held is None else pa.concat_tables([held, rows])
        dates = np.sort(self.days).astype(np.int32)
        batch.facts.append(table.append_column("date", pa.array(dates, pa.int32()).cast(pa.date32())))
        traces = list(zip(table["tenant"].to_pylist(), table["trace_id"].to_pylist(), strict=True))
        marks = trace_identities(traces)
        starts = table["time"].cast(pa.int64()).to_numpy().astype(np.uint64) * np.uint64(1000)
        batch.identities["spans"].append(Identities(marks.low, marks.high, hours_of(starts)))


def of_logs(rows: pa.Table, facts: pa.Table) -> FactRows:
    """`rows`: the columns of `LOGS` of the records that state `facts` (FACT_COLUMNS), row by row."""
    columns = {name: rows[name] for name in ("tenant", "trace_id", "span_id", "time", "service_name", "scope_name")}
    columns["fact_id"] = pa.array([record.hex() for record in rows["log_id"].to_pylist()], pa.string())
    columns["revision"] = pa.array(np.zeros(len(rows), np.int64))
    columns |= {name: facts[name] for name in FACT_COLUMNS}
    table = pa.table([columns[name] for name in FACTS.names], schema=FACTS)
    return FactRows(table, partition_days(table["time"]))


def of_content(found: Iterable[tuple[Place, int, str]]) -> FactRows | None:
    """(call, revision, prompt fingerprint) of content that came in log records."""
    rows: Sequence[dict[str, Any]] = [
        {
            "tenant": place.tenant, "trace_id": place.trace_id, "span_id": place.span_id, "fact_id": CONTENT,
            "revision": revision, "time": place.start_time, "service_name": place.service,
            "prompt_fingerprint": fingerprint,
        }
        for place, revision, fingerprint in found
    ]  # fmt: skip
    if not rows:
        return None
    table = pa.Table.from_pylist(list(rows), schema=FACTS)
    return FactRows(table, partition_days(table["time"]))
