"""The verbs that read: export, show, sql, tail, stats. They work while `up` runs and change nothing."""

from __future__ import annotations

import datetime as dt
import io
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from spanfold.cli import with_settings
from spanfold.cli.money import money_options, rates_of, tell_rates
from spanfold.errors import SpanfoldError

if TYPE_CHECKING:
    import pyarrow as pa

    from spanfold.settings import Settings

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ID = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
STATS = ("calls", "errors", "cost", "unpriced_calls", "input_tokens", "output_tokens", "cache_read_tokens", "p95_ms")
TAIL = ("start_time", "service_name", "name", "model", "status", "input_tokens", "output_tokens", "duration_ms")
FOLLOWED = 10_000  # most rows shown at once while following
MOST_TABLE_ROWS = (
    1_000  # of a query in a table: every column is as wide as its widest value, so all rows are laid out first
)


@click.command()
@with_settings()
@click.option("--format", "form", type=click.Choice(["ndjson", "csv", "parquet"]), default="ndjson", show_default=True)
@click.option("--content", is_flag=True, help="With what people and models said (needs the keys).")
@click.option(
    "--where", metavar="SQL", help="A condition on the columns of the view calls, such as \"status = 'error'\"."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to.  [default: stdout]")
def export(settings: Settings, form: str, content: bool, where: str | None, output: Path | None) -> None:
    """Write call records, one a line or row, in order of time."""
    from spanfold import exports
    from spanfold.cli.output import progress
    from spanfold.reading import check_condition, note_reading, open_reader
    from spanfold.scrub import verify_exported

    if form == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is not text: give a file with -o, or pipe it")
    reader = open_reader(settings.data, content=content)
    if where is not None:
        check_condition(settings.data, where)
    verify_exported(settings.data, content=content)
    note_reading(settings.data, "export", f"calls{' with content' if content else ''} as {form}", where=where)
    with _sink(output) as sink, progress("exporting calls") as advance:
        count = exports.export_calls(reader, form, sink, where=where, content=content, progress=advance)
    if output is not None:
        print(f"{count:,} calls written to {output}", file=sys.stderr)


@click.command()
@with_settings()
@click.argument("id_", metavar="SPAN_ID|TRACE_ID")
@click.option("--content/--no-content", default=True, help="With what people and models said, where the keys are here.")
@_as_json
def show(settings: Settings, id_: str, content: bool, as_json: bool) -> None:
    """Everything kept of a span or a trace."""
    from spanfold.cli.output import print_json
    from spanfold.cli.show_text import print_span, print_trace
    from spanfold.exporter.errors import KeyMissing
    from spanfold.reading import note_reading, open_reader
    from spanfold.shown import span_document, trace_document

    wanted = id_.strip().lower()
    if not _ID.fullmatch(wanted):
        raise click.UsageError(f"{id_[:80]!r} is no id: a span has 16 hex digits, a trace 32")
    read: Any = trace_document if len(wanted) == 32 else span_document
    view = open_reader(settings.data, content=content).view()
    try:
        document = read(view, wanted, content=content)
        if content and document is not None:
            note_reading(settings.data, "content", f"{'trace' if len(wanted) == 32 else 'span'} {wanted}")
    except KeyMissing:
        print("content is encrypted and its key is not here: shown without it", file=sys.stderr)
        document = read(view, wanted, content=False)
    if document is None:
        kind = "trace" if len(wanted) == 32 else "span"
        raise SpanfoldError(f"no {kind} {wanted} in the snapshot: `spanfold flush` takes in what has just come")
    if as_json:
        print_json(document)
    else:
        (print_trace if len(wanted) == 32 else print_span)(document)


@click.command()
@with_settings()
@click.argument("query")
@_as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--content/--no-content", default=True, help="Let messages.content be read, where the keys are here.")
@click.option("--rows", type=click.IntRange(1), default=1_000_000, show_default=True, help="Most rows to print.")
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="When to stop.")
@click.option("--memory", type=click.IntRange(64), default=2048, show_default=True, help="MiB it may use.")
def sql(
    settings: Settings, query: str, as_json: bool, as_csv: bool, content: bool, rows: int, seconds: int, memory: int
) -> None:
    """Run one SELECT on the published views (`SHOW TABLES` lists them); - reads it from standard input."""
    from spanfold import exports
    from spanfold.query_client import Limits
    from spanfold.reading import NoDataDirectory, note_reading, run_sql

    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both")
    if not settings.data.is_dir():
        raise NoDataDirectory
    text = sys.stdin.read() if query == "-" else query
    limits = Limits(rows=rows, seconds=seconds, memory_bytes=memory << 20)

    def first_words() -> None:
        note_reading(settings.data, "content", f"sql {text}")

    with run_sql(settings.data, text, content=content, limits=limits, first_words=first_words) as running:
        schema = exports.distinct_names(running.schema)
        batches = (batch.rename_columns(schema.names) for batch in running.batches())
        _print_rows(batches, schema, "json" if as_json else "csv" if as_csv else "table")
        if running.truncated:
            print(f"cut off at {rows:,} rows or 1 GiB: narrow the query, or raise --rows", file=sys.stderr)


