"""The verbs of redaction rules. Every change is checked first, and is in the audit log."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from spanfold.cli import with_settings
from spanfold.cli.output import clean, print_json, print_table

if TYPE_CHECKING:
    from spanfold.settings import Settings

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_name = click.argument("name")
_pattern = click.option("--pattern", help="RE2: linear time, so no look-around and no back-references.")
_detector = click.option("--detector", help="Check behind the pattern, built in or of an installed package.")
_replacement = click.option("--replacement", help="Marker in brackets, such as [EMPLOYEE].")


@click.group()
def redact() -> None:
    """Redaction rules: what is taken out of every text before it is stored. A baseline, not data loss prevention."""


@redact.command("rules")
@with_settings()
@_as_json
def list_rules(settings: Settings, as_json: bool) -> None:
    """All rules, the first one first where two hit."""
    from spanfold.reading import open_state
    from spanfold.redacting import BASELINE, listed

    with open_state(settings.data) as state:
        rows = [asdict(rule) | {"origin": origin} for rule, origin in listed(state)]
    if as_json:
        print_json(rows)
        return
    columns = ("name", "enabled", "origin", "replacement", "detector")
    off = "" if settings.redaction_enabled else "; redaction is switched off (redaction_enabled = false)"
    print_table(columns, [[row[name] for name in columns] for row in rows], note=BASELINE + off)


@redact.command("add")
@with_settings()
@_name
@click.option("--pattern", required=True, help="RE2; if it has a group, only what the first one caught is replaced.")
@_detector
@click.option("--replacement", required=True, help="Marker in brackets, such as [EMPLOYEE].")
@click.option("--disabled", is_flag=True, help="Keep it, but switched off.")
def add_rule(
    settings: Settings, name: str, pattern: str, detector: str | None, replacement: str, disabled: bool
) -> None:
    """Add a rule, or replace the one called NAME. Try it first: `spanfold redact dry-run --pattern ...`."""
    from spanfold.exporter.redaction_rules import Rule
    from spanfold.redacting import put

    rule = Rule(name, pattern, detector, replacement, enabled=not disabled)
    _change(
        settings, lambda state, who: put(state, rule, who=who), f"{name} is kept, switched off" if disabled else name
    )


@redact.command("enable")
@with_settings()
@_name
def enable_rule(settings: Settings, name: str) -> None:
    """Switch a rule on."""
    from spanfold.redacting import switch

    _change(settings, lambda state, who: switch(state, name, enabled=True, who=who), f"{name} is switched on")


@redact.command("disable")
@with_settings()
@_name
def disable_rule(settings: Settings, name: str) -> None:
    """Switch a rule off: what it found before stays redacted."""
    from spanfold.redacting import switch

    _change(settings, lambda state, who: switch(state, name, enabled=False, who=who), f"{name} is switched off")


@redact.command("remove")
@with_settings()
@_name
def remove_rule(settings: Settings, name: str) -> None:
    """Forget an own rule, or what was changed of a built-in one."""
    from spanfold.redacting import remove

    said: list[str] = []
    _change(settings, lambda state, who: said.append(remove(state, name, who=who)), name, said)


@redact.command("test")
@with_settings()
@click.argument("text", required=False)
@_as_json
def test_rules(settings: Settings, text: str | None, as_json: bool) -> None:
    """What the rules in force make of TEXT, or of standard input. Nothing is stored."""
    from spanfold.reading import open_state
    from spanfold.redacting import texts_redacted

    given = sys.stdin.read() if text is None else text
    with open_state(settings.data) as state:
        redacted, hits = texts_redacted(state, given)
    if as_json:
        print_json({"text": redacted, "hits": hits})
        return
    click.echo(clean(redacted).rstrip("\n"))
    found = ", ".join(f"{count} by {rule}" for rule, count in sorted(hits.items()))
    print(found or "nothing found", file=sys.stderr)


@redact.command("dry-run")
@with_settings()
@click.argument("name", required=False)
@_pattern
@_detector
@_replacement
@click.option("--days", type=click.IntRange(1), default=7, show_default=True, help="How far back, today included.")
@click.option("--examples", type=click.IntRange(0, 100), default=5, show_default=True, help="Masked ones to show.")
@_as_json
def dry_run(
    settings: Settings, name: str | None, pattern: str | None, detector: str | None, replacement: str | None,
    days: int, examples: int, as_json: bool,
) -> None:  # fmt: skip
    """What a rule (NAME, or one given by --pattern) would take out of stored data. Changes nothing; needs the keys."""
    from spanfold.exporter.redaction_rules import Rule
    from spanfold.reading import note_reading, open_state
    from spanfold.redacting import rule_named, trial, trial_rows

    if (name is None) == (pattern is None):
        raise click.UsageError("give the NAME of a rule, or a --pattern")
    if pattern is not None:
        rule = Rule("dry-run", pattern, detector, replacement or "[DRY_RUN]")
    else:
        with open_state(settings.data) as state:
            found_rule = rule_named(state, str(name))
        rule = Rule(found_rule.name, found_rule.pattern, found_rule.detector, found_rule.replacement)
    note_reading(settings.data, "content", f"redact dry-run {rule.name}", days=days)
    found = trial(settings.data, rule, days=days, examples=examples)
    rows = trial_rows(found)
    if as_json:
        print_json({"rows": rows, "looked_at": found.looked_at, "damaged_blocks": found.unopened,
                    "examples": found.examples})  # fmt: skip
        return
    columns = ("date", "service_name", "place", "texts", "hits")
    note = f"{found.looked_at:,} stored texts looked at" + ("; nothing found" if not rows else "")
    print_table(columns, [[row[column] for column in columns] for row in rows], note=note)
    for example in found.examples:
        click.echo(f"  … {' '.join(clean(example).split())} …")


def _change(settings: Settings, change: Any, done: str, more: list[str] | None = None) -> None:
    from spanfold.reading import open_state, operating_user
    from spanfold.redacting import wait_until_taken_over

    with open_state(settings.data) as state:
        change(state, operating_user())
        when = wait_until_taken_over(settings.data, state)
    click.echo(" ".join([done, *(more or [])]) + f": {when}")
