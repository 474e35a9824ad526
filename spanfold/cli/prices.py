"""The verbs of prices: what counts, what would change if other prices counted, what has no price."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from spanfold.cli import with_settings
from spanfold.cli.control import _state, _who
from spanfold.cli.output import print_json, print_table
from spanfold.errors import SpanfoldError

if TYPE_CHECKING:
    from spanfold.repricing import Change
    from spanfold.settings import Settings

PER = {"1": 1, "1K": 1_000, "1M": 1_000_000}
TIERS = ("*", "standard", "batch", "flex", "priority", "fast")
DIFFERENCE = ("month", "provider", "model", "calls", "cost_before", "cost_after", "change", "unpriced_after")
LISTED = ("provider", "model", "bucket", "price", "per", "tier", "above", "valid_from", "layer", "source")
MOST_LISTED = 300
UNPRICED = (
    "accept a suggestion: spanfold prices alias PROVIDER MODEL; name another model: ... alias PROVIDER MODEL "
    "openai/gpt-4o; or state a price: spanfold prices set PROVIDER MODEL input=0.25 output=1.25"
)
WHATIF = ("month", "model", "service_name", "calls", "input_tokens", "output_tokens", "cost", "cost_as", "change")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_yes = click.option("--yes", is_flag=True, help="Apply it; otherwise you are asked, or nothing is stored.")
_force = click.option("--force", is_flag=True, help="Take a price that is far from the built-in list.")
_valid_from = click.option(
    "--valid-from", help="From when it holds: a UTC day (2026-04-01) or 2026-04-01T09:30:00Z.  [default: always]"
)
_per = click.option(
    "--per", type=click.Choice(list(PER)), default="1M", show_default=True, help="Tokens a price is for."
)


@click.group()
def prices() -> None:
    """The price book and your own prices over it."""


@prices.command("set")
@with_settings()
@click.argument("provider")
@click.argument("model")
@click.argument("amounts", nargs=-1, required=True, metavar="BUCKET=AMOUNT...")
@_per
@click.option("--tier", type=click.Choice(TIERS), default="*", show_default=True, help="Service tier; * = every one.")
@click.option("--above", type=click.IntRange(0), default=0, metavar="TOKENS", help="Only for longer inputs than this.")
@click.option("--currency", default="USD", show_default=True, help="Others need `spanfold prices rate`.")
@click.option("--negotiated", is_flag=True, help="A contract's rate: below your other own prices.")
@_valid_from
@_force
@_yes
@_as_json
def set_price(
    settings: Settings, provider: str, model: str, amounts: tuple[str, ...], per: str, tier: str, above: int,
    currency: str, negotiated: bool, valid_from: str | None, force: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """State what MODEL (a name, or a pattern with *) of PROVIDER (or *) costs: input=0.25 output=1.25.

    Buckets: input, output, cache_read, cache_write, cache_write_1h, audio_input, image_input, reasoning, audio_output,
    request (per call), web_search (per search). BUCKET=none takes your price back. Nothing is overwritten: what was
    known before can still be asked.
    """
    from spanfold.repricing import amount, set_change

    try:
        stated = [amount(text, PER[per]) for text in amounts]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with _state(settings) as state:
        change = set_change(
            state, provider, model, stated, valid_from=_start(valid_from), currency=currency.upper(), tier=tier,
            above_tokens=above, layer="negotiated" if negotiated else "override", force=force,
        )  # fmt: skip
    _propose(settings, change, yes=yes, as_json=as_json)


@prices.command("import")
@with_settings()
@click.argument("file", type=click.File("rb"))
@click.option("--per", type=click.Choice(["token", "1K", "1M"]), help="Tokens of a price, where columns do not say.")
@click.option("--layer", type=click.Choice(["imported", "negotiated", "override"]), help="[default: by the format]")
@_valid_from
@_force
@_yes
@_as_json
def import_prices(
    settings: Settings, file: BinaryIO, per: str | None, layer: str | None, valid_from: str | None,
    force: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Take over the prices of a FILE (- = standard input).

    A LiteLLM-format JSON map of models becomes the layer over the built-in list; a CSV or JSON list with the columns
    provider, model and prices (input_per_1m, output_per_1m ...) the layer of negotiated rates. Where the file has no
    dates, a LiteLLM map holds from today for models that have a price already, and always for the others.
    """
    from spanfold.repricing import import_change

    start = _start(valid_from) if valid_from else None
    with _state(settings) as state:
        path = getattr(file, "name", "<stdin>")
        name = "standard input" if path == "<stdin>" else Path(path).name
        change = import_change(state, file.read(), name, per=per, layer=layer, valid_from=start, force=force)
    _propose(settings, change, yes=yes, as_json=as_json)


