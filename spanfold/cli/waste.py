"""`spanfold waste`: what was paid for nothing new, the figures of Costs > Waste."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from spanfold.cli import with_settings
from spanfold.cli.money import money_options, rates_of, tell_rates

if TYPE_CHECKING:
    from spanfold.settings import Settings

TABLES = {  # query -> its columns in a terminal
    "waste_resent": ("key", "roles", "sends", "messages", "tokens", "cost", "first_cost"),
    "waste_cache": ("cause", "calls", "expected_tokens", "cache_read_tokens", "missed_tokens", "missed_cost"),
    "waste_repeats": ("kind", "tool_name", "model", "calls", "most_times", "cost", "calls_without_cost"),
}
TOTALS = ("cost", "resent_cost", "missed_cost", "loop_cost", "loops", "retry_cost", "retries")


@click.command()
@with_settings()
@click.option("--days", type=click.IntRange(1), default=7, show_default=True, help="How far back.")
@click.option("--by", type=click.Choice(["tool", "prompt", "thread", "message", "role"]), default="tool",
              show_default=True, help="What the cost of resending is added up by.")  # fmt: skip
@money_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def waste(settings: Settings, days: int, by: str, basis: str, currency: str | None, as_json: bool) -> None:
    """Money spent on messages sent again, cache reads that did not happen, loops and retries."""
    from spanfold.analytics.filters import Filters
    from spanfold.cli.output import print_json, print_table
    from spanfold.reading import open_reader

    until = dt.datetime.now(dt.UTC).replace(tzinfo=None, minute=0, second=0, microsecond=0) + dt.timedelta(hours=1)
    filters = Filters(start=until - dt.timedelta(days=days), end=until)
    view = open_reader(settings.data, content=False).view()
    money = (currency or settings.currency).upper()
    rates, asked = rates_of(view, filters, money), {"basis": basis, "currency": money}
    (totals,) = view.query("waste_totals", filters, **asked).to_pylist()
    rows = {name: view.query(name, filters, resent_by=by, **asked).to_pylist() for name in TABLES}
    if as_json:
        named = {name.removeprefix("waste_"): found for name, found in rows.items()}
        print_json({"days": days, "since": filters.start, "by": by, "prices": basis, "currency": money, "rates": rates,
                    "totals": totals, **named})  # fmt: skip
        return
    tell_rates(rates, money)
    print_table(TOTALS, [[totals[name] for name in TOTALS]])
    for name, columns in TABLES.items():
        if rows[name]:
            print()
            print_table(columns, [[row[column] for column in columns] for row in rows[name]])
