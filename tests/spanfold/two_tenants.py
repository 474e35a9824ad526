"""Two tenants in one data directory, sent through the real path. Every text of the other one holds `CANARY`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from spanfold.state.deploys import Deploy
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.flow.sending import NOON, SECOND, chat, logs, product, span, traces

MINE, THEIRS = "acme", "rival"
CANARY = "rival-canary-4471"  # in every text of the other tenant
MY_TRACE, THEIR_TRACE = f"{1:032x}", f"{2:032x}"
SHARED = "The same words of both."


WHEN = dt.datetime(2025, 11, 20, 11, tzinfo=dt.UTC)


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def sent(trace: int, mark: str) -> list[bytes]:
    root = span(trace, 10 * trace, name=f"root {mark}", note="x" * 300 + mark, user__id=f"user-{mark}")
    call = chat(
        trace, 10 * trace + 1, 10 * trace, model=f"ft:{mark}", session__id=f"s-{mark}", start=NOON + trace * SECOND,
        history=[message("user", SHARED), message("assistant", mark), message("user", f"go on {mark}")],
        answer=[message("assistant", f"answer {mark}")], spanfold__project=f"p-{mark}", spanfold__key=f"k-{mark}",
    )  # fmt: skip
    call.status.code = 2
    call.status.message = f"failed {mark}"
    return [traces([root, call], service=f"service-{mark}")]


def fill(data: Path) -> None:
    with product(data) as running:
        running.send(*sent(1, "mine"), tenant=MINE)
        running.send(*sent(2, CANARY), tenant=THEIRS)
        for number, (tenant, mark) in enumerate(((MINE, "mine"), (THEIRS, CANARY)), 1):
            running.send(logs([(number, 10 * number, mark, {"a": mark})], service=mark), signal="logs", tenant=tenant)
        with StateStore.open(data) as state:
            for tenant, trace, mark in ((MINE, MY_TRACE, "mine"), (THEIRS, THEIR_TRACE, CANARY)):
                state.reviews.decide([Target.trace(trace, tenant=tenant)], "flagged", who=mark, batch_id=f"b-{tenant}")
                state.deploys.add([Deploy(tenant=tenant, title=mark, commit_sha="abcd", completed_at=WHEN)], who="ci")
            for name, roles in (("reader", ["read"]), ("reviewer", ["review"]), ("exporter", ["export"])):
                state.users.add(name, roles, tenants=[MINE], who="test")
            state.users.add("boss", ["admin"], who="test")
        running.fold()
