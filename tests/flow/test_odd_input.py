"""Odd values in one request: a valid row or a counted refusal for each, and nothing else lost (TB-021)."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flow.sending import chat, product, span, traces

SAID = [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
CHAT = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "gpt-4o-mini", "gen_ai__system": "openai"}
OPENINFERENCE = {
    "openinference__span__kind": "LLM", "llm__model_name": "gpt-4o-mini", "llm__token_count__prompt": 5,
    "llm__token_count__completion": 2,
}  # fmt: skip
ODD: dict[str, tuple[dict[str, Any], tuple[int | None, int | None]]] = {  # what is sent -> tokens in and out
    "plain": (CHAT | {"gen_ai__usage__input_tokens": 5, "gen_ai__usage__output_tokens": 2}, (5, 2)),
    "openinference": (OPENINFERENCE, (5, 2)),
    "vercel": ({"ai__operationId": "ai.generateText.doGenerate", "ai__model__id": "gpt-4o-mini",
                "ai__usage__inputTokens": 5, "ai__usage__outputTokens": 2}, (5, 2)),
    "two dialects on one span": (OPENINFERENCE | CHAT, (5, 2)),
    "numbers as texts": (CHAT | {"gen_ai__usage__input_tokens": "5", "gen_ai__usage__output_tokens": "2"}, (5, 2)),
    "floats": (CHAT | {"gen_ai__usage__input_tokens": 5.0, "gen_ai__usage__output_tokens": 2.0}, (5, 2)),
    "negative": (CHAT | {"gen_ai__usage__input_tokens": -5, "gen_ai__usage__output_tokens": 2}, (None, 2)),
    "nan": (CHAT | {"gen_ai__usage__input_tokens": float("nan"), "gen_ai__usage__output_tokens": 2}, (None, 2)),
    "infinite": (CHAT | {"gen_ai__usage__input_tokens": float("inf")}, (None, None)),
    "huge": (CHAT | {"gen_ai__usage__input_tokens": 1e308, "gen_ai__usage__output_tokens": 2}, (None, 2)),
    "largest integer": (CHAT | {"gen_ai__usage__input_tokens": 2**63 - 1}, (None, None)),
    "true": (CHAT | {"gen_ai__usage__input_tokens": True}, (None, None)),
    "like columns": (CHAT | {"input_tokens": 99, "cost": 7, "trace_id": "x", "date": "y", "rowid": 3}, (None, None)),
    "quotes in a key": (CHAT | {"a'b\"c; DROP TABLE spans --": "x", "": "nothing", "x.\u0000": "\u0000"}, (None, None)),
    "unknown provider": (CHAT | {"gen_ai__system": "acme", "gen_ai__request__model": "acme-9"}, (None, None)),
    "repr": (CHAT | {"gen_ai__input__messages": repr(SAID)}, (None, None)),
    "cut": (CHAT | {"gen_ai__input__messages": json.dumps(SAID)[:-5]}, (None, None)),
    "deep": (CHAT | {"gen_ai__input__messages": "[" * 50_000}, (None, None)),
    "not messages": (CHAT | {"gen_ai__input__messages": 42, "gen_ai__output__messages": b"\xff"}, (None, None)),
    "three megabytes": (CHAT | {"app__note": "y" * 3_000_000}, (None, None)),
}  # fmt: skip


def test_each_odd_span_of_a_request_is_a_row(tmp_path: Path) -> None:
    """Twenty odd calls in one request are twenty calls; counts that can be none are unknown and counted, never 0."""
    with product(tmp_path) as p:
        sent = [span(n, n, **attributes) for n, (attributes, _) in enumerate(ODD.values(), 1)]
        unknown = span(99, 99, gen_ai__operation__name="divine", gen_ai__usage__input_tokens=3)
        p.send(traces([*sent, unknown]))
        p.fold()
        rows = p.query("SELECT input_tokens, output_tokens FROM calls ORDER BY trace_id")
        assert dict(zip(ODD, rows, strict=True)) == {name: tokens for name, (_, tokens) in ODD.items()}
        assert p.query(f"SELECT operation, is_call FROM spans WHERE span_id = '{99:016x}'") == [("divine", False)]
        acme = "SELECT request_model, cost, price_confidence FROM calls WHERE provider = 'acme'"
        assert p.query(acme) == [("acme-9", None, "unpriced")]
        kinds = ("not_a_number", "refused_count", "python_repr", "cut_json", "bad_json", "unpriced")
        counted = dict(p.query("SELECT kind, sum(count)::INT FROM data_quality GROUP BY ALL"))
        assert {kind: counted.get(kind) for kind in kinds} == {
            "not_a_number": 4, "refused_count": 2, "python_repr": 1, "cut_json": 1, "bad_json": 1, "unpriced": 1,
        }  # fmt: skip
        spans = [f"'{n:016x}'" for n, name in enumerate(ODD, 1) if name in ("repr", "cut")]
        said = p.query(f"SELECT count(*) FROM call_messages WHERE span_id IN ({', '.join(spans)})")
        assert said == [(2,)]


@pytest.mark.slow
def test_a_twenty_megabyte_image_is_stored_once_and_alone(tmp_path: Path) -> None:
    """An image that every call resends lies once, in a block of its own; the words beside it stay small to read."""
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 58_600).decode()
    history = [{"role": "user", "parts": [{"type": "text", "content": "What is this?"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": image}]}]  # fmt: skip
    more = [*history, {"role": "assistant", "parts": [{"type": "text", "content": "A pattern."}]},
            {"role": "user", "parts": [{"type": "text", "content": "Sure?"}]}]  # fmt: skip
    with product(tmp_path) as p:
        began = time.monotonic()
        p.send(traces([chat(1, 1, history=history)]), traces([chat(1, 2, history=more)]))
        p.fold()
        assert time.monotonic() - began < 60
        assert len(image) > 20_000_000
        assert p.query("SELECT span_id, context_messages FROM calls ORDER BY 1") == [(f"{1:016x}", 1), (f"{2:016x}", 3)]
        big = p.query("SELECT count(*), max(chars) FROM messages WHERE chars > 1000000")
        assert big[0][0] <= 1
        stored = sum(f.stat().st_size for f in (tmp_path / "lake" / "content").rglob("*.parquet"))
        assert stored < 1.1 * len(image)
