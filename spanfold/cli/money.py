"""Whose prices count and in which money, for the verbs that print cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spanfold.errors import SpanfoldError

if TYPE_CHECKING:
    from spanfold.analytics.filters import Filters

Command = TypeVar("Command", bound=Callable[..., Any])


def money_options(command: Command) -> Command:
    """The options `--prices` (parameter `basis`) and `--currency`."""
    command = click.option("--currency", help="Money to show, by the rates of `spanfold prices rate`.  "
                           "[default: the setting]")(command)  # fmt: skip
    return click.option(
        "--prices", "basis", type=click.Choice(["true", "believed", "today"]), default="true", show_default=True,
        help="Prices true at the time of a call, as believed then, or of today.",
    )(command)  # fmt: skip


def rates_of(view: Any, filters: Filters, currency: str) -> list[dict[str, Any]]:
    """The exchange rates that count in this time, oldest first; none for USD. Raises SpanfoldError without any."""
    rates: list[dict[str, Any]] = view.query("exchange_used", filters, currency=currency).to_pylist()
    if currency != "USD" and not rates:
        raise SpanfoldError(
            f"no exchange rate of {currency} is in the snapshot: state what one is worth in USD with "
            f"`spanfold prices rate {currency} AMOUNT`; a running `spanfold up` takes it over within 10 seconds"
        )
    return rates


def tell_rates(rates: Sequence[Mapping[str, Any]], currency: str) -> None:
    """What stands behind sums in other money, beside them on standard error."""
    for rate in [rates[0], rates[-1]] if len(rates) > 2 else rates:
        print(f"1 {currency} = {rate['usd']} USD from {rate['day']} on", file=sys.stderr)
    if len(rates) > 2:
        print(f"{len(rates):,} rates count in this time", file=sys.stderr)
