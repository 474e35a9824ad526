"""Dead letters for verbs: what a person may know of one, and taking them in again, with or without a collector."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from spanfold.collector.dead_letters import DeadLetters
from spanfold.collector.journal import Journal
from spanfold.collector.lock import is_held
from spanfold.collector.segments import JournalRecord
from spanfold.collector.signals import ALL
from spanfold.errors import SpanfoldError
from spanfold.exporter.keys import Keyring
from spanfold.flushing import ask
from spanfold.status import read_run_file

_POLL_SECONDS = 0.05
_SHOWN = 20
_SIGNALS = {signal.name: signal for signal in ALL}


class NotReplayed(SpanfoldError):
    """Not all dead letters could be taken in again."""


def open_letters(data: Path) -> DeadLetters:
    return DeadLetters(data, Keyring.open(data, create=False))


def outline(record: JournalRecord) -> dict[str, Any]:
    """What the body of a record holds, without a word of it: it was never redacted."""
    request: Any = _SIGNALS[record.signal].request()
    try:
        request.ParseFromString(record.body)
    except DecodeError:
        return {"readable": False, "bytes": len(record.body)}
    checked = _SIGNALS[record.signal].check(request)
    ids = []
    scopes = Counter[str]()
    for resource in getattr(request, f"resource_{'spans' if record.signal == 'traces' else record.signal}"):
        for group in getattr(resource, f"scope_{'spans' if record.signal == 'traces' else record.signal}"):
            scopes[group.scope.name] += 1
            items = getattr(group, {"traces": "spans", "logs": "log_records", "metrics": "metrics"}[record.signal])
            if record.signal != "metrics":
                ids += [{"trace_id": item.trace_id.hex(), "span_id": item.span_id.hex()} for item in items]
    return {
        "readable": True, "bytes": len(record.body), "items": checked.kept, "scopes": sorted(scopes),
        "ids": ids[:_SHOWN],
    }  # fmt: skip


def replay(data: Path, names: Sequence[str], timeout: float) -> int:
    """Puts records back into the journal, through the running collector or here. Gives how many.

    Raises NotReplayed (with what was in the way), and what the journal raises.
    """
    if not names:
        return 0
    request: dict[str, object] = {"token": uuid.uuid4().hex, "names": list(names)}
    if not is_held(data / "run" / "collector.lock"):
        return _replay_here(data, names)
    ask(data / "run" / "replay", request)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done = read_run_file(data, "collector").get("replayed", {})
        if done.get("token") == request["token"]:
            if done["problem"]:
                raise NotReplayed(f"{done['count']} of {len(names)} replayed; {done['problem']}")
            return int(done["count"])
        time.sleep(_POLL_SECONDS)
    raise NotReplayed(f"the collector did not answer within {timeout:g} s: spanfold status shows whether it runs")


def _replay_here(data: Path, names: Sequence[str]) -> int:
    keyring = Keyring.open(data, create=False)
    journal = Journal(data / "journal", keyring)
    try:
        return DeadLetters(data, keyring).replay(journal, names)
    finally:
        journal.close()
