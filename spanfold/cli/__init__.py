"""The command `spanfold`. A verb is a click command in a module of this package and a line in `VERBS`.

Modules are imported when their verb is used, so that `spanfold collect` listens at once and a part that is not
installed costs only its own verbs.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from spanfold.errors import SpanfoldError

VERBS = {
    # verb: module:command
    "up": "spanfold.cli.run:up",
    "collect": "spanfold.cli.run:collect",
    "fold": "spanfold.cli.run:fold",
    "dashboard": "spanfold.cli.run:dashboard",
    "status": "spanfold.cli.run:status",
    "flush": "spanfold.cli.run:flush",
    "compact": "spanfold.cli.run:compact",
    "scrub": "spanfold.cli.scrub:scrub",
    "init": "spanfold.cli.run:init",
    "dead": "spanfold.cli.dead:dead",
    "erase": "spanfold.cli.privacy:erase",
    "retain": "spanfold.cli.privacy:retain",
    "redact": "spanfold.cli.redact:redact",
    "keyring": "spanfold.cli.privacy:keyring",
    "demo": "spanfold.cli.demo:demo",
    "dialects": "spanfold.cli.dialects:dialects",
    "stats": "spanfold.cli.read:stats",
    "waste": "spanfold.cli.waste:waste",
    "renormalise": "spanfold.cli.renormalise:renormalise",
    "tail": "spanfold.cli.read:tail",
    "show": "spanfold.cli.read:show",
    "explain-span": "spanfold.cli.explain:explain_span",
    "sql": "spanfold.cli.read:sql",
    "export": "spanfold.cli.read:export",
    "deploys": "spanfold.cli.control:deploys",
    "keys": "spanfold.cli.control:keys",
    "prices": "spanfold.cli.prices:prices",
    "whatif": "spanfold.cli.prices:whatif",
    "users": "spanfold.cli.access:users",
    "tokens": "spanfold.cli.access:tokens",
    "audit": "spanfold.cli.access:audit",
}
DEBUG_VARIABLE = "SPANFOLD_DEBUG"


class _Verbs(click.Group):
    """Looks verbs up in `VERBS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for verb in VERBS:
            try:
                command = self.get_command(ctx, verb)
            except ImportError:
                rows.append((verb, "(its part is not installed)"))
            else:
                rows.append((verb, command.get_short_help_str(80) if command else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="spanfold")
@click.option("--data", type=click.Path(file_okay=False), help="Data directory; also SPANFOLD_DATA.")
@click.pass_context
def cli(ctx: click.Context, data: str | None) -> None:
    """The system of record for what LLM applications did, cost and said."""
    ctx.obj = {"data": data}


def with_settings(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command `--data` and, as its first argument, the settings in force.

    The options of the command that `names` lists are settings: they are merged, not passed on.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option("--data", type=click.Path(file_okay=False), help="Data directory; also SPANFOLD_DATA.")
        @functools.wraps(command)
        def run(data: str | None, **options: Any) -> Any:
            from spanfold.settings import load

            flags = {name: options.pop(name) for name in names}
            before = (click.get_current_context().find_root().obj or {}).get("data")
            return command(load({"data": data or before, **flags}), **options)

        return run

    return decorate


def main() -> None:
    """Runs the command; exits 2 on a usage error and 1 on a failure, with one sentence on stderr."""
    from spanfold.supervisor import die_with_parent

    try:
        die_with_parent()
        cli(prog_name="spanfold")
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        print(f"spanfold: {_sentence(error)}", file=sys.stderr)
        sys.exit(1)


def _sentence(error: Exception) -> str:
    from spanfold.cli.output import clean

    text = " ".join(clean(error).split())  # an error may quote what was typed, or sent
    if isinstance(error, SpanfoldError) or type(error).__module__.startswith("spanfold."):
        return text or (type(error).__doc__ or type(error).__name__)
    if isinstance(error, ImportError):
        return f"a part of Spanfold is missing here ({text}): install spanfold[server]"
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {text}"
    (where,) = traceback.extract_tb(error.__traceback__)[-1:]  # the text of an unforeseen error may quote a sender
    place = f"{os.path.basename(where.filename)}:{where.lineno}"
    return f"{type(error).__name__} in {place} ({DEBUG_VARIABLE}=1 shows what it says)"
