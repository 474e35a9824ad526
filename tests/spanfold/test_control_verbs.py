"""The verbs of the control plane: deploys, keys, prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from spanfold.cli import cli
from spanfold.cli.output import cell, clean
from spanfold.deploy_files import DeployFileRefused, read_deploys
from spanfold.errors import SpanfoldError
from spanfold.state.store import StateStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def run(data: Path, *words: str, stdin: str | None = None, ok: bool = True) -> Result:
    result = CliRunner().invoke(cli, [*words, "--data", str(data)], input=stdin, env={"COLUMNS": "200"})
    if ok and result.exception:
        raise result.exception
    return result


def as_json(data: Path, *words: str, stdin: str | None = None) -> Any:
    return json.loads(run(data, *words, "--json", stdin=stdin).stdout)


def test_deploy_is_added_and_listed(data: Path) -> None:
    """A deploy is recorded once however often it is said, and listed with its facts (LT-016, LT-017)."""
    words = ("deploys", "add", "--completed-at", "2099-04-18T16:05:00+02:00", "--sha", "3F2A9C1", "--service", "web",
             "--pr", "129", "--title", "Sonnet \x1b[31m")  # fmt: skip
    deploy = as_json(data, *words)
    assert (deploy["completed_at"], deploy["commit_sha"]) == ("2099-04-18T14:05:00Z", "3f2a9c1")
    assert run(data, *words).stdout == f"already recorded: {deploy['id']}\n"
    (listed,) = as_json(data, "deploys", "list")
    assert listed == deploy
    assert "\x1b" not in run(data, "deploys", "list").stdout


def test_deploys_are_synced_from_a_file(data: Path, tmp_path: Path) -> None:
    """A list of deploys is taken in whole; the second time nothing changes; a correction corrects (LT-017, LT-042)."""
    entries = [
        {"id": "1", "completed_at": "2099-04-18T14:05:00Z", "service": "web", "pr_number": 7},
        {"completed_at": "2099-04-18T15:00:00Z", "version": "1.2"},
    ]
    file = tmp_path / "deploys.json"
    file.write_text(json.dumps(entries))
    assert as_json(data, "deploys", "sync", str(file)) == {"read": 2, "changed": 2}
    assert as_json(data, "deploys", "sync", str(file)) == {"read": 2, "changed": 0}
    entries[0]["title"] = "Corrected"
    corrected = as_json(data, "deploys", "sync", "-", stdin=json.dumps({"deploys": entries}))
    assert corrected == {"read": 2, "changed": 1}
    assert [(d["pr_number"], d["version"]) for d in as_json(data, "deploys", "list")] == [(None, "1.2"), (7, None)]


def test_github_runs_are_understood() -> None:
    """Of GitHub's workflow runs the successful ones are deploys, with commit, pull request and author (LT-016)."""
    runs = [
        {"id": 5, "conclusion": "success", "head_sha": "a" * 40, "display_title": "Ship", "updated_at":
         "2026-04-18T14:05:00Z", "actor": {"login": "cy"}, "pull_requests": [{"number": 129}]},
        {"id": 6, "conclusion": "failure", "updated_at": "2026-04-18T14:05:00Z"},
        {"id": 7, "conclusion": "success", "updated_at": "2026-04-18T15:05:00Z", "actor": None, "pull_requests": []},
    ]  # fmt: skip
    found = read_deploys(json.dumps({"workflow_runs": runs}).encode())
    assert [(d.id, d.commit_sha, d.pr_number, d.author) for d in found] == [
        ("github-5", "a" * 40, 129, "cy"),
        ("github-7", None, None, None),
    ]


@pytest.mark.parametrize(("text", "said"), [
    ("{", "not JSON"), ("{}", "no list"), ("[1]", "entry 1 is not an object"), ('[{"completed_at": 5}]', "not a time"),
    ('[{"completed_at": "2026-04-18T14:05:00"}]', "no zone"),
    ('[{"completed_at": "2026-04-18T14:05:00Z", "x": 1}]', "'x'"),
    ('[{"completed_at": "2026-04-18T14:05:00Z", "commit_sha": "zz"}]', "commit sha"),
    ('[{"completed_at": "2026-04-18T14:05:00Z"}, {"title": "x"}]', "entry 2"),
    ('[{"completed_at": "2026-04-18T14:05:00Z", "pr_number": "many"}]', "entry 1"),
])  # fmt: skip
def test_bad_deploy_files_name_the_entry(text: str, said: str) -> None:
    """A file that is wrong is refused whole, with the entry and the reason."""
    with pytest.raises(DeployFileRefused, match=said):
        read_deploys(text.encode())


