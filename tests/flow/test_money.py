"""Usage and cost of whole spans: what a service sends over OTLP against what the public view `calls` says it cost."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from tests.flow.sending import NOON, SECOND, chat, product, span, traces

NOVEMBER = int(dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC).timestamp()) * SECOND
READ, WRITE = "gen_ai__usage__cache_read__input_tokens", "gen_ai__usage__cache_creation__input_tokens"
TIER = "openai__response__service_tier"
CASES: list[tuple[str, str, int, int, int, str | None, float]] = [
    # provider, model, input with cache, cache read, cache write (5 min), tier, USD with 10,000 tokens out
    ("openai", "gpt-5", 100_000, 80_000, 0, None, 0.135),
    ("openai", "gpt-5", 100_000, 80_000, 0, "flex", 0.0675),
    ("openai", "gpt-5", 100_000, 80_000, 0, "priority", 0.27),
    ("openai", "gpt-5.1", 100_000, 80_000, 0, None, 0.135),
    ("openai", "gpt-5.2", 100_000, 80_000, 0, None, 0.189),
    ("openai", "gpt-5.4", 100_000, 80_000, 0, None, 0.22),
    ("openai", "gpt-5.5", 100_000, 80_000, 0, None, 0.44),
    ("openai", "gpt-5.6", 100_000, 80_000, 0, None, 0.312),
    ("openai", "gpt-5.5", 300_000, 100_000, 0, None, 2.55),
    ("anthropic", "claude-sonnet-4-5", 100_000, 60_000, 30_000, None, 0.3105),
    ("anthropic", "claude-haiku-4-5", 100_000, 60_000, 30_000, None, 0.1035),
    ("anthropic", "claude-opus-4-5", 100_000, 60_000, 30_000, None, 0.5175),
    ("anthropic", "claude-opus-4-1", 100_000, 60_000, 30_000, None, 1.5525),
    ("anthropic", "claude-sonnet-4-5", 300_000, 100_000, 0, None, 1.485),
    ("gcp.gemini", "gemini-2.5-pro", 250_000, 100_000, 0, None, 0.55),
    ("gcp.gemini", "gemini-3-pro-preview", 100_000, 60_000, 0, None, 0.212),
    ("gcp.gemini", "gemini-3.1-pro-preview", 250_000, 100_000, 0, None, 0.82),
    ("gcp.gemini", "gemini-3-flash-preview", 100_000, 60_000, 0, None, 0.053),
]
DATED = [("2025-05-01", 50.0), ("2025-07-01", 10.0)]  # o3, a million tokens each way


def test_golden_costs_of_sent_spans(tmp_path: Path) -> None:
    """The hand-checked costs come out to 1e-9 for spans as services send them, whatever cache, tier, context length and
    date; the rollup has their sum."""
    sent = [
        span(at, at, start=NOVEMBER + at * SECOND, gen_ai__operation__name="chat", gen_ai__provider__name=provider,
             gen_ai__request__model=model, gen_ai__usage__input_tokens=total, gen_ai__usage__output_tokens=10_000,
             **{READ: read, WRITE: write}, **({TIER: tier} if tier else {}))
        for at, (provider, model, total, read, write, tier, _) in enumerate(CASES, 1)
    ]  # fmt: skip
    expected = [case[-1] for case in CASES]
    for day, usd in DATED:
        start = int(dt.datetime.fromisoformat(day + "T12:00:00Z").timestamp()) * SECOND
        expected.append(usd)
        sent.append(chat(len(expected), len(expected), model="o3", tokens=(1_000_000, 1_000_000), start=start))
    with product(tmp_path) as p:
        p.send(traces(sent))
        p.fold()
        rows = p.query("SELECT cost, price_confidence FROM calls ORDER BY trace_id")
        assert [cost for cost, _ in rows] == pytest.approx(expected, abs=1e-9)
        assert {confidence for _, confidence in rows} == {"exact"}
        ((summed,),) = p.query("SELECT sum(cost) FROM rollup_daily")
        assert summed == pytest.approx(sum(expected), abs=1e-9)


def _anthropic(number: int, usage: dict[str, Any]) -> Any:
    """A span that carries the provider's own answer."""
    answer = {"id": f"m{number}", "model": "claude-sonnet-4-5", "usage": usage, "content": [], "type": "message"}
    return span(
        number, number, start=NOVEMBER, openinference__span__kind="LLM", llm__provider="anthropic",
        llm__model_name="claude-sonnet-4-5", output__value=json.dumps(answer), output__mime_type="application/json",
    )  # fmt: skip


