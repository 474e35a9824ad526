"""Dialect files at work: calls of a convention nobody has heard of, without restart, bad files in the status."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from spanfold.cli import cli
from spanfold.status import gather
from tests.flow.sending import product, span, traces

COHERE = """\
name: house-cohere
detect:
  keys: [house.generation_id]
fields:
  operation: {key: house.generation_id, constant: chat}
  provider: {key: house.generation_id, constant: cohere}
  response_id: house.generation_id
  request_model: house.model
  input_tokens: {key: house.meta, path: billed_units/input_tokens}
  output_tokens: {key: house.meta, path: billed_units/output_tokens}
content:
  output: [{key: house.generations, shape: texts, path: "*/text", role: assistant}]
"""


def _call(number: int) -> bytes:
    meta = json.dumps({"billed_units": {"input_tokens": 40 + number, "output_tokens": 5}})
    said = json.dumps([{"text": "Bonjour"}])
    return traces([span(number, number, name="generate", house__generation_id=f"g{number}", house__model="command-r",
                        house__meta=meta, house__generations=said)])  # fmt: skip


def test_a_dropped_file_makes_calls_of_what_comes_after_it(tmp_path: Path) -> None:
    """Before the file these spans are no calls, after it they are, in the running folder; words included (TB-020)."""
    with product(tmp_path) as p:
        p.send(_call(1))
        p.fold()
        assert p.query("SELECT count(*) FROM calls") == [(0,)]
        folder = tmp_path / "dialects"
        folder.mkdir()
        (folder / "cohere.yaml").write_text(COHERE)
        (folder / "typo.yaml").write_text(COHERE.replace("response_id", "respnse_id"))
        assert p.folding.refresh_dialects()
        assert not p.folding.refresh_dialects()
        p.send(_call(2))
        p.fold()
        columns = "dialect, provider, request_model, response_id, input_tokens, output_tokens, output_messages"
        assert p.query(f"SELECT {columns} FROM calls") == [("house-cohere", "cohere", "command-r", "g2", 42, 5, 1)]
        problem = gather(tmp_path)["errors"]["dialects"]
        assert problem["count"] == 1
        assert "typo.yaml, line 7: house-cohere: fields.respnse_id: there is no such column" in problem["last"]


def test_the_verb_lists_what_is_in_force_and_checks_a_file(tmp_path: Path) -> None:
    """`dialects list` names own and built-in tables; `dialects check` says which line is wrong."""
    folder = tmp_path / "dialects"
    folder.mkdir()
    (folder / "cohere.yaml").write_text(COHERE)
    listed = CliRunner().invoke(cli, ["dialects", "list", "--json", "--data", str(tmp_path)])
    names = {row["name"]: row["from"] for row in json.loads(listed.output)["dialects"]}
    assert (names["house-cohere"], names["openinference"]) == ("cohere.yaml", "built in")
    checked = CliRunner().invoke(cli, ["dialects", "check", str(folder / "cohere.yaml")])
    assert (checked.exit_code, checked.output) == (0, "cohere.yaml is a dialect: house-cohere\n")
    bad = tmp_path / "bad.yaml"
    bad.write_text(COHERE.replace("shape: texts", "shape: round"))
    refused = CliRunner().invoke(cli, ["dialects", "check", str(bad)])
    assert refused.exit_code == 1
    assert "bad.yaml, line 12" in str(refused.exception)
