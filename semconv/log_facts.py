"""What log records state of a call besides its words: models, token counts, finish reasons, who asked.

Such a record is read by the same rules as a span (`Dialect.facts` names the records). Whose call it tells of is decided
where whole traces are seen (analytics/suppression.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.semconv.detection import DIALECTS, Dialects
from spanfold.semconv.events import LogContent
from spanfold.semconv.log_content import event_names
from spanfold.semconv.normalise import normalise_facts
from spanfold.semconv.records import AttributeColumns, LogBatch, SpanBatch
from spanfold.semconv.schema import FACT_COLUMNS, FACTS
from spanfold.semconv.value_columns import Rows


def log_facts(batch: LogBatch, pieces: Sequence[LogContent], dialects: Dialects = DIALECTS) -> tuple[Rows, pa.Table]:
    """(rows of the batch that state something, FACT_COLUMNS of each). Records of no trace are left out."""
    finish = {piece.row: piece.finish for piece in pieces if piece.finish}
    known = dialects.fact_scopes
    scopes = [origin.scope_name for origin in batch.origins]
    origin = batch.columns["origin"].to_pylist()
    traced = pc.greater(pc.binary_length(batch.columns["trace_id"]), 0).to_pylist()
    rows = np.array(
        [
            row
            for row, name in enumerate(event_names(batch, dialects))
            if traced[row] and (row in finish or (name in known and _fits(scopes[origin[row]], known[name or ""])))
        ],
        np.int64,
    )
    if not len(rows):
        return rows, FACTS.empty_table().select(FACT_COLUMNS)
    fields = normalise_facts(_as_spans(batch, rows), dialects)
    said = [finish.get(row) for row in rows.tolist()]
    fields["finish_reasons"] = pc.coalesce(fields["finish_reasons"], pa.array(said, fields["finish_reasons"].type))
    table = pa.table(
        [fields[n].cast(FACTS.field(n).type) if n in fields else pa.nulls(len(rows), FACTS.field(n).type)
         for n in FACT_COLUMNS],
        names=list(FACT_COLUMNS),
    )  # fmt: skip
    states = np.logical_or.reduce([np.asarray(column.combine_chunks().is_valid()) for column in table.columns])
    return rows[states], table.filter(pa.array(states))


def _fits(scope: str, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(scope, glob) for glob in globs)


def _as_spans(batch: LogBatch, rows: Rows) -> SpanBatch:
    """These records in the columns that reading a span's attributes needs."""
    columns, count = batch.columns.take(pa.array(rows)), len(rows)
    time = np.asarray(columns["time_ns"].combine_chunks())
    spans = pa.table(
        {
            "name": pc.fill_null(columns["event_name"].cast(pa.string()), ""),
            "start_ns": pa.array(np.where(time == 0, np.asarray(columns["observed_ns"].combine_chunks()), time)),
            "events": pa.array([[]] * count, pa.list_(pa.binary())),
            "dropped_attributes": columns["dropped_attributes"],
            "origin": columns["origin"],
        }
    )
    return SpanBatch(columns=spans, attributes=_of_rows(batch.attributes, rows), origins=batch.origins)


def _of_rows(attributes: AttributeColumns, rows: Rows) -> AttributeColumns:
    place = np.full(attributes.length, -1, np.int64)
    place[rows] = np.arange(len(rows))
    kept = place[attributes.rows] >= 0
    return AttributeColumns(
        length=len(rows), keys=attributes.keys, codes=attributes.codes[kept],
        rows=place[attributes.rows[kept]], values=attributes.values.filter(pa.array(kept)),
    )  # fmt: skip
