"""The verbs of prices: what a change would do is shown before it is done, and recorded usage is priced anew."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from click.testing import CliRunner, Result

from spanfold.analytics.errors import PriceRefused
from spanfold.cli import cli
from spanfold.errors import SpanfoldError
from spanfold.pricing import installed_book
from spanfold.state.store import StateStore
from tests.flow.sending import NOON, SECOND, Product, chat, product, span, traces

MONTH = dt.datetime.fromtimestamp(NOON / 1e9, dt.UTC).strftime("%Y-%m-01")
DAY_BEFORE = (dt.datetime.fromtimestamp(NOON / 1e9, dt.UTC) - dt.timedelta(days=1)).date().isoformat()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Product]:
    """2 calls of gpt-4o-mini (0.15 and 0.60 USD per million) and 1 of a deployment that no list knows."""
    with product(tmp_path / "data") as p:
        p.send(traces([
            chat(1, 1, tokens=(1_000_000, 0)), chat(2, 1, tokens=(0, 1_000_000)),
            chat(3, 1, model="prod-gpt4o-mini-east", tokens=(1_000_000, 1_000_000)),
        ]))  # fmt: skip
        p.fold()
        yield p


def run(p: Product, *words: str, stdin: str | None = None, ok: bool = True) -> Result:
    result = CliRunner().invoke(cli, [*words, "--data", str(p.data)], input=stdin, env={"COLUMNS": "200"})
    if ok and result.exception:
        raise result.exception
    return result


def as_json(p: Product, *words: str, stdin: str | None = None) -> Any:
    return json.loads(run(p, *words, "--json", stdin=stdin).stdout)


def total(p: Product) -> float:
    """USD in the rollups, once the folder has taken over what was stored."""
    p.folding.refresh_prices()
    ((cost, same),) = p.query("SELECT sum(cost), (SELECT sum(cost) FROM calls) FROM rollup_daily")
    assert cost == pytest.approx(same, abs=1e-12)
    return float(cost)


def test_a_price_is_shown_before_it_counts(running: Product) -> None:
    """`prices set` shows the difference by model and month and stores nothing; with --yes it does, and what was
    recorded costs the new price."""
    assert total(running) == pytest.approx(0.75, abs=1e-12)
    words = ("prices", "set", "openai", "gpt-4o-mini", "input=1", "output=2")
    shown = as_json(running, *words)
    assert (shown["applied"], shown["stored"]) == (False, 0)
    (row,) = shown["difference"]
    assert (row["month"], row["model"], row["calls"]) == (MONTH, "gpt-4o-mini", 2)
    assert (row["cost_before"], row["cost_after"], row["change"]) == pytest.approx((0.75, 3.0, 2.25), abs=1e-12)
    plain = run(running, *words)
    assert "--yes" in plain.stderr
    assert "it counts for every service tier" in plain.stdout
    assert "every service tier" not in run(running, *words, "--tier", "standard").stdout
    assert total(running) == pytest.approx(0.75, abs=1e-12)
    assert as_json(running, *words, "--yes")["stored"] == 2
    assert total(running) == pytest.approx(3.0, abs=1e-12)
    with StateStore.open(running.data) as state:
        assert [change.action for change in state.audit.changes("prices")] == ["set", "set", "sync"]


@pytest.mark.parametrize("table", [
    "provider,model_pattern,input_cost_per_1k_tokens,output_cost_per_1k_tokens\nopenai,gpt-4o-mini,0.15,0.60\n",
    "provider,model_pattern,input_per_1k,output_per_1k\nopenai,gpt-4o,2.50,10.00\nopenai,gpt-4o-mini,0.15,0.6\n",
    "provider,model,input_per_1k,output_per_1k\nacme,house-a,2.50,10.00\nacme,house-b,0.5,0.6\n",
    "provider,model,input_per_1m\nopenai,gpt-4o,0.0025\nopenai,gpt-4o-mini,0.00015\n",
    json.dumps({"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 0.0025}}),
])  # fmt: skip
def test_a_file_in_another_unit_is_refused(running: Product, table: str) -> None:
    """Per-million values in a per-1k column (a thousandfold error) refuse the file, as do the other way round and an
    unknown model's; nothing of it is stored (TB-040)."""
    with pytest.raises(PriceRefused, match="per-1k heading"):
        run(running, "prices", "import", "-", "--yes", stdin=table)
    assert as_json(running, "prices", "list", "--own") == []


