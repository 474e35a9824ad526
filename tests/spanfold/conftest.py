"""One data directory with everything in it that verbs and routes show, made through the real path."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from spanfold.state.deploys import Deploy
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.flow.sending import NOON, SECOND, chat, logs, product, span, traces

LONG = "x" * 300
SHA = "3f2a9c1b7d5e8f60123456789abcdef012345678"
EVIL = "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07 \u202egnp.exe =1+1"


def message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


QUESTION, ANSWER = message("user", "What is 2+2?"), message("assistant", "Four, canary-7731.")


def _spans() -> list[bytes]:
    failed = chat(2, 21, model="gpt-4o", tokens=(200, 0), start=NOON + 60 * SECOND, session__id="s-2")
    failed.status.code, failed.status.message = 2, "quota exceeded"
    event = failed.events.add(name="exception", time_unix_nano=NOON + 61 * SECOND)
    event.attributes.add(key="exception.message").value.string_value = "quota exceeded for jane"
    link = failed.links.add(trace_id=(1).to_bytes(16, "big"), span_id=(11).to_bytes(8, "big"))
    link.attributes.add(key="why").value.string_value = "retry"
    root = span(
        1, 10, name=f"POST /chat {EVIL}", http__route="/chat", db__statement="SELECT secret", long=LONG, ratio=0.5
    )
    root.attributes.add(key="blob").value.bytes_value = b"\x00\xff"
    root.dropped_attributes_count, root.trace_state = 3, "a=b"
    first = chat(
        1, 11, 10, history=[QUESTION], answer=[ANSWER], session__id="s-1", user__id="u-1",
        spanfold__key="prod-frontend", gen_ai__response__finish_reasons=["stop"],
    )  # fmt: skip
    second = chat(
        1, 12, 10, history=[QUESTION, ANSWER, message("user", "And =3+3?")], answer=[message("assistant", "Six.")],
        start=NOON + 2 * SECOND, session__id="s-1", tokens=(150, 20),
    )  # fmt: skip
    return [traces([root, first, second]), traces([failed], service="batch")]


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three calls in two traces, a log record, a deploy, a review; published, and closed."""
    data = tmp_path_factory.mktemp("filled") / "data"
    with product(data) as running:
        running.send(*_spans())
        running.send(logs([(1, 11, "note", {"mood": "good"})]), signal="logs")
        with StateStore.open(data) as state:
            done = dt.datetime(2025, 11, 20, 11, tzinfo=dt.UTC)
            state.deploys.add(
                [Deploy(id="d-1", completed_at=done, commit_sha=SHA, title="Sonnet", pr_number=129)], who="ci"
            )
            state.reviews.decide([Target.trace(f"{2:032x}")], "flagged", who="ann", batch_id="b-1")
        running.fold()
    return data


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]
