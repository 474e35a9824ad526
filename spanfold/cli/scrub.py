"""The verb scrub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from spanfold.cli import with_settings
from spanfold.cli.output import print_json, print_table
from spanfold.errors import DamageFound

if TYPE_CHECKING:
    from spanfold.settings import Settings


@click.command()
@with_settings()
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the fold process.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scrub(settings: Settings, timeout: float, as_json: bool) -> None:
    """Compare everything that is stored with its checksums; damaged lake files are set aside, never deleted."""
    from spanfold import scrub as scrubbing
    from spanfold.flushing import quarantine

    report = scrubbing.scrub(settings.data)
    wrong = [found.path for found in report.damaged if found.part in ("lake", "identities") and not found.set_aside]
    if wrong:
        quarantine(settings, wrong, timeout)
        report.now_aside(settings.data)
    if as_json:
        print_json(report.to_json())
    else:
        rows = [[found.part, found.path, found.problem, found.set_aside] for found in report.damaged]
        files = ", ".join(f"{part} {count:,}" for part, count in report.checked.items())
        print_table(("part", "path", "problem", "set_aside"), rows, note=f"read {report.bytes:,} bytes; files: {files}")
    if report.damaged:
        raise DamageFound(f"damaged: {len(report.damaged)}; docs/durability.md says what to do about each part")
