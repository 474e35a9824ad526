"""`spanfold explain-span`: where every column of a span came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spanfold.cli import with_settings
from spanfold.errors import SpanfoldError

if TYPE_CHECKING:
    from spanfold.settings import Settings

_LONG = 120  # characters of a raw value in the table; --json has all


@click.command("explain-span")
@with_settings()
@click.argument("span_id", metavar="SPAN_ID")
@click.option("--trace", "trace_id", help="Its trace, where span ids repeat.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_span(settings: Settings, span_id: str, trace_id: str | None, as_json: bool) -> None:
    """Every column of a span: the rule that filled it, the attribute it came from, and what was not understood."""
    from spanfold.analytics import explaining
    from spanfold.cli.output import print_json
    from spanfold.reading import open_reader
    from spanfold.semconv.dialect_files import load_dialects

    view = open_reader(settings.data).view()
    dialects = load_dialects(settings.dialects_folder).dialects
    found = explaining.explain_span(view, span_id.strip().lower(), dialects, trace_id=trace_id, content=True)
    if found is None:
        raise SpanfoldError(f"no span {span_id[:40]} in the snapshot: `spanfold flush` takes in what has just come")
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    from spanfold.cli.output import clean, print_table

    print(f"{clean(found['name'])}  scope {clean(found['scope_name'])} {clean(found['scope_version'] or '')}")
    if found["closed"]:
        print("its encrypted attributes are closed here: no key, or no permission")
    rows = [
        [line["column"], line["value"], line["key"] or "", _short(line["raw"]),
         line["rule"] + (f"; by the rules of today it would be {line['now']}" if "now" in line else "")]
        for line in found["columns"]
    ]  # fmt: skip
    print_table(("column", "value", "attribute", "as sent", "rule"), rows)
    for dialect in found["dialects"]:
        print(f"speaks {dialect['name']}: {dialect['marks']}")
    for context in found["contexts"]:
        print(f"{context['direction']}: {context['messages']} messages, found in {context['source']}")
    if found["suppressed"]:
        print(f"not counted: {found['suppressed']} of {found['merged_into']}")
    print()
    unused = [
        [
            line["key"],
            _short(line["value"]),
            "a rule reads it, but it filled nothing" if line["known_key"] else "no rule",
        ]
        for line in found["not_understood"]
    ]
    print_table(("not understood", "as sent", "why"), unused, note="" if unused else "every attribute filled a column")
    for note in found["notes"]:
        print(f"{note['kind']}: {clean(note['detail'])}")


def _short(value: Any) -> str:
    from spanfold.cli.output import cell

    text = "" if value is None else cell(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
