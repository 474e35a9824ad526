"""`spanfold dialects`: the tables that say what spans mean, and a check of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spanfold.cli import with_settings
from spanfold.errors import SpanfoldError

if TYPE_CHECKING:
    from spanfold.settings import Settings


class DialectRefused(SpanfoldError):
    """A dialect file cannot be used."""


@click.group()
def dialects() -> None:
    """List the dialects in force, or check a dialect file."""


@dialects.command("list")
@with_settings()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(settings: Settings, as_json: bool) -> None:
    """Every dialect in force, most specific first, and what was left out of the folder."""
    from spanfold.cli.output import print_json, print_table
    from spanfold.semconv.dialect_files import load_dialects

    found = load_dialects(settings.dialects_folder)
    rows = [
        {"name": table.name, "from": found.own.get(table.name, "built in"), "columns": len(table.fields),
         "content": sorted(table.content), "about": table.about}
        for table in found.dialects.tables
    ]  # fmt: skip
    if as_json:
        refused = [str(refusal) for refusal in found.refused]
        print_json({"dialects": rows, "switched_off": list(found.switched_off), "refused": refused})
        return
    print_table(
        ("name", "from", "columns", "about"), [[row[n] for n in ("name", "from", "columns", "about")] for row in rows]
    )
    for name in found.switched_off:
        print(f"switched off: {name}")
    for refusal in found.refused:
        print(f"left out: {refusal}")


@dialects.command()
@with_settings()
@click.option("--days", default=7, show_default=True, help="How many days back.")
@click.option("--limit", default=1000, show_default=True, help="At most so many lines.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def coverage(settings: Settings, days: int, limit: int, as_json: bool) -> None:
    """Attributes seen by emitter and version, and whether a rule reads them; those that none reads first."""
    import datetime as dt

    from spanfold.analytics.filters import Filters
    from spanfold.cli.output import print_json, print_table
    from spanfold.reading import open_reader
    from spanfold.semconv.dialect_files import load_dialects
    from spanfold.semconv.explain import read_keys

    mapped = read_keys(load_dialects(settings.dialects_folder).dialects)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    recent = Filters(start=now - dt.timedelta(days=days), end=now)
    rows = open_reader(settings.data).rows("attribute_coverage", recent, mapped=mapped, limit=limit)
    if as_json:
        print_json(rows)
        return
    names = ("mapped", "key", "spans", "dialect", "scope_name", "scope_version", "example_span_id")
    print_table(names, [[row[name] for name in names] for row in rows])


@dialects.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Say whether a dialect file can be used; if not, which line is wrong."""
    from spanfold.semconv.dialect_files import check_file

    name, refusal = check_file(file)
    if refusal is not None:
        raise DialectRefused(str(refusal))
    print(f"{file.name} is a dialect: {name}")
