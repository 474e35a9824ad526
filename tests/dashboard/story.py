"""A small world for the screens, sent through the real path: an agent that fails, a chat that grows, what is missing,
and words that try to be more than words."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from spanfold.analytics.queries import Reader
from spanfold.dashboard.backend import Backend
from spanfold.exporter.keys import Keyring
from spanfold.reading import comment_sealer
from spanfold.settings import Settings
from spanfold.state.deploys import Deploy
from spanfold.state.store import StateStore
from spanfold.status import gather
from tests.flow.sending import NOON, SECOND, chat, product, span, traces

MINUTE = 60 * SECOND
AGENT, CHAT, ORPHAN, UNPRICED, HOSTILE, LONE = 1, 100, 300, 400, 500, 600
CHATS = 60  # single calls: more than a page
EVIL = (
    "<script>fetch('http://127.0.0.1:9/x')</script><img src=http://127.0.0.1:9/i.png onerror=alert(1)> "
    "![pixel](http://127.0.0.1:9/p.png) [click](javascript:alert(2)) :red[not red] $x^2$ <!-- hidden --> &lt;b&gt;"
)


def message(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text} for text in texts]}


def hex_trace(number: int) -> str:
    return f"{number:032x}"


def hex_span(number: int) -> str:
    return f"{number:016x}"


def agent(start: int) -> list[Span]:
    """A run of three model calls and two tools, the second of which fails."""
    tool = {"type": "tool_call", "id": "c1", "name": "search_docs", "arguments": {"query": "refund"}}
    answer = {"role": "assistant", "parts": [{"type": "reasoning", "content": "I should look."}, tool]}
    result = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"hits": 3}}]}
    question = message("user", "Can I have my money back?")
    failed = span(
        AGENT, 15, 11, name="execute_tool pay_back", start=start + 6 * SECOND, ms=400,
        gen_ai__operation__name="execute_tool", gen_ai__tool__name="pay_back", error__type="TimeoutError",
    )  # fmt: skip
    failed.status.code, failed.status.message = 2, "the bank did not answer"
    return [
        span(AGENT, 11, name="invoke_agent helper", start=start, ms=9000, gen_ai__operation__name="invoke_agent",
             gen_ai__agent__name="helper", session__id="s-agent", user__id="u-7"),
        chat(AGENT, 12, 11, start=start + SECOND, ms=1500, history=[question], answer=[answer], tokens=(900, 60)),
        span(AGENT, 13, 11, name="execute_tool search_docs", start=start + 3 * SECOND, ms=300,
             gen_ai__operation__name="execute_tool", gen_ai__tool__name="search_docs"),
        chat(AGENT, 14, 11, start=start + 4 * SECOND, ms=1500, history=[question, answer, result],
             answer=[message("assistant", "Let me pay it back.")], tokens=(1100, 20)),
        failed,
        chat(AGENT, 16, 11, start=start + 7 * SECOND, ms=1500, tokens=(1300, 30),
             history=[question, answer, result, message("assistant", "Let me pay it back."), message("user", "Well?")],
             answer=[message("assistant", "The bank is slow today.")]),
    ]  # fmt: skip


def conversation(start: int) -> list[Span]:
    """Four turns in four traces; each resends everything, and before the last the system text changes."""
    history: list[dict[str, Any]] = []
    spans = []
    for turn in range(4):
        history.append(message("user", f"Question {turn} about parcel 1182"))
        answer = message("assistant", f"Answer {turn}: it is on its way")
        system = "You are brief and kind." if turn == 3 else "You are brief."
        spans.append(
            chat(CHAT + turn, 101 + turn, start=start + turn * MINUTE, history=list(history), answer=[answer],
                 session__id="s-chat", user__id="u-9", tokens=(200 + 50 * turn, 20),
                 gen_ai__system_instructions=f'[{{"type":"text","content":"{system}"}}]')
        )  # fmt: skip
        history.append(answer)
    return spans


def everything(start: int) -> list[bytes]:
    """OTLP requests of about two hours from `start` on."""
    lone = [
        chat(LONE + i, LONE + i, start=start + i * MINUTE, model="gpt-4o" if i % 3 else "gpt-4o-mini",
             tokens=(100 + i, 10),
             history=[message("user", f"Lone question {i}")], answer=[message("assistant", f"Lone answer {i}")])
        for i in range(CHATS)
    ]  # fmt: skip
    orphans = [chat(ORPHAN, 301 + i, 399, start=start + MINUTE + i * SECOND) for i in range(2)]
    unpriced = chat(UNPRICED, 401, start=start + 2 * MINUTE, model="house-model-7", tokens=(70, 7))
    hostile = chat(
        HOSTILE, 501, start=start + 3 * MINUTE, name=EVIL, user__id=EVIL[:120], custom__note=EVIL,
        history=[message("user", EVIL)], answer=[message("assistant", EVIL)],
    )  # fmt: skip
    return [
        traces(lone, service="shop"), traces(agent(start + 70 * MINUTE), service="helper"),
        traces(conversation(start + 80 * MINUTE), service="support"), traces(orphans, service="batch"),
        traces([unpriced], service="batch"), traces([hostile], service=EVIL[:60]),
    ]  # fmt: skip


def fill(data: Path, start: int = NOON) -> None:
    """Sends, folds and publishes all of it, with a deploy."""
    with product(data) as running:
        running.send(*everything(start))
        with StateStore.open(data) as state:
            at = dt.datetime.fromtimestamp(start / 1e9 + 1800, dt.UTC)
            state.deploys.add([Deploy(id="d-1", completed_at=at, title="Cheaper model", pr_number=12)], who="ci")
        running.fold()


def publish_reviews(data: Path) -> None:
    """Lets the folder notice decisions made since."""
    with product(data) as running:
        running.fold()


def backend_of(data: Path, now: dt.datetime) -> Backend:
    """A backend with a clock that stands still."""
    settings = Settings(data=data)
    keyring = Keyring.open(data)
    return Backend(
        data=data, reader=Reader(data, keyring), state=StateStore.open(data, sealer=comment_sealer(keyring)),
        reviewer="tester", listening=lambda: ("127.0.0.1:4317", "127.0.0.1:4318"),
        status=lambda: gather(settings.data), now=lambda: now,
    )  # fmt: skip


def without_keys(backend: Backend) -> Backend:
    """The same, as a process without the keys sees it."""
    return dataclasses.replace(backend, reader=Reader(backend.data, None), state=StateStore.open(backend.data))
