"""What verbs print. Text of senders is data: no terminal escape, no markup, no direction trick passes."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import orjson

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|.)?", re.DOTALL
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

MOST_CHARS = 1_000  # of a value in a table; a sender can make one of megabytes, and every row would be as wide
_MOST_ALONE = 4_000  # of a value on a line of its own

_JSON = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


def clean(value: object) -> str:
    """A value as text that only shows: escapes and control characters are gone, tabs and newlines stay."""
    return _CONTROL.sub("", _ESCAPE.sub("", str(value)))


def cell(value: object) -> str:
    """A value as one line."""
    if value is None:
        return "–"
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".") if abs(value) >= 1e-4 or value == 0 else f"{value:.2e}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return " ".join(clean(value).split())


def _cut(text: str, most: int = MOST_CHARS) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, note: str = "", header: bool = True
) -> None:
    """A table on stdout; numbers to the right. `note` goes to stderr."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for i, name in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows)
        table.add_column(Text(clean(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cut(cell(value))) for value in row))
    if not sys.stdout.isatty():  # a pipe has no width to fit into
        console.width = 10_000
        console.print(table, no_wrap=True)
    else:
        console.print(table)
    if note:
        print(clean(note), file=sys.stderr)


def print_json(value: object) -> None:
    """One JSON document on stdout; times in UTC with Z."""
    sys.stdout.buffer.write(orjson.dumps(value, default=str, option=_JSON | orjson.OPT_INDENT_2))
    sys.stdout.buffer.flush()


def print_json_line(value: object) -> None:
    """One JSON object on a line of stdout."""
    sys.stdout.buffer.write(orjson.dumps(value, default=str, option=_JSON))
    sys.stdout.buffer.flush()


def print_mapping(values: Mapping[str, object]) -> None:
    """Name and value, a line each."""
    shown = [(_cut(cell(name)), _cut(cell(value), _MOST_ALONE)) for name, value in values.items()]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Gives a function that moves a bar on stderr; silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda amount: bar.advance(task, amount)