def test_a_single_price_far_from_the_list_is_refused(running: Product) -> None:
    """A thousandfold price stays out although the others of its file are right, and one stated by hand as well; what is
    meant so is taken with --force (TB-040)."""
    table = """provider,model,input_per_1k,output_per_1k
openai,gpt-4o-mini,0.15,0.0006
openai,gpt-4o,0.0025,0.01
openai,gpt-5,0.00125,0.01
"""
    with pytest.raises(
        PriceRefused, match=r"row 2: gpt-4o-mini input would cost 150 .* the list says 0\.15 USD .*--force"
    ):
        run(running, "prices", "import", "-", "--yes", stdin=table)
    by_hand = ("prices", "set", "openai", "gpt-4o-mini", "input=0.15", "--per", "1K", "--yes")
    with pytest.raises(PriceRefused, match="gpt-4o-mini uncached_input would cost 150 USD per million"):
        run(running, *by_hand)
    assert as_json(running, "prices", "list", "--own") == []
    assert as_json(running, "prices", "import", "-", "--force", stdin=table)["notes"] == [
        "6 prices read, 0 of them known already"
    ]
    search = ("prices", "set", "openai", "gpt-4o-mini", "web_search=10", "--yes")
    with pytest.raises(PriceRefused, match=r"web_search would cost 10 USD per search and the list says 0\.01 USD"):
        run(running, *search)
    assert as_json(running, *by_hand, "--force")["change"] == pytest.approx(149.85, abs=1e-9)


def test_prices_are_listed_by_the_million(running: Product) -> None:
    """For people a token price is one of a million tokens, for programs of one."""
    asked = ("prices", "list", "--provider", "openai", "--model", "gpt-4o-mini")
    assert re.search(r"gpt-4o-mini +text_output +0\.6 USD +1M tokens", run(running, *asked).stdout)
    prices = {row["bucket"]: row["price"] for row in as_json(running, *asked) if row["context_key"] is None}
    assert (prices["uncached_input"], prices["text_output"]) == pytest.approx((0.15e-6, 0.6e-6), rel=1e-12)
    assert "more: narrow it" in run(running, "prices", "list").stderr


def test_negotiated_rates_are_imported(running: Product) -> None:
    """A table with globs, dates and a currency becomes the negotiated layer, under the user's own prices (TB-039)."""
    table = f"""provider,model_pattern,input_per_1m,output_per_1m,effective_from,currency
openai,gpt-4o-mini*,0.10,0.50,{DAY_BEFORE},USD
openai,prod-*,0.10,0.50,{DAY_BEFORE},EUR
"""
    with pytest.raises(PriceRefused, match="no exchange rate of EUR"):
        run(running, "prices", "import", "-", stdin=table)
    run(running, "prices", "rate", "EUR", "1.25", "--day", "2020-01-01")
    told = as_json(running, "prices", "import", "-", "--yes", stdin=table)
    assert told["stored"] == 4
    assert total(running) == pytest.approx(0.10 + 0.50 + 1.25 * 0.60, abs=1e-12)
    ((rate,),) = running.query("SELECT rate_id FROM calls WHERE model = 'prod-gpt4o-mini-east'")
    assert rate.endswith("negotiated, 1 EUR = 1.25 USD of 2020-01-01")
    assert (
        as_json(running, "prices", "import", "-", stdin=table)["notes"][0] == "4 prices read, 4 of them known already"
    )
    run(running, "prices", "set", "openai", "gpt-4o-mini", "input=1", "--yes")
    assert total(running) == pytest.approx(1 + 0.50 + 1.25 * 0.60, abs=1e-12)


SAMPLE = """provider,model_pattern,input_per_1m,output_per_1m,currency,effective_from
openai,gpt-4o*,20,20,USD,2024-01-01
openai,gpt-4o,2.50,10.00,USD,2024-08-06
openai,gpt-4o-mini,0.150,0.600,USD,2024-07-18
openai,gpt-4o-mini,0.300,0.600,USD,2024-10-01
openai,o1,15,60,USD,2024-12-17
anthropic,claude-3-5-*,9,9,USD,2024-01-01
anthropic,claude-3-5-sonnet-*,3,15,USD,2024-10-22
anthropic,claude-3-5-haiku-*,1,5,USD,2024-11-01
ollama,*,0,0,USD,
*,*,50,50,USD,
"""
COSTS = [  # provider, model, day, USD for a million tokens each way
    ("openai", "gpt-4o", "2024-09-01", 12.5), ("openai", "gpt-4o", "2024-08-01", 40.0),
    ("openai", "gpt-4o-2024-08-06", "2024-09-01", 12.5), ("openai", "gpt-4o-audio", "2024-09-01", 40.0),
    ("openai", "gpt-4o-mini", "2024-09-01", 0.75), ("openai", "gpt-4o-mini", "2024-10-02", 0.9),
    ("openai", "o1", "2024-12-18", 75.0), ("anthropic", "claude-3-5-sonnet-20241022", "2024-11-02", 18.0),
    ("anthropic", "claude-3-5-haiku-20241022", "2024-11-02", 6.0),
    ("anthropic", "claude-3-5-haiku-20241022", "2024-10-30", 18.0), ("ollama", "llama3.2:3b", "2024-11-02", 0.0),
    ("acme", "house", "2024-11-02", 100.0),
]  # fmt: skip


