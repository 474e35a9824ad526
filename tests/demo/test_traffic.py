"""The demo as a collector sees it: what the stock exporters put on the wire, and the verb that sends it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanfold.cli.demo import demo
from spanfold.demo.story import story
from spanfold.demo.traffic import NotSent, Sender
from spanfold.state.store import StateStore

END = dt.datetime(2026, 11, 20, 18, 0, tzinfo=dt.UTC)


def _newest_days(count: int) -> list[Any]:
    days = story(END)
    return [next(days) for _ in range(count)]


def _spans(bodies: list[bytes]) -> list[tuple[dict[str, str], Any]]:
    found = []
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            origin = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            found += [(origin, span) for scope in resource.scope_spans for span in scope.spans]
    return found


def test_spans_on_the_wire(sink: Any) -> None:
    """Every span of the story arrives once, in requests of at most 512, with its key on the resource (LT-003)."""
    days = _newest_days(2)
    with Sender(sink.target) as sender:
        sent = sender.send(days, lambda day: None)
    told = {span.span_id: trace for day in days for trace in day.traces for span in trace.spans}
    arrived = _spans(sink.bodies["traces"])
    assert sent.spans == len(arrived) == len(told)
    assert {int.from_bytes(span.span_id, "big") for _, span in arrived} == set(told)
    assert all(len(_spans([body])) <= 512 for body in sink.bodies["traces"])
    assert {origin["spanfold.key"] for origin, _ in arrived} == {"prod-frontend", "internal-tools", "background-jobs"}
    for origin, span in arrived:
        trace = told[int.from_bytes(span.span_id, "big")]
        assert (origin["service.name"], origin["service.version"]) == (trace.service.name, trace.version)


def test_content_in_log_events(sink: Any) -> None:
    """meeting-notes sends its words as structured values in operation.details events that name their span."""
    days = _newest_days(1)
    with Sender(sink.target) as sender:
        sender.send(days, lambda day: None)
    records = [
        record
        for body in sink.bodies["logs"]
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    spans = {span.span_id: span for _, span in _spans(sink.bodies["traces"])}
    assert records
    for record in records:
        assert record.event_name == "gen_ai.client.inference.operation.details"
        assert "gen_ai.input.messages" not in {pair.key for pair in spans[record.span_id].attributes}
        messages = next(pair.value for pair in record.attributes if pair.key == "gen_ai.input.messages")
        assert messages.array_value.values[0].kvlist_value.values[0].value.string_value == "user"


def test_a_collector_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a collector the sender says so in one sentence."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # the stock exporter tries for ten seconds otherwise
    with Sender("127.0.0.1:1") as sender, pytest.raises(NotSent, match="is `spanfold up` running"):
        sender.send(_newest_days(1), lambda day: None)


@pytest.mark.slow
def test_the_verb_repeats_itself(sink: Any, tmp_path: Path) -> None:
    """A second `spanfold demo` on a data directory sends the same bytes and adds no deploy (LT-033)."""
    flags = ["--data", str(tmp_path), "--endpoint", sink.target, "--json"]
    results = []
    for more in (["--until", "2026-11-20T18:00:00Z"], []):
        result = CliRunner().invoke(demo, [*flags, *more])
        assert result.exit_code == 0, result.output
        results.append(json.loads(result.stdout) | {"seconds": 0})
    assert results[0] == results[1]
    assert results[0]["spans"] > 20_000
    half = len(sink.bodies["traces"]) // 2
    assert sink.bodies["traces"][:half] == sink.bodies["traces"][half:]
    with StateStore.open(tmp_path) as state:
        deploys = state.deploys.between(since=dt.datetime(2026, 11, 12, tzinfo=dt.UTC))
    assert {deploy.pr_number: deploy.service for deploy in deploys} == {
        127: "code-helper",
        129: "summary-service",
        130: "support-agent",
        133: "meeting-notes",
    }
    assert len(deploys) == 4
