"""The three signals as values: their OTLP messages and names, and what makes one item of each acceptable.

A span needs valid ids, because its identity is (tenant, trace id, span id). A log record's ids may be empty. The check
runs on every request, so it compares whole batches; only a batch with a fault is looked at item by item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
_ZERO_TRACE, _ZERO_SPAN = bytes(TRACE_ID_BYTES), bytes(SPAN_ID_BYTES)
_trace_id, _span_id = attrgetter("trace_id"), attrgetter("span_id")
_LENGTHS_OF_SPANS = ({TRACE_ID_BYTES}, {SPAN_ID_BYTES})
_LENGTHS_OF_LOGS = ({0, TRACE_ID_BYTES}, {0, SPAN_ID_BYTES})


@dataclass(frozen=True, slots=True)
class Checked:
    """What the structural check found. The rejected items are no longer in the request."""

    kept: int
    rejected: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """One OTLP signal."""

    name: str  # traces | logs | metrics
    service: str  # gRPC service
    request: type[Any]
    response: type[Any]
    rejected_field: str  # in the partial success message
    check: Callable[[Any], Checked]

    @property
    def path(self) -> str:
        return f"/v1/{self.name}"


def _check_spans(request: Any) -> Checked:
    kept = rejected = 0
    reasons: dict[str, int] = {}
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            spans = scope.spans
            traces, ids = list(map(_trace_id, spans)), list(map(_span_id, spans))
            kept += len(ids)
            if not ids or (
                _fits(traces, ids, _LENGTHS_OF_SPANS) and _ZERO_TRACE not in traces and _ZERO_SPAN not in ids
            ):
                continue
            rejected += _remove(spans, zip(traces, ids, strict=True), _span_fault, reasons)
    return Checked(kept - rejected, rejected, _sentence(reasons))


def _check_logs(request: Any) -> Checked:
    kept = rejected = 0
    reasons: dict[str, int] = {}
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            records = scope.log_records
            traces, ids = list(map(_trace_id, records)), list(map(_span_id, records))
            kept += len(ids)
            if not _fits(traces, ids, _LENGTHS_OF_LOGS):
                rejected += _remove(records, zip(traces, ids, strict=True), _log_fault, reasons)
    return Checked(kept - rejected, rejected, _sentence(reasons))


def _check_metrics(request: Any) -> Checked:
    points = 0
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                points += len(getattr(metric, kind).data_points) if kind else 0
    return Checked(points)


def _fits(traces: list[bytes], ids: list[bytes], lengths: tuple[set[int], set[int]]) -> bool:
    return lengths[0].issuperset(map(len, traces)) and lengths[1].issuperset(map(len, ids))


def _span_fault(trace_id: bytes, span_id: bytes) -> str | None:
    if len(trace_id) != TRACE_ID_BYTES:
        return f"trace_id of {len(trace_id)} bytes instead of {TRACE_ID_BYTES}"
    if len(span_id) != SPAN_ID_BYTES:
        return f"span_id of {len(span_id)} bytes instead of {SPAN_ID_BYTES}"
    if trace_id == _ZERO_TRACE:
        return "trace_id of zeros"
    return "span_id of zeros" if span_id == _ZERO_SPAN else None


def _log_fault(trace_id: bytes, span_id: bytes) -> str | None:
    if len(trace_id) not in (0, TRACE_ID_BYTES):
        return f"trace_id of {len(trace_id)} bytes instead of {TRACE_ID_BYTES} or none"
    if len(span_id) not in (0, SPAN_ID_BYTES):
        return f"span_id of {len(span_id)} bytes instead of {SPAN_ID_BYTES} or none"
    return None


def _remove(
    items: Any, ids: Iterable[tuple[bytes, bytes]], fault: Callable[[bytes, bytes], str | None], reasons: dict[str, int]
) -> int:
    bad = []
    for index, pair in enumerate(ids):
        reason = fault(*pair)
        if reason is not None:
            bad.append(index)
            reasons[reason] = reasons.get(reason, 0) + 1
    for index in reversed(bad):
        del items[index]
    return len(bad)


def _sentence(reasons: dict[str, int], most: int = 5) -> str:
    told = [f"{count} with {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1])[:most]]
    more = len(reasons) - len(told)
    return "; ".join(told) + (f"; {more} more kinds" if more else "")


_PREFIX = "opentelemetry.proto.collector"
TRACES = Signal(
    "traces", f"{_PREFIX}.trace.v1.TraceService", trace.ExportTraceServiceRequest, trace.ExportTraceServiceResponse,
    "rejected_spans", _check_spans,
)  # fmt: skip
LOGS = Signal(
    "logs", f"{_PREFIX}.logs.v1.LogsService", logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse,
    "rejected_log_records", _check_logs,
)  # fmt: skip
METRICS = Signal(
    "metrics", f"{_PREFIX}.metrics.v1.MetricsService", metrics.ExportMetricsServiceRequest,
    metrics.ExportMetricsServiceResponse, "rejected_data_points", _check_metrics,
)  # fmt: skip
ALL = (TRACES, LOGS, METRICS)