def test_rules_of_globs_and_dates(tmp_path: Path) -> None:
    """Imported rules with globs count by how specific they are and since when (TB-039, TB-041, TB-042, TB-045); a free
    local model is 0 by a rule of its own, and `*` catches what no rule knows (TB-044)."""
    sent = []
    for number, (provider, model, day, _) in enumerate(COSTS, 1):
        start = int(dt.datetime.fromisoformat(f"{day}T12:00:00Z").timestamp()) * SECOND
        sent.append(span(number, number, start=start, gen_ai__operation__name="chat", gen_ai__request__model=model,
                         gen_ai__provider__name=provider, gen_ai__usage__input_tokens=1_000_000,
                         gen_ai__usage__output_tokens=1_000_000))  # fmt: skip
    with product(tmp_path / "data") as p:
        p.send(traces(sent))
        p.fold()
        run(p, "prices", "import", "-", "--layer", "override", "--yes", stdin=SAMPLE)
        total(p)
        found = p.query("SELECT cost, price_confidence FROM calls ORDER BY trace_id")
    assert [cost for cost, _ in found] == pytest.approx([case[3] for case in COSTS], abs=1e-9)


def test_a_litellm_map_adds_what_the_list_does_not_know(running: Product) -> None:
    """Models without a price get it for all time, known ones from today on; keys without use and zeros are counted."""
    models = {
        "sample_spec": {"input_cost_per_token": 1},
        "openai/prod-gpt4o-mini-east": {"litellm_provider": "openai", "input_cost_per_token": 1e-6,
                                        "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7},
        "gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 3e-7, "output_cost_per_token": 6e-7,
                        "search_context_cost_per_query": {"search_context_size_low": 0.01,
                                                          "search_context_size_medium": 0.03},
                        "file_search_cost_per_1k_calls": 0.0025},
        "retired": {"litellm_provider": "openai", "input_cost_per_token": 0.0},
    }  # fmt: skip
    told = as_json(running, "prices", "import", "-", "--yes", stdin=json.dumps(models))
    assert told["stored"] == 6
    assert told["change"] == pytest.approx(3.0, abs=1e-12)
    assert "not used: 1 models without a price, or with 0" in told["notes"]
    assert "not used: 1 key file_search_cost_per_1k_calls" in told["notes"]
    assert total(running) == pytest.approx(0.75 + 3.0, abs=1e-12)
    again = as_json(running, "prices", "import", "-", "--yes", stdin=json.dumps(models))
    assert (again["stored"], again["applied"]) == (0, False)
    own = as_json(running, "prices", "list", "--own", "--model", "gpt-4o-mini")
    assert {(row["layer"], row["valid_from"] is not None) for row in own} == {("imported", True)}
    assert [row["price"] for row in own if (row["bucket"], row["unit"]) == ("web_search", "search")] == [0.03]


def test_an_unpriced_deployment_takes_the_suggested_alias(running: Product) -> None:
    """The inbox names the deployment and what it may be; one step accepts it, and recorded calls have a cost."""
    (row,) = as_json(running, "prices", "unpriced")
    assert (row["model"], row["calls"], row["suggestion"]) == ("prod-gpt4o-mini-east", 1, "openai/gpt-4o-mini")
    told = as_json(running, "prices", "alias", "openai", "prod-gpt4o-mini-east")
    assert told["change"] == pytest.approx(0.75, abs=1e-12)
    assert total(running) == pytest.approx(1.5, abs=1e-12)
    assert as_json(running, "prices", "unpriced") == []
    run(running, "prices", "alias", "openai", "prod-gpt4o-mini-east", "none")
    assert total(running) == pytest.approx(0.75, abs=1e-12)
    with pytest.raises(SpanfoldError, match="openai/gpt-4o"):
        run(running, "prices", "alias", "openai", "prod-gpt4o-mini-east", "openai/gpt4o")


