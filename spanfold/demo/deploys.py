"""The demo's deploys in the form that `spanfold deploys add` and the state store take."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha1
from typing import TypedDict

from spanfold.demo.world import DEPLOYS, SERVICES, STORY_DAYS


class DeployRow(TypedDict):
    """A deploy as plain JSON values."""

    id: str
    pr_number: int
    title: str
    commit_sha: str
    author: str
    service: str
    version: str
    environment: str
    completed_at: str  # ISO 8601, UTC


def sha_of(service: str, version: str) -> str:
    """The commit of a version: 40 hex digits, the same in every run."""
    return sha1(f"tidewater/{service}/{version}".encode(), usedforsecurity=False).hexdigest()


def demo_deploys(today: date) -> list[DeployRow]:
    """Deploys of the story that ends on `today` (day 30), oldest first."""
    rows: list[DeployRow] = []
    for deploy in DEPLOYS:
        day = today - timedelta(days=STORY_DAYS - deploy.day)
        completed = datetime.combine(day, time(), UTC) + timedelta(seconds=deploy.second)
        rows.append(
            {
                "id": f"demo-{deploy.pr_number}",
                "pr_number": deploy.pr_number,
                "title": deploy.title,
                "commit_sha": sha_of(deploy.service, deploy.version),
                "author": deploy.author,
                "service": deploy.service,
                "version": deploy.version,
                "environment": SERVICES[deploy.service].environment,
                "completed_at": completed.isoformat().replace("+00:00", "Z"),
            }
        )
    return rows