def test_keys_are_made_rotated_revoked(data: Path) -> None:
    """A key's secret is printed once and never again; rotation keeps label and tenant; revoking closes (LT-034)."""
    made = run(data, "keys", "add", "--label", "prod-frontend", "--tenant", "acme")
    secret = made.stdout.strip()
    assert secret.startswith("sf_")
    assert secret not in made.stderr
    (listed,) = as_json(data, "keys", "list")
    assert (listed["label"], listed["tenant"], listed["revoked_at"]) == ("prod-frontend", "acme", None)
    rotated = as_json(data, "keys", "rotate", listed["id"], "--overlap", "1h")
    assert (rotated["label"], rotated["tenant"]) == ("prod-frontend", "acme")
    with StateStore.open(data) as state:
        assert state.keys.verify(secret) is not None
    as_json(data, "keys", "revoke", rotated["id"])
    with StateStore.open(data) as state:
        assert state.keys.verify(rotated["secret"]) is None
    for form in ((), ("--json",)):
        assert secret not in run(data, "keys", "list", *form).stdout
    assert type(run(data, "keys", "revoke", "k_0", ok=False).exception).__name__ == "NotFound"
    assert run(data, "keys", "rotate", rotated["id"], "--overlap", "soon", ok=False).exit_code == 2


def test_prices_are_set_and_listed(data: Path) -> None:
    """A price stated per million is kept per token and comes before the book's own (TB-039)."""
    run(data, "prices", "set", "openai", "gpt-4o-mini", "input=0.5", "output=1.5", "cache_read=none", "--yes")
    own = as_json(data, "prices", "list", "--own")
    stated = {row["bucket"]: (round(row["price"], 12), row["unit"]) for row in own if row["tier_start"] is None}
    assert (stated["uncached_input"], stated["text_output"]) == ((5e-7, "token"), (1.5e-6, "token"))
    rows = as_json(data, "prices", "list", "--model", "gpt-4o-mini", "--provider", "openai")
    assert rows[0]["layer"] == "override"
    assert "book" in {row["layer"] for row in as_json(data, "prices", "list", "--model", "gpt-4o*")}


@pytest.mark.parametrize("amounts", [["input=25000"], ["juice=1"], ["input=-1"]])
def test_implausible_prices_are_refused(data: Path, amounts: list[str]) -> None:
    """A price that no model has, an unknown bucket, a negative amount: refused, and the price book still loads."""
    result = run(data, "prices", "set", "openai", "gpt-5", *amounts, ok=False)
    assert result.exception is not None
    assert result.exit_code == 1
    assert as_json(data, "prices", "list", "--own") == []


@pytest.mark.parametrize("amounts", [["input"], ["=1"], ["input=cheap"], []])
def test_amounts_need_their_form(data: Path, amounts: list[str]) -> None:
    """What is not BUCKET=AMOUNT is a usage error."""
    result = run(data, "prices", "set", "openai", "gpt-5", *amounts, ok=False)
    assert result.exit_code == 2


def test_no_data_directory_is_named(tmp_path: Path) -> None:
    """A verb on a directory that is not there says how to get one, and makes none."""
    for words in (("keys", "list"), ("deploys", "list"), ("prices", "list")):
        with pytest.raises(SpanfoldError, match="spanfold up"):
            run(tmp_path / "nowhere", *words)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("text", "shown"), [
    ("\x1b[31mred\x1b[0m", "red"), ("\x1b]0;title\x07x", "x"), ("\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bP1;2q...\x1b\\y", "y"), ("a\x08b\x00c\x7f", "abc"), ("\x9b31mz", "31mz"), ("\u202egnp\u2066", "gnp"),
    ("tab\tnew\nline", "tab\tnew\nline"), ("Grüße 你好 🙂", "Grüße 你好 🙂"), ("\x1b", ""),
    ("\x1b[", ""), ("[b]x[/b]", "[b]x[/b]"),
])  # fmt: skip
def test_terminal_escapes_are_stripped(text: str, shown: str) -> None:
    """[38] Nothing that a terminal would act on is left; everything that is text is."""
    assert clean(text) == shown


def test_cells() -> None:
    """Unknown is a dash and never 0; money and counts are readable; a cell is one line."""
    assert [cell(v) for v in (None, 0, 1234567, 0.25, 1e-9, True, ["a", None], "a\n b")] == [
        "–", "0", "1,234,567", "0.25", "1.00e-09", "yes", "a, –", "a b",
    ]  # fmt: skip


def test_every_verb_has_help_and_data(data: Path) -> None:
    """Each verb and subverb explains itself in a sentence and takes --data."""
    runner = CliRunner()
    for verb in ("export", "show", "sql", "tail", "stats", "deploys add", "deploys list", "deploys sync", "keys add",
                 "keys list", "keys revoke", "keys rotate", "prices list", "prices set"):  # fmt: skip
        result = runner.invoke(cli, [*verb.split(), "--help"])
        assert result.exit_code == 0
        assert "--data" in result.stdout
        assert isinstance(cli, click.Group)