@click.command()
@with_settings()
@click.option("-n", "--n", "count", type=click.IntRange(1, FOLLOWED), default=20, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--spans", is_flag=True, help="Spans of all kinds, not only calls.")
@_as_json
def tail(settings: Settings, count: int, follow: bool, spans: bool, as_json: bool) -> None:
    """The newest calls, the newest last; with --json one object a line."""
    from spanfold.reading import open_reader

    reader = open_reader(settings.data, content=False)
    query, columns = ("tail", TAIL) if spans else ("tail_calls", (*TAIL, "cost"))
    seen: set[tuple[str, str]] = set()
    newest: dt.datetime | None = None
    version = ""
    while True:
        if reader.version != version:
            version = reader.version
            limit = count if newest is None else FOLLOWED
            found = reader.rows(query, limit=limit, after=_a_moment_before(newest))
            fresh = [row for row in reversed(found) if (row["trace_id"], row["span_id"]) not in seen]
            _print_tail(fresh, (*columns, "span_id"), as_json, header=newest is None)
            if newest is None and found:  # what is older than the first rows but of the same moment is not new either
                found = reader.rows(query, limit=FOLLOWED, after=_a_moment_before(found[0]["received_time"]))
            seen = {(row["trace_id"], row["span_id"]) for row in found}
            newest = max((row["received_time"] for row in found), default=newest)
        if not follow:
            return
        time.sleep(0.5)


@click.command()
@with_settings()
@click.option("--days", type=click.IntRange(1), default=7, show_default=True, help="How far back.")
@money_options
@_as_json
def stats(settings: Settings, days: int, basis: str, currency: str | None, as_json: bool) -> None:
    """Calls, tokens and cost of the last days by key and model."""
    from spanfold.analytics.filters import Filters
    from spanfold.cli.output import print_json, print_table
    from spanfold.reading import open_reader

    until = dt.datetime.now(dt.UTC).replace(tzinfo=None, minute=0, second=0, microsecond=0) + dt.timedelta(hours=1)
    filters = Filters(start=until - dt.timedelta(days=days), end=until)
    view = open_reader(settings.data, content=False).view()
    money = (currency or settings.currency).upper()
    rates = rates_of(view, filters, money)
    rows = view.query(
        "cost_table", filters, by="key", then_by="model", limit=1_000, basis=basis, currency=money
    ).to_pylist()  # fmt: skip
    if as_json:
        named = [{"key": row.pop("key"), "model": row.pop("then_key"), **row} for row in rows]
        print_json({"days": days, "since": filters.start, "prices": basis, "currency": money, "rates": rates,
                    "rows": named})  # fmt: skip
        return
    tell_rates(rates, money)
    table = [[row["key"], row["then_key"], *(row[name] for name in STATS)] for row in rows]
    print_table(("key", "model", *STATS), table, note="" if rows else f"no calls in the last {days} days")


@contextmanager
def _sink(output: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name only when it is whole."""
    if output is None:
        with nullcontext(sys.stdout.buffer) as stream:
            yield stream
            stream.flush()
        return
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with open(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _print_rows(batches: Iterator[pa.RecordBatch], schema: pa.Schema, form: str) -> None:
    from spanfold import exports
    from spanfold.cli.output import clean, print_table

    if form == "csv" and sys.stdout.isatty():
        written = io.BytesIO()
        exports.write("csv", batches, schema, written)
        print(clean(written.getvalue().decode()), end="")
    elif form == "csv":
        exports.write("csv", batches, schema, sys.stdout.buffer)
    elif form == "json":
        separator = b"[\n"
        for batch in batches:
            for line in exports.ndjson_lines(batch):
                sys.stdout.buffer.write(separator + line.rstrip(b"\n"))
                separator = b",\n"
        sys.stdout.buffer.write(b"[]\n" if separator == b"[\n" else b"\n]\n")
    else:
        rows: list[tuple[object, ...]] = []
        total = 0
        for batch in batches:
            first = batch.slice(0, max(0, MOST_TABLE_ROWS - total))
            rows += zip(*(column.to_pylist() for column in first.columns), strict=True)
            total += batch.num_rows
        left = f"the first {len(rows):,} of {total:,} rows; --json and --csv print them all"
        print_table(schema.names, rows, note=left if len(rows) < total else "")
    sys.stdout.flush()


def _a_moment_before(newest: dt.datetime | None) -> dt.datetime | None:
    """Spans of one request share their time of receipt and may be folded apart: look at that moment again."""
    return None if newest is None else newest - dt.timedelta(seconds=5)


def _print_tail(rows: list[dict[str, Any]], columns: Sequence[str], as_json: bool, *, header: bool) -> None:
    from spanfold.cli.output import print_json_line, print_table

    if as_json:
        for row in rows:
            print_json_line(row)
    elif rows or header:
        print_table(columns, [[row[name] for name in columns] for row in rows], header=header)
