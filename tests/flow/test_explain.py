"""`spanfold explain-span`: every column with its rule and its attribute, from the tables that fill the columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from spanfold.cli import cli
from tests.flow.sending import product, span, traces

HISTORY = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Which way to the harbour?"}]}])


def explained(data: Path, number: int) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["explain-span", f"{number:016x}", "--json", "--data", str(data)])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def test_each_column_names_its_rule_and_its_attribute(tmp_path: Path) -> None:
    """Stated, mapped, read by a JSON path, from the resource, from the model's name, worked out: each says so."""
    sent = {
        "openinference.span.kind": "LLM", "llm.invocation_parameters": '{"model": "gpt-4o-mini", "stream": true}',
        "llm.token_count.prompt": "120", "llm.token_count.completion": 9,
        "llm.token_count.prompt_details.cache_read": 20,
        "session.id": "s-1", "house.colour": "blue", "llm.token_count.total": "many", "gen_ai.input.messages": HISTORY,
    }  # fmt: skip
    with product(tmp_path) as p:
        p.send(traces([span(1, 7, name="OpenAI.chat", **{k.replace(".", "__"): v for k, v in sent.items()})]))
        p.fold()
        found = explained(tmp_path, 7)
        columns = {line["column"]: line for line in found["columns"]}
        operation = columns["operation"]
        assert (operation["value"], operation["key"], operation["raw"]) == ("chat", "openinference.span.kind", "LLM")
        assert operation["rule"] == "openinference: fields.operation, place 2 of 2 (value map)"
        model = columns["request_model"]
        assert (model["value"], model["key"]) == ("gpt-4o-mini", "llm.invocation_parameters")
        assert model["rule"].startswith("openinference: fields.request_model, place 1 of ")
        assert "(path model)" in model["rule"]
        assert (columns["input_tokens"]["value"], columns["input_tokens"]["raw"]) == (120, "120")
        assert (columns["cache_read_tokens"]["value"], columns["session_id"]["key"]) == (20, "session.id")
        assert columns["uncached_input_tokens"]["value"] == 100
        assert "worked out" in columns["uncached_input_tokens"]["rule"]
        assert columns["service_name"]["rule"] == "resource attribute service.name"
        assert "@name" in columns["provider"]["key"]
        assert {"name": "openinference", "marks": "openinference.span.kind"} in found["dialects"]
        unused = {line["key"]: line["known_key"] for line in found["not_understood"]}
        assert (unused["house.colour"], unused["llm.token_count.total"]) == (False, True)
        assert "gen_ai.input.messages" not in unused  # understood content is kept apart
        assert {"kind": "not_a_number", "detail": "llm.token_count.total"} in found["notes"]
        assert found["contexts"] == [{"direction": "input", "source": "span", "messages": 1}]
        printed = CliRunner().invoke(cli, ["explain-span", f"{7:016x}", "--data", str(tmp_path)])
        assert "house.colour" in printed.output
        assert "harbour" not in printed.output


def test_an_explanation_says_what_changed_rules_would_make_of_it(tmp_path: Path) -> None:
    """A span stored before a dialect file was there shows the value of then, and beside it the value of today."""
    with product(tmp_path) as p:
        p.send(traces([span(1, 1, gen_ai__operation__name="chat", gen_ai__request__model="a", house__model="b")]))
        p.fold()
    (tmp_path / "dialects").mkdir()
    (tmp_path / "dialects" / "house.yaml").write_text(
        "name: house\ndetect: {keys: [house.model]}\nfields: {request_model: house.model}\n"
    )
    columns = {line["column"]: line for line in explained(tmp_path, 1)["columns"]}
    assert (columns["request_model"]["value"], columns["request_model"]["now"]) == ("a", "b")
    assert columns["request_model"]["rule"] == "house: fields.request_model, place 1 of 1"
