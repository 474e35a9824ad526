"""The verb `demo`: sends thirty days of invented traffic through the stock OTLP exporter."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from spanfold.cli import with_settings
from spanfold.demo.deploys import demo_deploys
from spanfold.demo.world import STORY_DAYS
from spanfold.settings import Settings

_MARK = "run/demo.json"  # remembers the moment that the story was told for, so that telling it again changes nothing


@click.command()
@click.option("--endpoint", help="Where the collector listens; default 127.0.0.1 and the gRPC port of the settings.")
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]), help="When the thirty days end; default now.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@with_settings()
def demo(settings: Settings, endpoint: str | None, until: dt.datetime | None, as_json: bool) -> None:
    """Send thirty days of demo traffic: three keys, ten prompts, an expensive deploy on day 22."""
    end = _end(settings.data, until.replace(tzinfo=dt.UTC) if until else None)
    if settings.data.is_dir():
        _add_deploys(settings.data, end)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a refusal becomes one sentence of our own
    sent = _send(endpoint or f"127.0.0.1:{settings.grpc_port}", end)
    if as_json:
        print(json.dumps(sent | {"until": end.isoformat().replace("+00:00", "Z")}))
    else:
        print(f"sent {sent['spans']:,} spans and {sent['logs']:,} log records of 30 days in {sent['seconds']:.1f} s")


def _send(endpoint: str, end: dt.datetime) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from spanfold.demo.story import story
    from spanfold.demo.traffic import Sender

    console = Console(stderr=True)
    columns = (TextColumn("demo traffic, days"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        days = progress.add_task("", total=STORY_DAYS)
        with Sender(endpoint) as sender:
            sent = sender.send(story(end), lambda _: progress.advance(days))
    return {"spans": sent.spans, "logs": sent.logs, "seconds": round(sent.seconds, 2)}


def _end(data: Path, until: dt.datetime | None) -> dt.datetime:
    """The moment that this data directory has been told the story for, or now (and remembers it)."""
    mark = data / _MARK
    if until is None and mark.is_file():
        return dt.datetime.fromisoformat(json.loads(mark.read_text())["until"])
    end = until or dt.datetime.now(dt.UTC).replace(microsecond=0)
    if data.is_dir():
        mark.parent.mkdir(exist_ok=True)
        partial = mark.with_suffix(".tmp")
        partial.write_text(json.dumps({"until": end.isoformat()}))
        partial.replace(mark)
    return end


def _add_deploys(data: Path, end: dt.datetime) -> None:
    from spanfold.state.deploys import Deploy
    from spanfold.state.store import StateStore

    rows = demo_deploys(end.date())
    events = [
        Deploy(
            completed_at=dt.datetime.fromisoformat(row["completed_at"]),
            id=row["id"],
            pr_number=row["pr_number"],
            title=row["title"],
            commit_sha=row["commit_sha"],
            author=row["author"],
            service=row["service"],
            environment=row["environment"],
            version=row["version"],
            source="demo",
        )
        for row in rows
    ]
    with StateStore.open(data) as state:
        state.deploys.add(events, who="demo")
