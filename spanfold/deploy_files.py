"""Reads deploys from JSON: our own list, or what a CI system prints.

Accepted are a list of objects with the fields of `state.deploys.Deploy`, the same under a key `deploys`, and GitHub's
answer for workflow runs (`{"workflow_runs": [...]}`), of which the successful ones count.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import orjson

from spanfold.errors import SpanfoldError
from spanfold.state.deploys import Deploy
from spanfold.state.errors import Invalid

_FIELDS = {field.name for field in fields(Deploy)}
_NUMBERS = ("pr_number",)


class DeployFileRefused(SpanfoldError):
    """The file does not hold a list of deploys."""


def read_deploys(text: bytes, *, tenant: str = "default") -> list[Deploy]:
    """Raises DeployFileRefused naming the entry that is wrong."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DeployFileRefused(f"the file is not JSON: {error}") from error
    entries: Any = document.get("deploys") if isinstance(document, dict) else document
    if isinstance(document, dict) and isinstance(document.get("workflow_runs"), list):
        entries = list(_of_github(document["workflow_runs"]))
    if not isinstance(entries, list):
        raise DeployFileRefused("the file holds no list of deploys: see `spanfold deploys sync --help`")
    return [_deploy(entry, number, tenant) for number, entry in enumerate(entries, 1)]


def parse_time(value: object) -> dt.datetime:
    """An ISO 8601 time with a zone."""
    try:
        time = dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise Invalid(f"{str(value)[:60]!r} is not a time: write it like 2026-04-18T14:05:00Z") from None
    if time.tzinfo is None:
        raise Invalid(f"the time {value} has no zone: write it like 2026-04-18T14:05:00Z")
    return time.astimezone(dt.UTC)


def _deploy(entry: Any, number: int, tenant: str) -> Deploy:
    if not isinstance(entry, Mapping):
        raise DeployFileRefused(f"entry {number} is not an object")
    if unknown := sorted(map(str, set(entry) - _FIELDS)):
        raise DeployFileRefused(
            f"entry {number} has the unknown field {unknown[0]!r}: use {', '.join(sorted(_FIELDS))}"
        )
    values = {"tenant": tenant, "source": "file"} | {name: v for name, v in entry.items() if v is not None}
    try:
        values["completed_at"] = parse_time(values.get("completed_at"))
        for name in values.keys() - {"completed_at"}:
            values[name] = int(values[name]) if name in _NUMBERS else str(values[name])
        return Deploy(**values)
    except (Invalid, ValueError) as error:
        raise DeployFileRefused(f"entry {number}: {error}") from error


def _of_github(runs: list[Any]) -> Iterator[dict[str, Any]]:
    for run in runs:
        if run.get("conclusion") == "success":
            requests = run.get("pull_requests") or [{}]
            yield {
                "id": f"github-{run['id']}",
                "pr_number": requests[0].get("number"),
                "title": run.get("display_title"),
                "commit_sha": run.get("head_sha"),
                "author": (run.get("actor") or {}).get("login"),
                "completed_at": run.get("updated_at"),
                "source": "github",
            }
