"""The verbs users, tokens and audit on a real state database."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spanfold.analytics.prices import PriceBook
from spanfold.analytics.snapshot import publish
from spanfold.cli import cli
from spanfold.errors import SpanfoldError
from spanfold.exporter.manifest import read_current


def run(data: Path, *arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["--data", str(data), *arguments], input=given, catch_exceptions=True)


def shown(data: Path, *arguments: str) -> object:
    done = run(data, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_users_and_tokens(tmp_path: Path) -> None:
    """Users and tokens are made, listed, changed and closed; no listing shows a secret."""
    done = run(tmp_path, "users", "add", "Ann", "--role", "review", "--tenant", "acme", "--password-stdin",
               given="a long enough phrase\n")  # fmt: skip
    assert done.output == "added ann: review in tenants acme\n"
    assert run(tmp_path, "users", "add", "ci", "--role", "export", "--no-password").exit_code == 0
    listed = shown(tmp_path, "users", "list")
    assert [(u["name"], u["roles"], u["tenants"], u["has_password"]) for u in listed] == [
        ("ann", ["review"], ["acme"], True), ("ci", ["export"], None, False),
    ]  # fmt: skip
    new = shown(tmp_path, "tokens", "add", "ci", "--label", "nightly")
    assert new["secret"].startswith("sft_")
    assert new["secret"] not in run(tmp_path, "tokens", "list").output
    assert run(tmp_path, "tokens", "revoke", new["id"]).output == f"{new['id']} (nightly) is revoked\n"
    assert run(tmp_path, "users", "role", "ann", "--role", "read", "--role", "export").output == (
        "ann: export, read in all tenants\n"
    )
    assert run(tmp_path, "users", "passwd", "ann", "--password-stdin", given="another phrase\n").exit_code == 0
    assert run(tmp_path, "users", "disable", "ann").output == "ann is disabled\n"
    assert run(tmp_path, "users", "disable", "ann", "--undo").output == "ann may sign in again\n"
    actions = [(line["area"], line["action"]) for line in shown(tmp_path, "audit", "list")]
    assert actions == [
        ("users", "enable"), ("users", "disable"), ("users", "passwd"), ("users", "role"), ("tokens", "revoke"),
        ("tokens", "add"), ("users", "add"), ("users", "add"),
    ]  # fmt: skip


def test_a_password_is_asked_for_at_a_terminal_only(tmp_path: Path) -> None:
    """Without a terminal the verb says how to give the password, and makes no user."""
    done = run(tmp_path, "users", "add", "ann", "--role", "read")
    assert done.exit_code == 2
    assert "--password-stdin" in done.output
    assert shown(tmp_path, "users", "list") == []


def test_verify_names_the_broken_line(tmp_path: Path) -> None:
    """[90] `audit verify` passes on an untouched log, and fails at the line that somebody changed."""
    for name in ("ann", "bob", "eve"):
        run(tmp_path, "users", "add", name, "--role", "read", "--no-password")
    head = shown(tmp_path, "audit", "verify")["head"]
    assert run(tmp_path, "audit", "verify", "--expect", head).exit_code == 0
    missing = run(tmp_path, "audit", "verify", "--expect", "ab" * 32)
    assert isinstance(missing.exception, SpanfoldError)
    assert "not in the log" in str(missing.exception)
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("DROP TRIGGER settings_audit_no_update")
        connection.execute("UPDATE settings_audit SET subject = 'mallory' WHERE seq = 2")
    broken = run(tmp_path, "audit", "verify")
    assert isinstance(broken.exception, SpanfoldError)
    assert "broken at line 2, after 1 good ones" in str(broken.exception)


@pytest.mark.parametrize("arguments", [
    ("users", "add", "ann"), ("users", "role", "ann"), ("tokens", "add", "ann"), ("audit", "list", "-n", "0"),
])  # fmt: skip
def test_usage_errors(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What is missing is a usage error (exit 2)."""
    assert run(tmp_path, *arguments).exit_code == 2


def test_reading_content_at_the_terminal_is_in_the_log(filled: Path, tmp_path: Path) -> None:
    """[90] `show` and `sql` write down content that they give out, exports always; numbers alone are not noted."""
    data = tmp_path / "data"
    subprocess.run(["cp", "-r", str(filled), str(data)], check=True)
    shutil.rmtree(data / "snapshots")
    publish(data, read_current(data), PriceBook.load(), {})
    before = len(shown(data, "audit", "list"))
    for arguments in (
        ("show", f"{11:016x}"), ("show", f"{11:016x}", "--no-content"), ("export",), ("export", "--content"),
        ("sql", "SELECT count(*) FROM messages"), ("sql", "SELECT max(content) FROM messages"), ("stats",),
    ):  # fmt: skip
        assert run(data, *arguments).exit_code == 0, arguments
    lines = shown(data, "audit", "list")
    told = [(line["area"], line["subject"]) for line in lines[: len(lines) - before]]
    assert told == [
        ("content", "sql SELECT max(content) FROM messages"), ("export", "calls with content as ndjson"),
        ("export", "calls as ndjson"), ("content", f"span {11:016x}"),
    ]  # fmt: skip
