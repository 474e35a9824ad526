"""The verbs of access: who may sign in, what programs may ask with, and the log of what was done."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from spanfold.cli import with_settings
from spanfold.cli.output import print_json, print_table
from spanfold.errors import SpanfoldError

if TYPE_CHECKING:
    from spanfold.settings import Settings
    from spanfold.state.store import StateStore
    from spanfold.state.users import User

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_roles = click.option(
    "--role", "roles", multiple=True, required=True, help="read, review, export or admin; may be given several times."
)
_tenants = click.option(
    "--tenant", "tenants", multiple=True, help="Only of this tenant; may be given several times.  [default: all]"
)
_from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@click.group()
def users() -> None:
    """People who may sign in to the dashboard and the API."""


@users.command("add")
@with_settings()
@click.argument("name")
@_roles
@_tenants
@_from_stdin
@click.option("--no-password", is_flag=True, help="Signs in at the OIDC provider only.")
def add_user(
    settings: Settings, name: str, roles: tuple[str, ...], tenants: tuple[str, ...], password_stdin: bool,
    no_password: bool,
) -> None:  # fmt: skip
    """Add a user; asks for the password."""
    password = None if no_password else _password(password_stdin)
    with _state(settings) as state:
        user = state.users.add(name, roles, tenants=tenants or None, password=password, who=_who())
    print(f"added {user.name}: {_may(user)}")


@users.command("role")
@with_settings()
@click.argument("name")
@_roles
@_tenants
def change_roles(settings: Settings, name: str, roles: tuple[str, ...], tenants: tuple[str, ...]) -> None:
    """Replace the roles and tenants of a user, and end its sessions."""
    with _state(settings) as state:
        user = state.users.change_roles(name, roles, tenants=tenants or None, who=_who())
    print(f"{user.name}: {_may(user)}")


@users.command("passwd")
@with_settings()
@click.argument("name")
@_from_stdin
def set_password(settings: Settings, name: str, password_stdin: bool) -> None:
    """Set the password of a user, and end its sessions."""
    with _state(settings) as state:
        print(f"password of {state.users.set_password(name, _password(password_stdin), who=_who()).name} is set")


@users.command("disable")
@with_settings()
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let it sign in again.")
def disable_user(settings: Settings, name: str, undo: bool) -> None:
    """Close a user, its sessions and its tokens at once."""
    with _state(settings) as state:
        user = (state.users.enable if undo else state.users.disable)(name, who=_who())
    print(f"{user.name} {'may sign in again' if undo else 'is disabled'}")


@users.command("list")
@with_settings()
@_as_json
def list_users(settings: Settings, as_json: bool) -> None:
    """All users, what they may do and where."""
    with _state(settings) as state:
        found = state.users.all()
    if as_json:
        print_json([_shown(user) for user in found])
        return
    names = ("name", "roles", "tenants", "password", "created_at", "created_by", "disabled_at")
    print_table(names, [list(_shown(user).values()) for user in found], note="" if found else "no users yet")


@click.group()
def tokens() -> None:
    """Bearer tokens with which programs ask the API in the name of a user."""


@tokens.command("add")
@with_settings()
@click.argument("user")
@click.option("--label", required=True, help="What it is for, such as nightly-export.")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it opens.")
@_as_json
def add_token(settings: Settings, user: str, label: str, days: int, as_json: bool) -> None:
    """Make a token. It is shown once."""
    with _state(settings) as state:
        secret, info = state.tokens.add(user.strip().lower(), label, days=days, who=_who())
    if as_json:
        print_json(asdict(info) | {"secret": secret})
        return
    print(secret)
    print(f"token {info.id} of {info.user_name}; this is the only time it is shown.", file=sys.stderr)
    print("Programs send it as: authorization: Bearer <token>", file=sys.stderr)


@tokens.command("revoke")
@with_settings()
@click.argument("token_id")
def revoke_token(settings: Settings, token_id: str) -> None:
    """Close a token at once."""
    with _state(settings) as state:
        info = state.tokens.revoke(token_id, who=_who())
    print(f"{info.id} ({info.label}) is revoked")


@tokens.command("list")
@with_settings()
@_as_json
def list_tokens(settings: Settings, as_json: bool) -> None:
    """All tokens, newest first; never their secrets."""
    with _state(settings) as state:
        found = [asdict(info) for info in state.tokens.all()]
    if as_json:
        print_json(found)
        return
    names = ("id", "prefix", "user_name", "label", "created_at", "used_at", "expires_at", "revoked_at")
    print_table(names, [[row[name] for name in names] for row in found], note="" if found else "no tokens yet")


@click.group()
def audit() -> None:
    """The log of sign-ins, changes of settings, and reading and export of content."""


@audit.command("list")
@with_settings()
@click.option("-n", "count", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--area", help="Only of this area, such as content, export, users or keys.")
@click.option("--who", help="Only of this person.")
@_as_json
def list_audit(settings: Settings, count: int, area: str | None, who: str | None, as_json: bool) -> None:
    """The newest lines, newest first."""
    with _state(settings) as state:
        found = [asdict(change) for change in state.audit.changes(area, limit=count, who=who)]
    if as_json:
        print_json(found)
        return
    names = ("seq", "changed_at", "who", "area", "action", "subject", "became")
    print_table(names, [[row[name] for name in names] for row in found], note="" if found else "nothing yet")


@audit.command("verify")
@with_settings()
@click.option("--expect", metavar="HASH", help="A hash printed earlier, which must still be in the chain.")
@_as_json
def verify_audit(settings: Settings, expect: str | None, as_json: bool) -> None:
    """Walk the whole chain; fails, naming the line, where one was changed, removed or put in between."""
    with _state(settings) as state:
        verdict = state.audit.verify(expect=expect.strip().lower() if expect else None)
    if as_json:
        print_json(asdict(verdict))
    elif verdict.broken is None:
        print(f"{verdict.lines:,} lines, unbroken; newest hash {verdict.head}")
    if verdict.broken is not None:
        raise SpanfoldError(
            f"the audit log is broken at line {verdict.broken}, after {verdict.lines:,} good ones: it, or what stood "
            "before it, was changed or removed; compare with a backup of state.db"
        )
    if verdict.expected_found is False:
        raise SpanfoldError("the expected hash is not in the log: lines that were there are gone, or were written anew")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at: give the password with --password-stdin")
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return asked


def _may(user: User) -> str:
    tenants = "all tenants" if user.tenants is None else f"tenants {', '.join(sorted(user.tenants))}"
    return f"{', '.join(sorted(user.roles))} in {tenants}"


def _shown(user: User) -> dict[str, Any]:
    return {
        "name": user.name, "roles": sorted(user.roles), "tenants": sorted(user.tenants or ()) or None,
        "has_password": user.has_password, "created_at": user.created_at, "created_by": user.created_by,
        "disabled_at": user.disabled_at,
    }  # fmt: skip


def _state(settings: Settings) -> StateStore:
    """The control plane of a data directory, which may be new: users come before the first start."""
    from spanfold.state.store import StateStore

    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return StateStore.open(settings.data)


def _who() -> str:
    from spanfold.reading import operating_user

    return operating_user()
