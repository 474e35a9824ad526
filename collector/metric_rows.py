"""Metric requests to rows of `metrics`: aggregates are kept as facts of their own, never merged into a span's cost."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.collector.span_rows import Located, by_day, partition_days, private_columns
from spanfold.exporter.identity import Identities, IdentityRuns, record_identities
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.semconv import metric_points
from spanfold.semconv.schema import METRICS

if TYPE_CHECKING:
    from spanfold.collector.pipeline import Batch, Entry


@dataclass(slots=True)
class MetricRows:
    """New points of a chunk: `table` has the columns of `METRICS`."""

    table: pa.Table
    days: NDArray[np.int64]
    private: dict[int, dict[str, Any]]
    identities: Identities
    counters: Counter[str]
    private_ids: dict[int, bytes] = field(default_factory=dict)

    def day(self, row: int) -> dt.date:
        return EPOCH_DAY + dt.timedelta(days=int(self.days[row]))

    def finish(self, batch: Batch, located: Located) -> None:
        """Puts the rows into the batch, by day."""
        batch.tables["metrics"].update(by_day(private_columns(self, located), self.days)[1])
        batch.identities["metrics"].append(self.identities)
        batch.counters.update(self.counters)


def read(entries: Sequence[Entry], runs: IdentityRuns) -> MetricRows:
    """Points that are not stored yet."""
    kept = metric_points.keep_metrics([record for _, record in entries])
    columns, ids = kept.columns, kept.columns["point_id"].to_pylist()
    table = pa.table([columns.get(f.name, pa.nulls(len(ids), f.type)) for f in METRICS], schema=METRICS)
    identities = record_identities(int.from_bytes(i, "little") for i in ids)
    known, _ = runs.find(identities)
    fresh = np.zeros(len(known), np.bool_)
    fresh[np.unique(identities.low, return_index=True)[1]] = True
    at = np.flatnonzero(fresh & ~known)
    new_row = {int(old): new for new, old in enumerate(at)}
    return MetricRows(
        table=table.take(pa.array(at)), days=partition_days(table["time"])[at], identities=identities.take(at),
        private={new_row[row]: value for row, value in kept.private if row in new_row},
        counters=Counter(metrics=len(at), duplicate_metrics=len(table) - len(at)),
    )  # fmt: skip