def test_cache_writes_of_an_hour_cost_more(tmp_path: Path) -> None:
    """An Anthropic answer says how long each cache write lives: 30,000 tokens for 5 minutes cost 3.75 USD a million,
    for an hour 6; the 70,000 beside them 3."""
    writes = {"input_tokens": 70_000, "cache_creation_input_tokens": 30_000, "output_tokens": 0}
    with product(tmp_path) as p:
        p.send(traces([
            _anthropic(1, writes | {"cache_creation": {"ephemeral_5m_input_tokens": 30_000}}),
            _anthropic(2, writes | {"cache_creation": {"ephemeral_1h_input_tokens": 30_000}}),
            _anthropic(3, writes | {"cache_creation": {"ephemeral_5m_input_tokens": 10_000,
                                                       "ephemeral_1h_input_tokens": 20_000}}),
        ]))  # fmt: skip
        p.fold()
        rows = p.query(
            """SELECT input_tokens, cache_write_tokens, cache_write_1h_tokens, cost, usage_verdict
            FROM calls ORDER BY ALL"""
        )
    assert {(total, verdict) for total, *_, verdict in rows} == {(100_000, "known_emitter:exclusive")}
    assert {(five, hour or 0): cost for _, five, hour, cost, _ in rows} == {
        (30_000, 0): pytest.approx(0.3225, abs=1e-9), (0, 30_000): pytest.approx(0.39, abs=1e-9),
        (10_000, 20_000): pytest.approx(0.3675, abs=1e-9),
    }  # fmt: skip


def test_searches_of_the_provider_are_billed_by_count(tmp_path: Path) -> None:
    """Three searches of Anthropic's tool cost 0.03 USD beside the tokens (10 USD a thousand); a call that says
    nothing of searches has NULL of them."""
    asked = {"input_tokens": 1_000, "output_tokens": 0, "cache_creation_input_tokens": 0}
    with product(tmp_path) as p:
        p.send(traces([_anthropic(1, asked | {"server_tool_use": {"web_search_requests": 3}}), _anthropic(2, asked)]))
        p.fold()
        assert p.query("SELECT web_searches, cost FROM calls ORDER BY trace_id") == [
            (3, pytest.approx(0.033, abs=1e-12)), (None, pytest.approx(0.003, abs=1e-12)),
        ]  # fmt: skip
        assert p.query("SELECT sum(cost) FROM rollup_daily") == [(pytest.approx(0.036, abs=1e-12),)]


def test_every_reading_of_a_total_has_its_reason(tmp_path: Path) -> None:
    """The buckets of each call add up to its totals, `usage_verdict` says why the input was read with or without its
    cache, and numbers that cannot all be true are in `data_quality` with the call."""
    plain = {"llm__request__type": "chat", "llm__vendor": "OpenAI", "gen_ai__request__model": "gpt-4o"}
    with product(tmp_path) as p:
        p.send(traces([
            chat(1, 1, tokens=(100, 10), **{READ: 60}),  # the newest conventions: with cache
            chat(2, 2, tokens=(100, 10), **{READ: 600}),  # more cache than input: cannot be with it
            span(3, 3, **plain, gen_ai__usage__prompt_tokens=100, gen_ai__usage__completion_tokens=10),
            chat(4, 4, tokens=(100, 10), gen_ai__usage__total_tokens=500),
            _anthropic(5, {"input_tokens": 100, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 0,
                           "output_tokens": 10}),
        ]))  # fmt: skip
        p.fold()
        rows = p.query(
            """SELECT trace_id::BIGINT, usage_verdict, input_tokens, coalesce(uncached_input_tokens, 0)
                + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0) + coalesce(cache_write_1h_tokens, 0)
                + coalesce(audio_input_tokens, 0) + coalesce(image_input_tokens, 0),
                output_tokens, coalesce(text_output_tokens, 0) + coalesce(reasoning_tokens, 0)
                + coalesce(audio_output_tokens, 0)
            FROM calls ORDER BY ALL"""
        )
        assert {number: (verdict, total) for number, verdict, total, *_ in rows} == {
            1: ("stated:inclusive", 100), 2: ("proven:exclusive", 700), 3: ("assumed:inclusive", 100),
            4: ("stated:inclusive", 100), 5: ("known_emitter:exclusive", 160),
        }  # fmt: skip
        assert [row for row in rows if row[2] != row[3] or row[4] != row[5]] == []
        found = p.query(
            "SELECT detail, count, example_trace_id::BIGINT FROM data_quality WHERE kind = 'usage_disagrees'"
        )
        assert found == [("tokens", 1, 4)]


def test_a_stream_without_usage_is_unknown_with_an_estimate(tmp_path: Path) -> None:
    """Its tokens and cost are NULL, never 0; beside them stands an estimate with its method, which no sum contains."""
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "a" * 400}]}]
    silent = span(
        1, 1, gen_ai__operation__name="chat", gen_ai__provider__name="openai", gen_ai__request__model="gpt-4o",
        gen_ai__request__stream=True, gen_ai__output__messages=json.dumps(said), start=NOON,
    )  # fmt: skip
    with product(tmp_path) as p:
        p.send(traces([silent, chat(2, 2, tokens=(100, 10))]))
        p.fold()
        assert p.query(
            """SELECT input_tokens, output_tokens, cost, estimated_output_tokens, estimate_method
            FROM calls ORDER BY trace_id"""
        ) == [(None, None, None, 100, "characters / 4"), (100, 10, pytest.approx(0.000021, abs=1e-12), None, None)]
        assert p.query("SELECT sum(output_tokens), sum(calls) FROM rollup_daily") == [(10, 2)]
        assert p.query("SELECT count FROM data_quality WHERE kind = 'missing_usage'") == [(1,)]
