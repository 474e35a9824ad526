"""Makes the data directory of this release that later releases have to read: `python -m tests.golden.make DIRECTORY`.

Made once a storage format and kept as data; its keys lie in it because nothing in it is real. What may be made anew
from the rest (snapshots, locks, status files) is left out.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanfold.exporter.keys import Keyring
from spanfold.exporter.manifest import read_current
from spanfold.reading import comment_sealer
from spanfold.state.deploys import Deploy
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.flow.sending import NOON, SECOND, any_value, chat, logs, product, span, traces

LEFT_OUT = ("run", "snapshots", "spanfold.duckdb", "state.db-wal", "state.db-shm", "keys/keyring.lock")


def say(role: str, words: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": words}]}


def conversation() -> list[Span]:
    """An agent that calls a model twice, with a tool between: the second call resends the first and its answer."""
    asked, answered = say("user", "How warm is it in Ulm? Mail ann@example.com"), say("assistant", "I look it up.")
    told = say("tool", "21 degrees")
    return [
        span(1, 1, name="invoke_agent weather", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="weather",
             gen_ai__usage__input_tokens=300, session__id="session-1", user__id="user-1"),
        chat(1, 2, 1, tokens=(100, 10), start=NOON + SECOND, history=[asked], answer=[answered],
             **{"session.id": "session-1", "gen_ai.response.id": "r1", "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.system_instructions": '[{"type": "text", "content": "Be brief."}]'}),
        span(1, 3, 1, name="execute_tool thermometer", start=NOON + 3 * SECOND, gen_ai__operation__name="execute_tool",
             gen_ai__tool__name="thermometer", gen_ai__tool__call__result="21 degrees"),
        chat(1, 4, 1, tokens=(200, 20), start=NOON + 4 * SECOND, history=[asked, answered, told],
             answer=[say("assistant", "21 degrees.")], **{"session.id": "session-1", "gen_ai.response.id": "r2"}),
    ]  # fmt: skip


def failure() -> Span:
    """An error with a private message, of a model that has no price, on a day of its own."""
    made = chat(2, 1, model="house-model", tokens=(5, 0), start=NOON + 86_400 * SECOND, tag__tags=["night", "batch"])
    made.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="the upstream said no"))
    made.attributes.add(key="error.type").value.string_value = "timeout"
    made.attributes.add(key="db.statement").value.string_value = "SELECT name FROM people"
    return made


def gauge() -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="queue.length", unit="{item}")
    point = metric.gauge.data_points.add(time_unix_nano=NOON, as_int=7)
    point.attributes.add(key="queue").value.CopyFrom(any_value("mail"))
    return request.SerializeToString()


def make(directory: Path) -> None:
    details = {
        "gen_ai.input.messages": [say("user", "From a log")],
        "gen_ai.output.messages": [say("assistant", "Yes")],
    }
    with product(directory) as p:
        p.send(traces(conversation()), b"\xff\xff no request", traces(conversation()[1:2]))
        p.send(logs([(3, 1, "gen_ai.client.inference.operation.details", details)]), signal="logs")
        p.send(traces([chat(3, 1, start=NOON + 60 * SECOND), failure()]))
        p.send(gauge(), signal="metrics")
        p.fold()
        control(directory)
        p.folding.compact_everything()
        p.send(traces([chat(4, 1, tokens=(1, 1), start=NOON + 120 * SECOND)]))  # accepted, and not folded yet
    for name in LEFT_OUT:
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    counted = {directory / file.path for file in read_current(directory).files}
    for path in set((directory / "lake").rglob("*.parquet")) - counted:
        path.unlink()


def control(directory: Path) -> None:
    """A decision with a comment, a deploy; the database in one file."""
    sealer = comment_sealer(Keyring.open(directory))
    with StateStore.open(directory, sealer=sealer) as state:
        state.reviews.decide([Target.trace(f"{1:032x}")], "approved", who="ann", comment="short and right")
        deployed = dt.datetime.fromtimestamp(NOON // SECOND, dt.UTC)
        state.deploys.add(
            [Deploy(title="Shorter prompts", commit_sha="a" * 40, service="shop", completed_at=deployed)], who="ann"
        )
    with closing(sqlite3.connect(directory / "state.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
