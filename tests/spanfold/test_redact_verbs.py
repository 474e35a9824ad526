"""Redaction rules as data: listed, changed with an audit line, tried on stored data, refused where RE2 cannot run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from spanfold.cli import cli
from spanfold.exporter.redaction_rules import BUILT_IN, Rule
from spanfold.redacting import put
from spanfold.state.rules import RuleRow
from spanfold.state.store import StateStore
from tests.flow.running import printed_json, up
from tests.flow.sending import Product, chat, logs, product, traces

EMPLOYEE = ("--pattern", r"\bEMP-\d{5}\b", "--replacement", "[EMPLOYEE]")


def run(data: Path, *words: str, stdin: str | None = None, ok: bool = True) -> Result:
    result = CliRunner().invoke(cli, ["redact", *words, "--data", str(data)], input=stdin, env={"COLUMNS": "200"})
    if ok and result.exception:
        raise result.exception
    return result


def rules(data: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(run(data, "rules", "--json").stdout)}


def audited(data: Path) -> list[tuple[str, str]]:
    with StateStore.open(data) as state:
        return [(line.action, line.subject) for line in reversed(state.audit.changes("rules"))]


def test_rules_are_listed_changed_and_audited(tmp_path: Path) -> None:
    """Built-in rules first; an own one is added, replaced, switched off and removed, each with a line of the audit log;
    a built-in one is switched off and on again and cannot be removed (TC-013: the list says it is a baseline)."""
    assert list(rules(tmp_path)) == [rule.name for rule in BUILT_IN]
    assert "a baseline" in run(tmp_path, "rules").stderr
    run(tmp_path, "add", "employee", *EMPLOYEE)
    run(tmp_path, "add", "employee", "--pattern", "EMP-([0-9]{5})", "--replacement", "[EMPLOYEE]")
    assert run(tmp_path, "test", "EMP-12345, a@b.com").stdout == "EMP-[EMPLOYEE], [EMAIL]\n"
    run(tmp_path, "disable", "employee")
    run(tmp_path, "disable", "email")
    assert run(tmp_path, "test", stdin="EMP-12345, a@b.com\n").stdout == "EMP-12345, a@b.com\n"
    assert {n: (r["origin"], r["enabled"]) for n, r in rules(tmp_path).items() if r["origin"] != "built in"} == {
        "email": ("changed", False), "employee": ("own", False),
    }  # fmt: skip
    run(tmp_path, "enable", "email")
    run(tmp_path, "remove", "employee")
    assert list(rules(tmp_path)) == [rule.name for rule in BUILT_IN]
    refused = run(tmp_path, "remove", "email", ok=False)
    assert "spanfold redact disable email" in str(refused.exception)
    assert audited(tmp_path) == [
        ("add", "employee"), ("replace", "employee"), ("replace", "employee"), ("add", "email"), ("remove", "email"),
        ("remove", "employee"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "more", "says"),
    [
        (r"(?<=id )\d{4}", (), "no look-around"),
        (r"(a)\1", (), "back-references"),
        (r"x*", (), "matches an empty text"),
        ("(", (), "RE2 refuses the pattern"),
        ("a" * 2001, (), "longer than 2000"),
        ("abc", ("--replacement", "gone"), "must look like [NAME]"),
        ("abc", ("--detector", "nothing-of-this-name"), "there is no detector"),
    ],
)
def test_rules_that_cannot_be_run_are_refused(tmp_path: Path, pattern: str, more: tuple[str, ...], says: str) -> None:
    """One sentence says what RE2 or the rule lacks; nothing is stored."""
    refused = run(tmp_path, "add", "own", "--pattern", pattern, "--replacement", "[OWN]", *more, ok=False)
    assert says in str(refused.exception)
    assert audited(tmp_path) == []


def test_a_slow_pattern_is_linear_here(tmp_path: Path) -> None:
    """A nested repeat that takes other engines for ever passes 100,000 characters in under a second (RE2)."""
    run(tmp_path, "add", "slow", "--pattern", "(a+)+b", "--replacement", "[SLOW]")
    began = time.monotonic()
    assert run(tmp_path, "test", stdin="a" * 100_000).stdout.strip() == "a" * 100_000
    assert time.monotonic() - began < 1.0


@pytest.fixture
def stored(tmp_path: Path) -> Product:
    now = time.time_ns()
    said = [{"role": "user", "parts": [{"type": "text", "content": "I am EMP-12345 and EMP-54321."}]}]
    with product(tmp_path / "data") as p:
        p.send(traces([chat(1, 1, start=now, history=said, app__who="EMP-77777"), chat(1, 2, start=now, history=said)]))
        p.send(traces([chat(2, 1, start=now, history=[*said, said[0]])], service="desk"))
        p.send(logs([(1, 1, "note", {"prompt": "EMP-11111"}, now)]), signal="logs")
        p.fold()
    return p


@pytest.mark.slow
def test_a_dry_run_counts_by_day_service_and_place(stored: Product) -> None:
    """Stored messages once each, private parts and clear columns; examples show the marker in place of what was found;
    nothing is changed."""
    found = json.loads(run(stored.data, "dry-run", *EMPLOYEE, "--json").stdout)
    counts = {(r["service_name"], r["place"]): (r["texts"], r["hits"]) for r in found["rows"]}
    assert counts == {
        ("shop", "message"): (1, 2), ("desk", "message"): (1, 2), ("shop", "attributes"): (1, 1),
        ("shop", "private"): (1, 1),
    }  # fmt: skip
    assert "I am [EMPLOYEE] and [EMPL" in " ".join(found["examples"])
    assert "EMP-" not in " ".join(found["examples"])
    assert "nothing found" in run(stored.data, "dry-run", "email").stderr
    assert rules(stored.data).keys() == {rule.name for rule in BUILT_IN}


@pytest.mark.slow
def test_a_running_folder_takes_rules_over(tmp_path: Path) -> None:
    """A rule counts for what comes next, known words included; one that cannot be run leaves the others in force."""
    said = [{"role": "user", "parts": [{"type": "text", "content": "I am EMP-12345"}]}]
    with product(tmp_path / "data", content="plain") as p:
        p.send(traces([chat(1, 1, history=said)]))
        p.fold()
        with StateStore.open(p.data) as state:
            put(state, Rule("employee", r"\bEMP-\d{5}\b", None, "[EMPLOYEE]"), who="test")
        p.folding.refresh_rules()
        p.send(traces([chat(2, 1, history=said)]))
        p.fold()
        counted = "SELECT rule, service_name, sum(count) FROM redactions GROUP BY ALL ORDER BY ALL"
        assert p.query(counted) == [("employee", "shop", 1)]
        with StateStore.open(p.data) as state:
            state.rules.put(RuleRow(name="broken", pattern="(", replacement="[X]"), who="test")
        time.sleep(1.05)
        p.folding.refresh_rules()
        p.send(traces([chat(3, 1, history=[*said, said[0]])]))
        p.fold()
        assert p.query(counted) == [("employee", "shop", 1)]  # the same words, still redacted
        assert p.query("SELECT redactions FROM messages WHERE depth = 1") == [(1,)]


@pytest.mark.slow
def test_rules_without_restart(tmp_path: Path) -> None:
    """While everything runs: `add` returns when the rule counts, `rules` counts it, `status` has nothing to report."""
    said = [{"role": "user", "parts": [{"type": "text", "content": "I am EMP-12345"}]}]
    with up(tmp_path) as running:
        assert running.spanfold("redact", "add", "employee", *EMPLOYEE).stdout == "employee: in force\n"
        running.send(traces([chat(1, 1, history=said)]))
        running.flush()
        exported = running.spanfold("export", "--content").stdout
        assert "I am [EMPLOYEE]" in exported
        assert "EMP-12345" not in exported
        assert "redaction" not in running.status()["errors"]
        listed = printed_json(running.spanfold("redact", "rules", "--json"))
        assert [row["name"] for row in listed if row["origin"] == "own"] == ["employee"]