def test_an_upgraded_list_counts_when_it_is_taken_over(running: Product) -> None:
    """The list in force stays the kept one; `sync` shows what the installed one would change and puts it in force."""
    older = installed_book()
    raw = zstandard.decompress(older.data)
    providers = orjson.loads(raw)
    for model in next(p for p in providers if p["id"] == "openai")["models"]:
        if model["id"] == "gpt-4o-mini":
            model["prices"]["input_mtok"] = "9.15"
    older = dataclasses.replace(older, source="genai-prices 0.0.1", digest="older",
                                data=zstandard.compress(orjson.dumps(providers)))  # fmt: skip
    with StateStore.open(running.data) as state:
        state.price_sources.keep_book(older, who="test")
    assert total(running) == pytest.approx(9.75, abs=1e-12)
    told = as_json(running, "prices", "sync")
    assert (told["applied"], told["change"]) == (False, pytest.approx(-9.0, abs=1e-12))
    assert "genai-prices 0.0.1" in told["notes"][0]
    assert as_json(running, "prices", "sync", "--yes")["applied"]
    assert total(running) == pytest.approx(0.75, abs=1e-12)
    assert "in force already" in as_json(running, "prices", "sync", "--yes")["notes"][0]


def test_whatif_prices_recorded_usage_as_another_model(running: Product) -> None:
    """gpt-4o costs 2.50 and 10 USD per million, at the batch tier half of it; tokens stay as recorded."""
    asked = ("whatif", "--model", "gpt-4o-mini", "--as")
    told = as_json(running, *asked, "gpt-4o")
    assert (told["calls"], told["cost"], told["cost_as"]) == (2, pytest.approx(0.75), pytest.approx(12.5, abs=1e-12))
    (row,) = told["rows"]
    assert (row["month"], row["model"], row["input_tokens"]) == (MONTH, "gpt-4o-mini", 1_000_000)
    batch = as_json(running, *asked, "openai/gpt-4o", "--tier", "batch")
    assert batch["cost_as"] in (pytest.approx(6.25), pytest.approx(12.5))
    assert batch["assumed_calls"] == (0 if batch["cost_as"] < 7 else 2)
    whole = as_json(running, "whatif", "--model", "*", "--as", "gpt-4o", "--prices", "today")
    assert (whole["calls"], whole["cost_as"]) == (3, pytest.approx(25.0, abs=1e-12))
    assert told["assumed_calls"] == 0  # gpt-4o is on one list only: as sure as openai/gpt-4o
    asked_for = chat(9, 9, model="gpt-4o-mini", tokens=(1_000_000, 0), gen_ai__response__model="gpt-4o-mini-2024-07-18")
    running.send(traces([asked_for]))
    running.fold()
    for name in ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o-mini*"):
        calls = as_json(running, "whatif", "--model", name, "--as", "gpt-4o")["calls"]
        assert calls == (1 if name.endswith("18") else 3)
    with pytest.raises(SpanfoldError, match="openai/gpt-4o"):
        run(running, *asked, "gpt4o")


def test_stats_by_other_prices_and_in_other_money(running: Product) -> None:
    """Three views of the same usage (true at the time, believed then, today's) and a currency by the rate of the day of
    the call, which is named; a currency without a rate is refused (TB-043)."""

    def told(*words: str) -> Any:
        found = as_json(running, "stats", "--days", "4000", *words)
        (row,) = [row for row in found["rows"] if row["model"] == "gpt-4o-mini"]
        return found["currency"], found["rates"], row["cost"], row["cost_per_call"]

    with pytest.raises(SpanfoldError, match="prices rate EUR AMOUNT"):
        run(running, "stats", "--currency", "EUR")
    run(running, "prices", "rate", "EUR", "1.25", "--day", "2020-01-01")
    run(running, "prices", "rate", "EUR", "2", "--day", "2026-01-01")
    run(running, "prices", "set", "openai", "gpt-4o-mini", "input=1", "output=2", "--valid-from", "2025-12-01", "--yes")
    run(running, "prices", "set", "openai", "gpt-4o-mini", "output=1", "--valid-from", "2025-01-01", "--yes")
    running.folding.refresh_prices()
    assert told() == ("USD", [], pytest.approx(1.15, abs=1e-12), pytest.approx(0.575, abs=1e-12))
    assert told("--prices", "believed")[2] == pytest.approx(0.75, abs=1e-12)
    assert told("--prices", "today")[2] == pytest.approx(3.0, abs=1e-12)
    money, rates, cost, each = told("--currency", "eur")
    assert (money, cost, each) == ("EUR", pytest.approx(0.92, abs=1e-12), pytest.approx(0.46, abs=1e-12))
    assert [(rate["day"], rate["usd"]) for rate in rates] == [("2020-01-01", 1.25), ("2026-01-01", 2.0)]
    said = run(running, "stats", "--days", "4000", "--currency", "EUR").stderr
    assert "1 EUR = 1.25 USD from 2020-01-01 on" in said