@prices.command("sync")
@with_settings()
@_yes
@_as_json
def sync_prices(settings: Settings, yes: bool, as_json: bool) -> None:
    """Put the price list of the installed genai-prices package in force. Nothing is downloaded: upgrade it with pip."""
    from spanfold.repricing import sync_change

    with _state(settings) as state:
        change = sync_change(state)
    _propose(settings, change, yes=yes, as_json=as_json)


@prices.command("alias")
@with_settings()
@click.argument("provider", required=False)
@click.argument("model", required=False)
@click.argument("target", required=False, metavar="[PROVIDER/MODEL|none]")
@_valid_from
@_as_json
def alias_price(
    settings: Settings, provider: str | None, model: str | None, target: str | None, valid_from: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Price calls of PROVIDER (or *) and MODEL (a name or pattern) as a model of the book, such as openai/gpt-4o.

    Without a target the one that `prices unpriced` suggests is taken; `none` takes the alias back; without arguments
    the aliases are listed.
    """
    if provider is None or model is None:
        _list_aliases(settings, as_json)
        return
    from spanfold.repricing import alias_change, suggestions

    if target is None:
        found = [r for r in suggestions(settings.data) if r["model"] == model and provider in ("*", r["provider"])]
        target = next((row["suggestion"] for row in found if row["suggestion"]), None)
        if target is None:
            raise SpanfoldError(f"nothing is suggested for {provider}/{model}: name the model that it costs as")
    with _state(settings) as state:
        change = alias_change(
            state, provider, model, None if target == "none" else target, valid_from=_start(valid_from)
        )  # fmt: skip
    _propose(settings, change, yes=True, as_json=as_json)


@prices.command("unpriced")
@with_settings()
@_as_json
def unpriced(settings: Settings, as_json: bool) -> None:
    """The inbox: models without a price, by volume, each with the model it may be."""
    from spanfold.repricing import suggestions

    rows = suggestions(settings.data)
    if as_json:
        print_json(rows)
        return
    names = ("provider", "model", "calls", "input_tokens", "output_tokens", "last_seen", "suggestion")
    note = UNPRICED if rows else "every call has a price"
    print_table(names, [[row[name] for name in names] for row in rows], note=note)


@prices.command("rate")
@with_settings()
@click.argument("currency", required=False)
@click.argument("usd", required=False)
@click.option("--day", help="UTC day from which it holds.  [default: today]")
@click.option("--file", type=click.File("r"), help="CSV with the columns currency, day, usd.")
@_as_json
def rate(settings: Settings, currency: str | None, usd: str | None, day: str | None, file: Any, as_json: bool) -> None:
    """State what one unit of CURRENCY is worth in USD from a day on (EUR 1.08); without arguments list the rates."""
    import csv

    from spanfold.repricing import Change

    if file is not None:
        stated = [_rate(row.get("currency"), row.get("day"), row.get("usd")) for row in csv.DictReader(file)]
    elif currency is not None and usd is not None:
        stated = [_rate(currency, day or dt.datetime.now(dt.UTC).date().isoformat(), usd)]
    elif currency is not None:
        raise click.UsageError(f"what is one {currency} worth in USD?")
    else:
        stated = []
    if stated:
        _propose(settings, Change(rates=stated), yes=True, as_json=as_json)
        return
    with _state(settings) as state:
        rows = [[r.currency, r.day.isoformat(), float(r.usd), r.source] for r in state.price_sources.rates()]
    if as_json:
        print_json([dict(zip(("currency", "day", "usd", "source"), row, strict=True)) for row in rows])
    else:
        print_table(("currency", "day", "usd", "source"), rows, note="" if rows else "no rates yet")


@prices.command("list")
@with_settings()
@click.option("--model", default="*", show_default=True, help="Name of a model, or a pattern with *.")
@click.option("--provider", help="Only of this provider.")
@click.option("--own", is_flag=True, help="Only your own prices.")
@_as_json
def list_prices(settings: Settings, model: str, provider: str | None, own: bool, as_json: bool) -> None:
    """Prices that hold now; your own ones come first. With --json each for one unit: a token, a request."""
    from spanfold.pricing import load_book

    with _state(settings) as state:
        book = load_book(state)
    rows = [row for row in book.rows().to_pylist() if _fits(row, model, provider, own)]
    rows.sort(key=lambda row: ("override", "negotiated", "imported", "book").index(row["layer"]))
    if not book.is_current():
        print("the installed genai-prices has another list: `spanfold prices sync` shows it", file=sys.stderr)
    if as_json:
        print_json(rows)
        return
    print_table(LISTED, [_listed_row(row) for row in rows[:MOST_LISTED]], note="" if rows else "no price fits")
    if len(rows) > MOST_LISTED:
        print(f"{len(rows) - MOST_LISTED:,} more: narrow it with --model and --provider, or --json", file=sys.stderr)


@click.command()
@with_settings()
@click.option("--model", required=True, help="Model whose recorded usage counts: a name, or a pattern with *.")
@click.option("--as", "as_model", required=True, help="Model that prices it: a name, or PROVIDER/MODEL of the book.")
@click.option("--tier", type=click.Choice(TIERS[1:]), help="Service tier to price at.  [default: as each call was]")
@click.option("--days", type=click.IntRange(1), help="How far back.  [default: everything]")
@click.option("--prices", "basis", type=click.Choice(["true", "believed", "today"]), default="true", show_default=True,
              help="Prices of both: true at the time, as believed then, or of today.")  # fmt: skip
@_as_json
def whatif(
    settings: Settings, model: str, as_model: str, tier: str | None, days: int | None, basis: str, as_json: bool
) -> None:
    """What recorded usage would have cost with another model or tier. Tokens stay as they were recorded."""
    from spanfold.analytics.price_preview import has_price
    from spanfold.analytics.price_preview import whatif as priced_as
    from spanfold.analytics.snapshots import Snapshots
    from spanfold.pricing import load_book

    with _state(settings) as state:
        book = load_book(state)
    if not has_price(book, as_model):
        near = book.suggest(as_model)
        raise SpanfoldError(f"no price is known of {as_model!r}" + (f": did you mean {near}?" if near else ""))
    last = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    first = last - dt.timedelta(days=days + 1) if days else dt.date.min
    rows = priced_as(
        Snapshots(settings.data).newest().cursor(), book, model=model, as_model=as_model, tier=tier,
        days=(first, last if days else dt.date.max), basis=basis,
    )  # fmt: skip
    totals = {name: sum(row[name] or 0 for row in rows) for name in ("calls", "cost", "cost_as", "change")}
    assumed = sum(row["assumed_calls"] for row in rows)
    if as_json:
        print_json({"model": model, "as": as_model, "tier": tier, "prices": basis, **totals,
                    "assumed_calls": assumed, "rows": rows})  # fmt: skip
        return
    nothing = f"no calls of {model}: `spanfold stats` names the models that were recorded"
    print_table(WHATIF, [[_month(row[name]) for name in WHATIF] for row in rows], note="" if rows else nothing)
    if rows:
        print(f"{model}: {totals['cost']:,.4f} USD; as {as_model}: {totals['cost_as']:,.4f} USD "
              f"({totals['change']:+,.4f})")  # fmt: skip
    if assumed:
        print(f"{assumed:,} calls are priced at an assumed rate (tier or time unknown to the book)", file=sys.stderr)


def _propose(settings: Settings, change: Change, *, yes: bool, as_json: bool) -> None:
    """Shows what the change would make of recorded usage, and stores it if it is wanted."""
    from spanfold.repricing import difference

    with _state(settings) as state:
        rows = [] if change.is_empty else difference(settings.data, state, change)
        if not as_json:
            _print_difference(change, rows)
        apply = not change.is_empty and (yes or (not as_json and sys.stdin.isatty() and click.confirm("Apply?")))
        if apply:
            change.store(state, _who())
    stored = len(change.stated) + len(change.aliases) + len(change.rates) + (change.book is not None)
    if as_json:
        print_json({
            "applied": apply, "stored": stored if apply else 0, "notes": list(change.notes), "difference": rows,
            "change": sum(row["change"] for row in rows),
        })  # fmt: skip
    elif apply:
        print(f"stored ({stored:,}); a running `spanfold up` takes it over within 10 seconds")
    elif not change.is_empty:
        print("nothing is stored: add --yes to apply it", file=sys.stderr)


def _print_difference(change: Change, rows: list[dict[str, Any]]) -> None:
    for note in change.notes:
        print(note)
    if rows:
        print_table(DIFFERENCE, [[_month(row[name]) for name in DIFFERENCE] for row in rows])
        print(f"recorded usage would cost {sum(row['change'] for row in rows):+,.6f} USD")
    elif not change.is_empty:
        print("no recorded call would cost anything else")


def _month(value: Any) -> Any:
    return f"{value:%Y-%m}" if isinstance(value, dt.date) else value


def _list_aliases(settings: Settings, as_json: bool) -> None:
    from dataclasses import asdict

    with _state(settings) as state:
        rows = [asdict(alias) for alias in state.price_sources.aliases()]
    if as_json:
        print_json(rows)
        return
    names = ("provider", "model_pattern", "target", "valid_from", "known_from", "source")
    print_table(names, [[row[name] for name in names] for row in rows], note="" if rows else "no aliases yet")


def _listed_row(row: dict[str, Any]) -> list[Any]:
    """Tokens by the million, as lists state them."""
    per, times = ("1M tokens", 1_000_000) if row["unit"] == "token" else (row["unit"], 1)
    price = f"{row['price'] * times:.10g} {row['currency']}"
    return [row["provider"], row["model"], row["bucket"], price, per, row["context_value"], row["tier_start"],
            _day(row["valid_from"]), row["layer"], row["source"]]  # fmt: skip


def _day(moment: dt.datetime | None) -> Any:
    """Midnight as its day, the beginning of all time as nothing."""
    if moment is None or moment.year <= 1970:
        return None
    return moment.date() if moment.time() == dt.time() else moment


def _fits(row: dict[str, Any], model: str, provider: str | None, own: bool) -> bool:
    import fnmatch

    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    started = row["valid_from"] is None or row["valid_from"] <= now
    holds = started and (row["valid_to"] is None or now < row["valid_to"]) and row["known_to"] is None
    wanted = provider in (None, row["provider"]) and (not own or row["layer"] != "book")
    return holds and wanted and fnmatch.fnmatchcase(row["model"], model)


def _start(valid_from: str | None) -> dt.datetime:
    from spanfold.deploy_files import parse_time
    from spanfold.state.price_overrides import ALWAYS

    if valid_from is None:
        return ALWAYS
    return parse_time(f"{valid_from}T00:00:00Z" if _DAY.fullmatch(valid_from) else valid_from)


def _rate(currency: str | None, day: str | None, usd: str | None) -> Any:
    from decimal import Decimal, InvalidOperation

    from spanfold.state.price_sources import ExchangeRate

    try:
        return ExchangeRate(
            currency=(currency or "").strip().upper(), day=dt.date.fromisoformat((day or "").strip()),
            usd=Decimal((usd or "").strip()), source="cli",
        )  # fmt: skip
    except (ValueError, InvalidOperation):
        raise click.UsageError(
            f"{currency} {day} {usd} is no rate: a currency, a day such as 2026-11-01 and USD for one unit"
        ) from None
