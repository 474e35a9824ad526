"""The verb `renormalise`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from spanfold.cli import with_settings
from spanfold.cli.output import print_json, print_mapping, progress

if TYPE_CHECKING:
    from spanfold.settings import Settings

_DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.command()
@with_settings()
@click.option("--since", type=_DAY, metavar="DAY", help="First UTC day, YYYY-MM-DD; else the first that is stored.")
@click.option("--until", type=_DAY, metavar="DAY", help="Last UTC day; else the last that is stored.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@click.option("--timeout", type=float, default=86400.0, show_default=True, help="Seconds to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def renormalise(
    settings: Settings, since: dt.datetime | None, until: dt.datetime | None, dry_run: bool, timeout: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Read stored spans again by today's dialect tables: after a dialect file or a release that knows more."""
    from spanfold.reading import NoDataDirectory
    from spanfold.renormaliser import Request
    from spanfold.renormalising import ask_to_renormalise, spans_of

    if not settings.data.is_dir():
        raise NoDataDirectory
    if since and until and since > until:
        raise click.UsageError("--since is a later day than --until")
    first, last = (day.date().isoformat() if day else None for day in (since, until))
    request = Request(first, last, dry_run)
    with progress("spans read again", spans_of(settings, request)) as advance:
        shown = 0

        def show(done: int) -> None:
            nonlocal shown
            advance(done - shown)
            shown = done

        told = ask_to_renormalise(settings, request, timeout, show)
    if as_json:
        print_json(told | {"dry_run": dry_run})
        return
    columns = told.pop("columns")
    flat = {name.replace("_", " "): value for name, value in told.items()}
    print_mapping(flat | {f"changed {name}": count for name, count in columns.items()})
