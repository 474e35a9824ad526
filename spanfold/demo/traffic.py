"""Sends the story as any service would: SDK spans and log records through the stock OTLP gRPC exporters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import cast

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AnyValue

from spanfold.demo.deploys import sha_of
from spanfold.demo.story import StoryDay
from spanfold.demo.trace import Log, Span, Trace
from spanfold.demo.world import Service

BATCH = 512  # spans a request: what the SDK's batch processor sends at once
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class NotSent(Exception):
    """The collector did not take the demo's spans."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was accepted, in how many seconds."""

    spans: int
    logs: int
    seconds: float


class Sender:
    """Two stock exporters for one endpoint; headers and TLS come from the usual OTEL_EXPORTER_OTLP_* variables."""

    def __init__(self, endpoint: str) -> None:
        plain = not endpoint.startswith("https://")
        self.endpoint = endpoint
        self._spans = OTLPSpanExporter(endpoint=endpoint, insecure=plain)
        self._logs = OTLPLogExporter(endpoint=endpoint, insecure=plain)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._spans.shutdown()
        self._logs.shutdown()

    def send(self, days: Iterable[StoryDay], done: Callable[[StoryDay], None]) -> Sent:
        """Sends day by day in the order given and calls `done` after each; raises NotSent at the first refusal."""
        begun = time.monotonic()
        spans = logs = 0
        for day in days:
            for batch in _batches(_sdk_spans(day)):
                if self._spans.export(batch) is not SpanExportResult.SUCCESS:
                    raise NotSent(f"{self.endpoint} did not accept the spans; is `spanfold up` running?")
                spans += len(batch)
            records = [_sdk_log(trace, log) for trace in day.traces for log in trace.logs]
            if records and self._logs.export(records) is not LogRecordExportResult.SUCCESS:
                raise NotSent(f"{self.endpoint} did not accept the log records; is `spanfold up` running?")
            logs += len(records)
            done(day)
        return Sent(spans, logs, time.monotonic() - begun)


def _batches(spans: list[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    for start in range(0, len(spans), BATCH):
        yield spans[start : start + BATCH]


def _sdk_spans(day: StoryDay) -> list[ReadableSpan]:
    pairs = [(span, trace) for trace in day.traces for span in trace.spans]
    pairs.sort(key=lambda pair: pair[0].end_ns)
    return [_sdk_span(trace, span) for span, trace in pairs]


def _sdk_span(trace: Trace, span: Span) -> ReadableSpan:
    status = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent_id) if span.parent_id is not None else None,
        resource=_resource(trace.service, trace.version),
        attributes=span.attributes,
        events=[Event(event.name, event.attributes, event.time_ns) for event in span.events],
        kind=SpanKind[span.kind.upper()],
        status=status,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_scope(span.scope),
    )


def _sdk_log(trace: Trace, log: Log) -> ReadableLogRecord:
    record = LogRecord(
        timestamp=log.time_ns,
        observed_timestamp=log.time_ns,
        context=set_span_in_context(NonRecordingSpan(_context(log.trace_id, log.span_id))),
        event_name=log.event_name,
        attributes=cast(Mapping[str, AnyValue], log.attributes),
    )
    return ReadableLogRecord(record, _resource(trace.service, trace.version), _scope(log.scope))


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)


@cache
def _scope(scope: tuple[str, str]) -> InstrumentationScope:
    return InstrumentationScope(*scope)


@cache
def _resource(service: Service, version: str) -> Resource:
    return Resource(
        {
            "service.name": service.name,
            "service.version": version,
            "service.namespace": service.area,
            "service.instance.id": f"{service.name}-1",
            "deployment.environment.name": service.environment,
            "vcs.ref.head.revision": sha_of(service.name, version),
            "spanfold.key": service.key,
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
        }
    )
