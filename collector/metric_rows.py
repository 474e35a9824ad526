"""Metric requests to rows of `metrics`: aggregates are kept as facts of their own, never merged into a span's cost."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.collector.span_rows import Located, partition_days
from spanfold.exporter.identity import Identities, IdentityRuns, record_identities
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.semconv import metric_points

if TYPE_CHECKING:
    from spanfold.collector.pipeline import Batch, Entry


@dataclass(slots=True)
class MetricRows:
    """New points of a chunk: `table` has the columns of `METRICS`."""

    table: pa.Table
    days: NDArray[np.int64]
    identities: Identities
    counters: Counter[str]

    def finish(self, batch: Batch, located: Located) -> None:
        """Puts the rows into the batch, by day. Points hold nothing private."""
        for day in np.unique(self.days).tolist():
            date = EPOCH_DAY + dt.timedelta(days=int(day))
            batch.tables["metrics"][date] = self.table.filter(pa.array(self.days == day))
        batch.identities["metrics"].append(self.identities)
        batch.counters.update(self.counters)


def read(entries: Sequence[Entry], runs: IdentityRuns) -> MetricRows:
    """Points that are not stored yet."""
    table = metric_points.metric_table([record for _, record in entries])
    identities = record_identities(int.from_bytes(i, "little") for i in table["point_id"].to_pylist())
    known, _ = runs.find(identities)
    fresh = np.zeros(len(known), np.bool_)
    fresh[np.unique(identities.low, return_index=True)[1]] = True
    at = np.flatnonzero(fresh & ~known)
    return MetricRows(
        table=table.take(pa.array(at)), days=partition_days(table["time"])[at], identities=identities.take(at),
        counters=Counter(metrics=len(at), duplicate_metrics=len(table) - len(at)),
    )  # fmt: skip
