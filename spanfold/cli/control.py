"""The verbs of the control plane: deploys, keys. Each changes state in one transaction with its audit line."""

from __future__ import annotations

import datetime as dt
import getpass
import re
import sys
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from spanfold.cli import with_settings
from spanfold.cli.output import print_json, print_table
from spanfold.errors import SpanfoldError

if TYPE_CHECKING:
    from spanfold.settings import Settings
    from spanfold.state.store import StateStore

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_tenant = click.option("--tenant", default="default", show_default=True, help="Whose it is.")


@click.group()
def deploys() -> None:
    """What was rolled out when: the pivots of cost attribution."""


@deploys.command("add")
@with_settings()
@click.option("--completed-at", help="When it was done, such as 2026-04-18T14:05:00Z.  [default: now]")
@click.option("--id", "id_", default="", help="Made of the other fields when not given.")
@click.option("--pr", "pr_number", type=int, help="Number of the pull request.")
@click.option("--title", help="What was changed.")
@click.option("--sha", "commit_sha", help="Commit, short or full.")
@click.option("--author", help="Who wrote it.")
@click.option("--service", help="service.name of what was deployed.")
@click.option("--environment", help="Where to.")
@click.option("--version", help="service.version from then on.")
@_tenant
@_as_json
def add_deploy(settings: Settings, completed_at: str | None, id_: str, as_json: bool, **values: Any) -> None:
    """Record one deploy."""
    from spanfold.deploy_files import parse_time
    from spanfold.state.deploys import Deploy

    time = parse_time(completed_at) if completed_at else dt.datetime.now(dt.UTC).replace(microsecond=0)
    deploy = Deploy(completed_at=time, id=id_, **values)
    with _state(settings) as state:
        added = state.deploys.add([deploy], who=_who())
    if as_json:
        print_json(asdict(deploy))
    else:
        print(f"{'recorded' if added else 'already recorded'}: {deploy.id}")


@deploys.command("sync")
@with_settings()
@click.argument("file", type=click.File("rb"))
@_tenant
@_as_json
def sync_deploys(settings: Settings, file: BinaryIO, tenant: str, as_json: bool) -> None:
    """Record the deploys of a JSON FILE (- = standard input); known ones are corrected, none is doubled.

    FILE holds a list of objects with completed_at and any of id, pr_number, title, commit_sha, author, service,
    environment, version; or GitHub's answer for workflow runs.
    """
    from spanfold.deploy_files import read_deploys

    found = read_deploys(file.read(), tenant=tenant)
    with _state(settings) as state:
        changed = state.deploys.add(found, who=_who())
    if as_json:
        print_json({"read": len(found), "changed": changed})
    else:
        print(f"{len(found)} deploys read, {changed} new or corrected")


@deploys.command("list")
@with_settings()
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="How far back.")
@_as_json
def list_deploys(settings: Settings, days: int, as_json: bool) -> None:
    """The latest deploys, newest first."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    with _state(settings) as state:
        found = state.deploys.between(since=since)
    if as_json:
        print_json([asdict(deploy) for deploy in found])
        return
    names = ("completed_at", "service", "environment", "version", "commit_sha", "pr_number", "title", "author", "id")
    print_table(names, [[getattr(d, name) for name in names] for d in found], note="" if found else "no deploys yet")


@click.group()
def keys() -> None:
    """API keys of senders; a key carries a label and a tenant."""


@keys.command("add")
@with_settings()
@click.option("--label", required=True, help="What the key is for, such as prod-frontend.")
@_tenant
@_as_json
def add_key(settings: Settings, label: str, tenant: str, as_json: bool) -> None:
    """Make a key. It is shown once."""
    with _state(settings) as state:
        _show_secret(state.keys.add(label, tenant=tenant, who=_who()), as_json)


@keys.command("rotate")
@with_settings()
@click.argument("key_id")
@click.option("--overlap", default="0", metavar="TIME", help="The old key opens this much longer: 90s, 30m, 24h, 7d.")
@_as_json
def rotate_key(settings: Settings, key_id: str, overlap: str, as_json: bool) -> None:
    """A new key with the label and tenant of KEY_ID, which is revoked."""
    with _state(settings) as state:
        _show_secret(state.keys.rotate(key_id, who=_who(), overlap=_duration(overlap)), as_json)


@keys.command("revoke")
@with_settings()
@click.argument("key_id")
@_as_json
def revoke_key(settings: Settings, key_id: str, as_json: bool) -> None:
    """Close a key at once."""
    with _state(settings) as state:
        revoked = state.keys.revoke(key_id, who=_who())
    if as_json:
        print_json(asdict(revoked))
    else:
        print(f"{revoked.id} ({revoked.label}) is revoked")


@keys.command("list")
@with_settings()
@_as_json
def list_keys(settings: Settings, as_json: bool) -> None:
    """All keys, newest first; never their secrets."""
    from spanfold.state.keys import KeyInfo

    with _state(settings) as state:
        found = state.keys.all()
    if as_json:
        print_json([asdict(key) for key in found])
        return
    names = [field.name for field in fields(KeyInfo)]
    print_table(names, [[getattr(key, name) for name in names] for key in found], note="" if found else "no keys yet")


def _duration(text: str) -> dt.timedelta:
    match = re.fullmatch(r"(\d+)([smhd]?)", text)
    if not match:
        raise click.UsageError(f"{text!r} is not a time such as 90s, 30m, 24h or 7d")
    unit = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return dt.timedelta(**{unit: int(match[1])})


def _show_secret(new: Any, as_json: bool) -> None:
    if as_json:
        print_json(asdict(new.info) | {"secret": new.secret})
        return
    print(new.secret)
    print(
        f"key {new.info.id} ({new.info.label}); this is the only time it is shown. Senders set\n"
        f'OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20<key>"',
        file=sys.stderr,
    )


def _state(settings: Settings) -> StateStore:
    from spanfold.state.store import StateStore

    if not settings.data.is_dir():
        raise SpanfoldError(f"there is no data directory {settings.data}: start `spanfold up`, or give --data")
    return StateStore.open(settings.data)


def _who() -> str:
    """The name of the person at this terminal, for the audit trail."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
