"""The verbs of dead letters: records that could not be folded and were set aside."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from spanfold.cli import with_settings
from spanfold.cli.output import print_json, print_table

if TYPE_CHECKING:
    from spanfold.collector.dead_letters import DeadLetter
    from spanfold.settings import Settings

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_names = click.argument("names", nargs=-1, metavar="[NAME]...")
_all = click.option("--all", "everything", is_flag=True, help="Every one.")


@click.group()
def dead() -> None:
    """Records that could not be folded: set aside, sealed, to be replayed or dropped."""


@dead.command("list")
@with_settings()
@_as_json
def list_letters(settings: Settings, as_json: bool) -> None:
    """All of them, oldest first: what came, and what kind of error it met."""
    from spanfold.dead_letters import open_letters

    letters = open_letters(settings.data)
    found = [_shown(letters.get(name)) for name in letters.names()]
    if as_json:
        print_json(found)
        return
    columns = ("name", "set_aside_at", "signal", "tenant", "key_label", "bytes", "error")
    print_table(columns, [[row[name] for name in columns] for row in found], note="" if found else "none")


@dead.command("show")
@with_settings()
@click.argument("name")
def show_letter(settings: Settings, name: str) -> None:
    """What one holds, as JSON: sizes, scopes and ids. Its words were never redacted and are not shown."""
    from spanfold.dead_letters import open_letters, outline

    letters = open_letters(settings.data)
    print_json(_shown(letters.get(name)) | {"record": outline(letters.record(name))})


@dead.command("replay")
@with_settings()
@_names
@_all
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait.")
def replay_letters(settings: Settings, names: tuple[str, ...], everything: bool, timeout: float) -> None:
    """Fold them again, after an update that can. What cannot be folded comes back under a new name."""
    from spanfold.dead_letters import replay

    chosen = _chosen(settings, names, everything)
    _note(settings, "replay", chosen)
    count = replay(settings.data, chosen, timeout)
    click.echo(f"replayed {count}; spanfold dead list shows what came back")


@dead.command("drop")
@with_settings()
@_names
@_all
def drop_letters(settings: Settings, names: tuple[str, ...], everything: bool) -> None:
    """Forget them for good."""
    from spanfold.dead_letters import open_letters

    letters = open_letters(settings.data)
    chosen = _chosen(settings, names, everything)
    _note(settings, "drop", chosen)
    for name in chosen:
        letters.drop(name)
    click.echo(f"dropped {len(chosen)}")


def _chosen(settings: Settings, names: tuple[str, ...], everything: bool) -> list[str]:
    from spanfold.dead_letters import open_letters

    if bool(names) == everything:
        raise click.UsageError("give names, or --all")
    return open_letters(settings.data).names() if everything else list(names)


def _shown(letter: DeadLetter) -> dict[str, Any]:
    told = asdict(letter)
    for name in ("received", "set_aside"):
        told[f"{name}_at"] = dt.datetime.fromtimestamp(told.pop(f"{name}_ns") / 1e9, dt.UTC)
    return told


def _note(settings: Settings, action: str, names: list[str]) -> None:
    from spanfold.reading import open_state, operating_user

    with open_state(settings.data) as state:
        state.audit.note(operating_user(), "dead letters", action, str(len(names)), {"names": names})
