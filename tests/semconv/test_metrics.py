"""Metric points of all kinds become rows with exact numbers."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import orjson
import pyarrow as pa
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from spanfold.semconv.keep import Kept
from spanfold.semconv.metric_points import keep_metrics
from spanfold.semconv.restore import restore_attributes
from spanfold.semconv.schema import METRICS
from tests.semconv.otlp import Accepted, captured, key_values, same

TIME = 1_763_501_811_172_823_460
AT = dt.datetime(2025, 11, 18, 21, 36, 51, 172823)


def request(*metrics: otlp.Metric, resource: dict[str, Any] | None = None) -> Accepted:
    scopes = [otlp.ScopeMetrics(scope=InstrumentationScope(name="meter", version="1"), metrics=metrics)]
    message = ExportMetricsServiceRequest(
        resource_metrics=[
            otlp.ResourceMetrics(resource=Resource(attributes=key_values(resource or {})), scope_metrics=scopes)
        ]
    )
    return Accepted(message.SerializeToString())


def rows_of(kept: Kept) -> list[dict[str, Any]]:
    rows = pa.table(list(kept.columns.values()), names=list(kept.columns)).to_pylist()
    return [row | {"buckets": row["buckets"] and orjson.loads(row["buckets"])} for row in rows]


def pick(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def test_numbers() -> None:
    """Gauges and sums keep their value, and integers exactly beside it; a point without a value has NULL."""
    gauge = otlp.Metric(
        name="g", unit="By", description="memory",
        gauge=otlp.Gauge(data_points=[otlp.NumberDataPoint(as_double=0.5, time_unix_nano=TIME)]),
    )  # fmt: skip
    total = otlp.Metric(
        name="s",
        sum=otlp.Sum(
            is_monotonic=True, aggregation_temporality=otlp.AGGREGATION_TEMPORALITY_CUMULATIVE,
            data_points=[
                otlp.NumberDataPoint(as_int=2**53 + 1, time_unix_nano=TIME, start_time_unix_nano=TIME - 1000),
                otlp.NumberDataPoint(flags=1),
            ],
        ),
    )  # fmt: skip
    rows = rows_of(keep_metrics([request(gauge, total)]))
    assert pick(rows[0], "name", "unit", "description", "type", "temporality", "monotonic") == (
        "g", "By", "memory", "gauge", None, None,
    )  # fmt: skip
    assert pick(rows[0], "value", "value_int", "time", "start_time", "flags") == (0.5, None, AT, None, 0)
    assert pick(rows[1], "name", "type", "temporality", "monotonic") == ("s", "sum", "cumulative", True)
    assert pick(rows[1], "value", "value_int") == (float(2**53), 2**53 + 1)
    assert rows[1]["start_time"] == AT - dt.timedelta(microseconds=1)
    assert pick(rows[2], "value", "value_int", "time", "flags") == (None, None, None, 1)


def test_distributions() -> None:
    """Histograms of both kinds and summaries keep counts, sums, extremes and every bucket."""
    histogram = otlp.HistogramDataPoint(
        count=3, sum=6.5, min=0.5, max=4, explicit_bounds=[1, 2], bucket_counts=[1, 1, 1]
    )
    bare = otlp.HistogramDataPoint(count=2)
    exponential = otlp.ExponentialHistogramDataPoint(
        count=5, scale=2, zero_count=1, zero_threshold=0.25,
        positive=otlp.ExponentialHistogramDataPoint.Buckets(offset=-3, bucket_counts=[1, 2]),
        negative=otlp.ExponentialHistogramDataPoint.Buckets(offset=1, bucket_counts=[1]),
    )  # fmt: skip
    quantile = otlp.SummaryDataPoint.ValueAtQuantile(quantile=0.5, value=2)
    summary = otlp.SummaryDataPoint(count=4, sum=8, quantile_values=[quantile])
    delta = otlp.AGGREGATION_TEMPORALITY_DELTA
    rows = rows_of(
        keep_metrics([
            request(
                otlp.Metric(
                    name="h", histogram=otlp.Histogram(data_points=[histogram, bare], aggregation_temporality=delta)
                ),
                otlp.Metric(name="e", exponential_histogram=otlp.ExponentialHistogram(data_points=[exponential])),
                otlp.Metric(name="q", summary=otlp.Summary(data_points=[summary])),
            )
        ])
    )  # fmt: skip
    assert [row["type"] for row in rows] == ["histogram", "histogram", "exponential_histogram", "summary"]
    assert [row["temporality"] for row in rows] == ["delta", "delta", None, None]
    numbers = [pick(row, "count", "sum", "min", "max", "value") for row in rows]
    assert numbers == [
        (3, 6.5, 0.5, 4, None),
        (2, None, None, None, None),
        (5, None, None, None, None),
        (4, 8, None, None, None),
    ]
    assert [row["buckets"] for row in rows] == [
        {"bounds": [1, 2], "counts": [1, 1, 1]},
        {"bounds": [], "counts": []},
        {"scale": 2, "zero_count": 1, "zero_threshold": 0.25, "positive": {"offset": -3, "counts": [1, 2]},
         "negative": {"offset": 1, "counts": [1]}},
        {"quantiles": [{"quantile": 0.5, "value": 2}]},
    ]  # fmt: skip


def test_dimensions_and_attributes() -> None:
    """Dimensions come from the point, then the resource; private attributes leave the clear JSON; types survive."""
    sent = {"user.id": "u", "n": math.nan, "prompt": "hello", "model": "gpt-5"}
    point = otlp.NumberDataPoint(as_int=1, attributes=key_values(sent))
    metric = otlp.Metric(name="m", gauge=otlp.Gauge(data_points=[point]), metadata=key_values({"origin": "scrape"}))
    kept = keep_metrics([request(metric, resource={"service.name": "cli", "user.id": "other", "session.id": "s"})])
    row = rows_of(kept)[0]
    assert pick(row, "service_name", "user_id", "session_id", "project", "scope_name", "tenant") == (
        "cli", "u", "s", "cli", "meter", "default",
    )  # fmt: skip
    assert orjson.loads(row["attributes"]) == {"user.id": "u", "n": None, "model": "gpt-5"}
    assert row["metadata"] == '{"origin":"scrape"}'
    assert kept.private == [(0, {"attributes": {"prompt": "hello"}})]
    assert same(restore_attributes(row, kept.private[0][1]), sent)


def test_exemplars() -> None:
    """Exemplars keep their value, place and span; what must hide of them is private."""
    exemplar = otlp.Exemplar(
        as_double=0.5, time_unix_nano=TIME, trace_id=b"\x01" * 16, span_id=b"\x02" * 8,
        filtered_attributes=key_values({"a": 1, "prompt": "hello"}),
    )  # fmt: skip
    point = otlp.HistogramDataPoint(count=1, exemplars=[exemplar])
    kept = keep_metrics([request(otlp.Metric(name="h", histogram=otlp.Histogram(data_points=[point])))])
    assert orjson.loads(rows_of(kept)[0]["exemplars"]) == [
        {"value": 0.5, "time_unix_nano": TIME, "trace_id": "01" * 16, "span_id": "02" * 8, "attributes": {"a": 1}}
    ]
    assert kept.private == [(0, {"exemplars": [{"index": 0, "attributes": {"prompt": "hello"}}]})]


def test_point_ids() -> None:
    """A resent point has the same id; another value, time, attribute, resource or tenant has another."""

    def metric(value: int = 1, time: int = TIME, **attributes: Any) -> otlp.Metric:
        point = otlp.NumberDataPoint(as_int=value, time_unix_nano=time, attributes=key_values(attributes))
        return otlp.Metric(name="m", gauge=otlp.Gauge(data_points=[point]))

    one = request(metric())
    others = [request(metric(2)), request(metric(time=1)), request(metric(a=1)), request(metric(), resource={"r": 1})]
    kept = keep_metrics([one, one, *others, Accepted(one.body, tenant="another")])
    ids = kept.columns["point_id"].to_pylist()
    assert ids[0] == ids[1]
    assert len(set(ids)) == 6


def test_captured_metrics() -> None:
    """Metrics of stock instrumentations: as many rows as points, in the stored types."""
    records = captured("*/*-metrics-*.pb")
    kept = keep_metrics(records)
    points = sum(
        len(getattr(metric, metric.WhichOneof("data")).data_points)
        for record in records
        for resource in ExportMetricsServiceRequest.FromString(record.body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
    assert len(kept.columns["name"]) == points > 4
    assert set(METRICS.names) - set(kept.columns) == {"private_block", "private_offset", "private_length"}
    for name, column in kept.columns.items():
        assert column.type == METRICS.field(name).type, name
    assert {row["unit"] for row in rows_of(kept)} == {"s", "{token}"}


def test_nothing_and_damage() -> None:
    """An empty request has no points; a damaged one raises ValueError."""
    assert len(keep_metrics([Accepted(b""), request(otlp.Metric(name="empty"))]).columns["name"]) == 0
    with pytest.raises(ValueError, match="not a valid OTLP metrics request"):
        keep_metrics([Accepted(b"\x0a\x05x")])
