"""The verbs of privacy: erase, retain, keyring. What they change is in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spanfold.cli import with_settings
from spanfold.cli.output import print_json, print_mapping, print_table

if TYPE_CHECKING:
    from spanfold.settings import Settings

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@with_settings()
@click.option("--user", "user", metavar="ID", help="Everything of a user, by the id that services send.")
@click.option("--session", "session", metavar="ID", help="Everything of a session or conversation.")
@click.option("--trace", "trace", metavar="ID", help="One trace, 32 hex digits.")
@click.option("--tenant", default="default", show_default=True, help="Whose data.")
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@click.option(
    "--drop-quarantine", is_flag=True, help="Delete damaged pieces in quarantine/ too: nobody can search them."
)
@click.option("--timeout", type=float, default=3600.0, show_default=True, help="Seconds to wait.")
@_as_json
def erase(
    settings: Settings, tenant: str, dry_run: bool, drop_quarantine: bool, timeout: float, as_json: bool,
    **subject: str | None,
) -> None:  # fmt: skip
    """Take away for good what a user, session or trace said and who that was; measures stay."""
    from spanfold.erasing import Request, ask_to_erase
    from spanfold.reading import NoDataDirectory, operating_user

    named = [(kind, value.strip()) for kind, value in subject.items() if value and value.strip()]
    if len(named) != 1:
        raise click.UsageError("name one of --user, --session and --trace")
    kind, value = named[0]
    if kind == "trace":
        value = value.lower()
        if len(value) != 32 or any(c not in "0123456789abcdef" for c in value):
            raise click.UsageError(f"{value!r} is not a trace id: 32 hexadecimal digits")
    if not settings.data.is_dir():
        raise NoDataDirectory
    receipt = ask_to_erase(settings, Request(kind, value, tenant, operating_user(), dry_run, drop_quarantine), timeout)
    if as_json:
        print_json(receipt)
        return
    print_mapping(_flat(receipt))


@click.command()
@with_settings()
@click.option("--all", "everything", is_flag=True, required=True, help="Whatever is over its time, however much.")
@click.option("--timeout", type=float, default=3600.0, show_default=True, help="Seconds to wait.")
def retain(settings: Settings, everything: bool, timeout: float) -> None:
    """Let go what is over its time now; ordinary days go by themselves, many at once wait for this."""
    from spanfold.flushing import retain as wait_for_retention
    from spanfold.reading import open_state, operating_user

    with open_state(settings.data) as state:
        limits = {name: getattr(settings, name) for name in ("content_days", "retention_rules", "retention_days")}
        state.audit.note(operating_user(), "privacy", "retain", "everything over its time", limits)
    wait_for_retention(settings, timeout)
    click.echo("done: nothing over its time is left")


@click.group()
def keyring() -> None:
    """Keys that content and journal are encrypted with. (API keys of senders: `spanfold keys`.)"""


@keyring.command("list")
@with_settings()
@_as_json
def list_keyring(settings: Settings, as_json: bool) -> None:
    """Every key by what it is for, and the root key that wraps them; never a key."""
    from spanfold.exporter.keys import Keyring

    ring = Keyring.open(settings.data, create=False)
    entries = ring.entries()
    newest = {(e.kind, e.tenant, e.period): e.id for e in entries}
    rows = [
        {"id": e.id, "kind": e.kind, "tenant": e.tenant or None, "period": e.period or None,
         "in_use": newest[e.kind, e.tenant, e.period] == e.id}
        for e in entries
    ]  # fmt: skip
    root_id, source = ring.root
    if as_json:
        print_json({"root": {"id": root_id, "from": source}, "content": settings.content, "keys": rows})
        return
    columns = ("id", "kind", "tenant", "period", "in_use")
    note = f"root key {root_id} from {source}; content = {settings.content}"
    print_table(columns, [[row[name] for name in columns] for row in rows], note=note)


@keyring.command("rotate")
@with_settings()
@click.option("--data-keys", is_flag=True, help="New keys for this month's content and today's journal instead.")
@_as_json
def rotate_keyring(settings: Settings, data_keys: bool, as_json: bool) -> None:
    """A new root key: every other key is wrapped anew, no data is rewritten.

    A root key in a file is replaced there and running processes follow. Where it is in the environment or a key
    service, SPANFOLD_NEW_ROOT_KEY holds the new one (64 hex digits or kms:NAME); afterwards set SPANFOLD_ROOT_KEY to it
    and start Spanfold again.
    """
    from spanfold.rotating import rotate_data_keys, rotate_root

    told = (rotate_data_keys if data_keys else rotate_root)(settings.data)
    if as_json:
        print_json(told)
    else:
        print_mapping(told)


def _flat(receipt: dict[str, Any]) -> dict[str, object]:
    """One line a fact; nested ones by their path."""
    out: dict[str, object] = {}
    for name, value in receipt.items():
        if isinstance(value, dict):
            out |= {f"{name} {key}": inner for key, inner in _flat(value).items()}
        elif name != "shared_message_ids":
            out[name.replace("_", " ")] = value if not isinstance(value, list) or value else "none"
    return out
