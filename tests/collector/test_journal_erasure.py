"""Emptied journal records: same frame, same length, nothing in them, their neighbours untouched."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanfold.collector.journal import Journal
from spanfold.collector.journal_erasure import Holds, empty_records, padding
from spanfold.collector.journal_reader import JournalReader, damage
from spanfold.collector.segments import JournalRecord, Position, segment_path
from spanfold.exporter.keys import Keyring
from tests.flow.sending import span, traces


@given(st.integers(0, 70_000))
def testpadding_has_any_length_and_parses_to_nothing(size: int) -> None:
    """Every size but one byte: a valid request without a span."""
    request = ExportTraceServiceRequest.FromString(padding(size))
    assert len(padding(size)) == (0 if size == 1 else size)
    assert len(request.resource_spans) == 0


def test_records_of_a_trace_or_a_name_are_emptied_in_place(tmp_path: Path) -> None:
    """Two of five are emptied while the journal is open and goes on: the others read as before, nothing is damaged."""
    keyring = Keyring.open(tmp_path)
    journal = Journal(tmp_path / "journal", keyring)
    bodies = [
        traces([span(1, 1, user__id="bob")]), traces([span(2, 1, user__id="bobby")]), traces([span(7, 1)]),
        traces([span(3, 1)]),
    ]  # fmt: skip
    for body in bodies:
        journal.append(JournalRecord("traces", "default", "label", 5, body, 1))
    journal.append(JournalRecord("traces", "another", None, 5, bodies[0], 1))
    until = journal.end()
    journal.append(JournalRecord("traces", "default", None, 6, bodies[0], 1))
    holds = Holds("default", [f"{7:032x}"], ["bob"])
    assert empty_records(tmp_path / "journal", keyring, until, holds, dry_run=True) == 2
    assert empty_records(tmp_path / "journal", keyring, until, holds) == 2
    assert empty_records(tmp_path / "journal", keyring, until, holds) == 0
    journal.append(JournalRecord("traces", "default", None, 7, bodies[3], 1))
    records = [record for _, record in JournalReader(tmp_path / "journal", keyring).read(Position(0, 0), 1 << 30)[0]]
    kept = [record.body for record in records]
    assert [kept[i] for i in (1, 3, 4, 5, 6)] == [bodies[1], bodies[3], bodies[0], bodies[0], bodies[3]]
    assert [len(ExportTraceServiceRequest.FromString(kept[i]).resource_spans) for i in (0, 2)] == [0, 0]
    assert [(r.key_label, r.received_ns, r.items) for r in records[:1]] == [("label", 5, 1)]
    assert damage(segment_path(tmp_path / "journal", until.segment), newest=False) == []
    journal.close()
