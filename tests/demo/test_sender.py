"""The benchmark's generator and its sender process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_generated_twice_is_the_same(tmp_path: Path) -> None:
    """The same flags write the same file; a heavy chat span carries the whole history."""
    for name in ("a.bin", "b.bin"):
        _run("load.py", str(tmp_path / name), "--spans", "400", "--heavy", "--alive", "3")
    body = (tmp_path / "a.bin").read_bytes()
    assert body == (tmp_path / "b.bin").read_bytes()
    first = ExportTraceServiceRequest.FromString(body[8 : 8 + int.from_bytes(body[:4], "big")])
    longest = max(
        len(json.loads(pair.value.string_value))
        for span in first.resource_spans[0].scope_spans[0].spans
        for pair in span.attributes
        if pair.key == "gen_ai.input.messages"
    )
    assert longest == 79


@pytest.mark.parametrize("rate", [(), ("--rate", "4000")])
def test_everything_is_sent_once(sink: Any, tmp_path: Path, rate: tuple[str, ...]) -> None:
    """Over four connections, at full speed or at a rate, each request arrives once, also when it was refused before."""
    _run("load.py", str(tmp_path / "x.bin"), "--spans", "2000")
    sink.refusals = 2
    result = json.loads(_run("sender.py", str(tmp_path / "x.bin"), sink.target, *rate))
    arrived = [ExportTraceServiceRequest.FromString(body) for body in sink.bodies["traces"]]
    ids = [span.span_id for one in arrived for span in one.resource_spans[0].scope_spans[0].spans]
    assert (result["spans"], result["refused"]) == (2000, 2)
    assert len(ids) == len(set(ids)) == 2000
    assert sum(len(body) for body in sink.bodies["traces"]) == result["bytes"]
