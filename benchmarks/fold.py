"""Measures the fold on captured runs: unique message bytes against stored ones, and whether every call unfolds exactly.

python benchmarks/fold.py FOLDER ...        # each a folder with OTLP trace bodies (*-traces-*.pb, *.json)

Each folder goes through the whole write path (journal, fold, Parquet) into a data directory of its own, redaction off.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanfold.analytics.content import contexts
from spanfold.analytics.snapshots import Snapshots
from spanfold.collector.decode import decode_spans
from spanfold.collector.journal import Journal
from spanfold.collector.otlp_json import to_protobuf
from spanfold.collector.segments import JournalRecord
from spanfold.exporter.keys import Keyring
from spanfold.folding import Folding
from spanfold.semconv.messages import parse_messages
from spanfold.semconv.normalise import normalise_spans
from spanfold.settings import Settings

Message = dict[str, Any]
STORED = """
SELECT sum(length) FROM (SELECT DISTINCT block_id, "offset", length FROM lake.messages WHERE role <> 'tools')
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """One request as the decoder takes it."""

    body: bytes
    tenant: str = "default"
    key_label: str | None = None
    received_ns: int = 0


def bodies(folder: Path, name: str) -> list[bytes]:
    found = []
    for path in sorted(folder.glob(f"{name}-traces-*")):
        raw = path.read_bytes()
        found.append(to_protobuf(ExportTraceServiceRequest, raw) if path.suffix == ".json" else raw)
    return found


def said(sent: list[bytes]) -> tuple[dict[tuple[str, str], list[Message]], set[bytes]]:
    """((span id, side) -> messages, as the normaliser reads them of each span alone, without histories that the sender
    cut; every message once)."""
    batch = decode_spans([Body(body) for body in sent])
    ids = batch.columns["span_id"].to_pylist()
    out: dict[tuple[str, str], list[Message]] = {}
    unique: set[bytes] = set()
    for content in normalise_spans(batch).contents:
        span = ids[content.row].hex()
        given = parse_messages(content.input_text)[0] if content.input_text else content.input
        unique |= {orjson.dumps(m, option=orjson.OPT_SORT_KEYS) for m in [*(given or []), *(content.output or [])]}
        if given is not None and not content.lost:
            out[span, "input"] = given
        if content.output is not None:
            out[span, "output"] = content.output
    return out, unique


def measure(folder: Path, name: str) -> str:
    sent = bodies(folder, name)
    expected, unique = said(sent)
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        settings = dataclasses.replace(Settings(data=data), redaction_enabled=False, quiet_seconds=0.0)
        keyring = Keyring.open(data)
        journal, folding = Journal(data / "journal", keyring), Folding(settings)
        for body in sent:
            journal.append(JournalRecord("traces", "default", None, time.time_ns(), body))
        while folding.step(flush=True):
            continue
        folding.publish()
        cursor = Snapshots(data).newest(None).cursor()
        found = unfolded(cursor, keyring)
        stored = sum_of(cursor, STORED)
        folding.close()
        journal.close()
    wrong = sum(found.get(key, []) != messages for key, messages in expected.items() if messages)
    size, raw = sum(map(len, unique)), sum(map(len, sent))
    return (
        f"{folder.name:30s} {name:10s} {len(expected):5d} sides  {wrong:3d} differ  sent {raw:9,d}"
        f"  unique {size:8,d}  stored {stored:8,d}  {stored / max(size, 1):5.2f} x"
    )


def sum_of(cursor: duckdb.DuckDBPyConnection, query: str) -> int:
    (found,) = cursor.execute(query).fetchone() or (0,)
    return int(found or 0)


def unfolded(cursor: duckdb.DuckDBPyConnection, keyring: Keyring) -> dict[tuple[str, str], list[Message]]:
    """(span id, side) -> messages, from what is stored."""
    keys = cursor.execute("SELECT DISTINCT date, tenant, trace_id, span_id FROM span_messages").fetchall()
    out: dict[tuple[str, str], list[Message]] = {}
    for context in contexts(cursor, keyring, keys, words=True):
        leading = (context.system or {}).get("messages", []) if context.direction == "input" else []
        out[context.key[3], context.direction] = [*leading, *(m.body for m in context.messages if m.body)]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--run", default="long40", help="name of the run whose bodies are sent")
    given = parser.parse_args()
    for folder in given.folders:
        if bodies(folder, given.run):
            print(measure(folder, given.run), flush=True)


if __name__ == "__main__":
    main()
