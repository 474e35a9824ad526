"""Metric requests to rows of schema.METRICS, one a data point: gauges, sums, histograms of both kinds, summaries.

Points are few beside spans and nested in many ways, so they are read one by one with protobuf's own parser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from spanfold.semconv.anyvalue import jsonable, plain
from spanfold.semconv.keep import Kept, Privates, keep_attributes
from spanfold.semconv.origins import dimension_columns, hidden_of_origins, origin_columns, read_origin
from spanfold.semconv.privacy import must_hide
from spanfold.semconv.records import Record, Resource, attribute_columns, json_text
from spanfold.semconv.schema import METRICS
from spanfold.semconv.span_events import attribute_members

_TEMPORALITY = {0: None, 1: "delta", 2: "cumulative"}
_LARGEST = 2**63 - 1
Row = dict[str, Any]


def keep_metrics(records: Sequence[Record]) -> Kept:
    """All columns of schema.METRICS but where private parts lie. Raises ValueError if a body is not a valid request."""
    rows: list[Row] = []
    attributes: list[Any] = []
    origins: list[Resource] = []
    index: list[int] = []
    hidden: dict[int, list[Row]] = {}
    for record in records:
        for resource, scope in _scopes(record):
            origin = record.tenant.encode() + resource.resource.SerializeToString() + scope.scope.SerializeToString()
            for metric in scope.metrics:
                for row, point in _points(metric, origin):
                    row["exemplars"] = _exemplars(point, len(rows), hidden)
                    rows.append(row)
                    attributes.append(point.attributes)
                    index.append(len(origins))
            origins.append(read_origin(record, resource, scope))
    return _kept(rows, attributes, origins, pa.array(index, pa.int32()), hidden)


def _kept(
    rows: list[Row], attributes: list[Any], origins: list[Resource], index: pa.Array, hidden: dict[int, list[Row]]
) -> Kept:
    private, held = Privates(), attribute_columns(attributes)
    columns = {name: pa.array([row[name] for row in rows], METRICS.field(name).type) for name in (*_SHAPE, "exemplars")}
    columns |= origin_columns(origins, index) | dimension_columns(held, origins, index)
    columns |= keep_attributes(held, np.zeros(len(held.codes), np.bool_), (), (), private)
    private.add("exemplars", hidden)
    for member, of_origin in hidden_of_origins(origins, index).items():
        private.add(member, of_origin)
    return Kept(columns=columns, private=private.rows())


def _scopes(record: Record) -> Iterator[tuple[Any, Any]]:
    try:
        request = ExportMetricsServiceRequest.FromString(record.body)
    except DecodeError as error:
        raise ValueError(f"not a valid OTLP metrics request: {error}") from error
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            yield resource, scope


_SHAPE: Row = dict.fromkeys(
    (
        "name", "description", "unit", "type", "temporality", "monotonic", "start_time", "time", "value", "value_int",
        "count", "sum", "min", "max", "buckets", "metadata", "flags", "point_id",
    )
)  # fmt: skip


def _points(metric: Any, origin: bytes) -> Iterator[tuple[Row, Any]]:
    """(columns, data point) of every point. A metric of a kind that OTLP does not know yet has none."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    metadata = {entry.key: jsonable(plain(entry.value)) for entry in metric.metadata}
    shared = _SHAPE | {
        "name": metric.name,
        "description": metric.description or None,
        "unit": metric.unit or None,
        "type": kind,
        "temporality": _temporality(data),
        "monotonic": data.is_monotonic if kind == "sum" else None,
        "metadata": json_text(metadata) if metadata else None,
    }
    stated = f"{metric.name}\0{metric.unit}\0{kind}\0{shared['temporality']}\0".encode()
    for point in data.data_points:
        identity = xxhash.xxh3_128_digest(origin + stated + point.SerializeToString())
        yield shared | _times(point) | _MEASURES[kind](point) | {"flags": point.flags, "point_id": identity}, point


def _temporality(data: Any) -> str | None:
    if not hasattr(data, "aggregation_temporality"):
        return None
    return _TEMPORALITY.get(data.aggregation_temporality, str(data.aggregation_temporality))


def _times(point: Any) -> Row:
    """Microseconds; 0 is unknown."""
    start, time = point.start_time_unix_nano, point.time_unix_nano
    return {"start_time": start // 1000 if start else None, "time": time // 1000 if time else None}


def _number(point: Any) -> Row:
    kind = point.WhichOneof("value")
    value = getattr(point, kind) if kind else None
    return {"value": None if value is None else float(value), "value_int": value if kind == "as_int" else None}


def _histogram(point: Any) -> Row:
    bounds = {"bounds": list(point.explicit_bounds), "counts": list(point.bucket_counts)}
    return _distribution(point) | {"buckets": json_text(bounds)}


def _exponential(point: Any) -> Row:
    sides = {
        side: {"offset": getattr(point, side).offset, "counts": list(getattr(point, side).bucket_counts)}
        for side in ("positive", "negative")
    }
    shape = {"scale": point.scale, "zero_count": point.zero_count, "zero_threshold": point.zero_threshold}
    return _distribution(point) | {"buckets": json_text(shape | sides)}


def _summary(point: Any) -> Row:
    quantiles = [{"quantile": item.quantile, "value": item.value} for item in point.quantile_values]
    text = json_text({"quantiles": quantiles})
    return {"count": min(point.count, _LARGEST), "sum": point.sum, "buckets": text}


def _distribution(point: Any) -> Row:
    """Count, and what the sender chose to state of sum, least and greatest."""
    stated = {name: getattr(point, name) if point.HasField(name) else None for name in ("sum", "min", "max")}
    return {"count": min(point.count, _LARGEST)} | stated


_MEASURES = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}


def _exemplars(point: Any, row: int, hidden: dict[int, list[Row]]) -> str | None:
    """JSON of the exemplars of a point; attributes that must hide go to `hidden`."""
    out = []
    for index, exemplar in enumerate(getattr(point, "exemplars", ())):
        attributes = {entry.key: plain(entry.value) for entry in exemplar.filtered_attributes}
        secret = {key: value for key, value in attributes.items() if must_hide(key, value)}
        if secret:
            hidden.setdefault(row, []).append({"index": index} | attribute_members(secret))
        kind = exemplar.WhichOneof("value")
        entry = {
            "value": getattr(exemplar, kind) if kind else None,
            "time_unix_nano": exemplar.time_unix_nano,
            "trace_id": exemplar.trace_id.hex(),
            "span_id": exemplar.span_id.hex(),
        }
        out.append(entry | attribute_members({k: v for k, v in attributes.items() if k not in secret}))
    return json_text(out) if out else None
