"""Usage as sent to disjoint buckets, with the reason for every reading."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanfold.semconv.provider_usage import usage_facts
from spanfold.semconv.schema import USAGE_COLUMNS
from spanfold.semconv.usage import EXCLUSIVE, INCLUSIVE, MOST_TOKENS, UNKNOWN, Claims, Count, Usage, usage_columns

IN = ("uncached_input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
IN_MEDIA = ("audio_input_tokens", "image_input_tokens")
OUT = ("text_output_tokens", "reasoning_tokens", "audio_output_tokens")


def one(claim: int = UNKNOWN, output: int = UNKNOWN, stated: bool = True, **sent: int | None) -> Usage:
    """The usage of one span."""
    counts = {
        name: Count(np.array([number], np.int64), np.array([True]))
        for name, number in sent.items()
        if number is not None
    }
    claims = Claims(
        input=np.array([claim], np.int8), output=np.array([output], np.int8), stated=np.array([stated], np.bool_)
    )
    return usage_columns(1, counts, claims)


def row(usage: Usage) -> dict[str, Any]:
    """The columns that are known, and the verdict."""
    values = {name: array[0].as_py() for name, array in usage.columns.items()}
    return {name: value for name, value in values.items() if value is not None} | {"verdict": usage.verdict[0].as_py()}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (  # the newest conventions: input includes cache, output includes reasoning
            {"input_tokens": 100, "output_tokens": 50, "cache_read_tokens": 60, "reasoning_tokens": 20},
            {"input_tokens": 100, "output_tokens": 50, "uncached_input_tokens": 40, "cache_read_tokens": 60,
             "reasoning_tokens": 20, "text_output_tokens": 30, "verdict": "stated:inclusive"},
        ),
        (  # Anthropic's own numbers: more cache than input proves that input excludes it
            {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 60, "cache_write_tokens": 7},
            {"input_tokens": 77, "output_tokens": 5, "uncached_input_tokens": 10, "cache_read_tokens": 60,
             "cache_write_tokens": 7, "text_output_tokens": 5, "verdict": "proven:exclusive"},
        ),
        (  # a total that only adds up with the cache beside the input proves it too
            {"input_tokens": 100, "output_tokens": 5, "cache_read_tokens": 60, "total_tokens": 165},
            {"input_tokens": 160, "output_tokens": 5, "uncached_input_tokens": 100, "cache_read_tokens": 60,
             "text_output_tokens": 5, "verdict": "proven:exclusive"},
        ),
        (  # a known emitter
            {"claim": EXCLUSIVE, "input_tokens": 100, "output_tokens": 5, "cache_read_tokens": 60},
            {"input_tokens": 160, "output_tokens": 5, "uncached_input_tokens": 100, "cache_read_tokens": 60,
             "text_output_tokens": 5, "verdict": "known_emitter:exclusive"},
        ),
        (
            {"claim": INCLUSIVE, "input_tokens": 100, "cache_read_tokens": 60},
            {"input_tokens": 100, "uncached_input_tokens": 40, "cache_read_tokens": 60,
             "verdict": "known_emitter:inclusive"},
        ),
        (  # no convention behind the key: assumed, and said so
            {"stated": False, "input_tokens": 100, "output_tokens": 5},
            {"input_tokens": 100, "output_tokens": 5, "uncached_input_tokens": 100, "text_output_tokens": 5,
             "verdict": "assumed:inclusive"},
        ),
        (  # names that mean the bare input and the bare output (Gemini's candidates exclude thoughts)
            {"uncached_input_tokens": 10, "cache_read_tokens": 4, "text_output_tokens": 3, "reasoning_tokens": 2},
            {"input_tokens": 14, "output_tokens": 5, "uncached_input_tokens": 10, "cache_read_tokens": 4,
             "text_output_tokens": 3, "reasoning_tokens": 2, "verdict": "stated:exclusive"},
        ),
        (  # more reasoning than output: output excludes it
            {"input_tokens": 1, "output_tokens": 3, "reasoning_tokens": 20},
            {"input_tokens": 1, "output_tokens": 23, "uncached_input_tokens": 1, "text_output_tokens": 3,
             "reasoning_tokens": 20, "verdict": "stated:inclusive"},
        ),
        (  # writes of one hour are part of all writes
            {"input_tokens": 100, "cache_write_tokens": 30, "cache_write_1h_tokens": 10},
            {"input_tokens": 100, "uncached_input_tokens": 70, "cache_write_tokens": 20, "cache_write_1h_tokens": 10,
             "verdict": "stated:inclusive"},
        ),
        (  # audio and images are buckets of their own
            {"input_tokens": 100, "audio_input_tokens": 30, "image_input_tokens": 20, "output_tokens": 9,
             "audio_output_tokens": 4},
            {"input_tokens": 100, "uncached_input_tokens": 50, "audio_input_tokens": 30, "image_input_tokens": 20,
             "output_tokens": 9, "text_output_tokens": 5, "audio_output_tokens": 4, "verdict": "stated:inclusive"},
        ),
        ({"total_tokens": 12, "input_tokens": 10}, {"input_tokens": 10, "output_tokens": 2, "text_output_tokens": 2,
         "uncached_input_tokens": 10, "verdict": "stated:inclusive"}),
        ({}, {"verdict": None}),
        ({"output_tokens": 3}, {"output_tokens": 3, "text_output_tokens": 3, "verdict": None}),
    ],
)  # fmt: skip
def test_counts_are_read_by_what_they_can_mean(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every call gets disjoint buckets and a reason; what was not sent stays unknown."""
    assert row(one(**sent)) == expected


@pytest.mark.parametrize("odd", [-1, MOST_TOKENS + 1, 2**62])
def test_a_count_that_cannot_be_one_is_unknown(odd: int) -> None:
    """Negative and absurd counts become NULL and are named, never a number."""
    usage = one(input_tokens=odd, output_tokens=4)
    assert row(usage) == {"output_tokens": 4, "text_output_tokens": 4, "verdict": None}
    assert usage.refused.tolist() == [0]


def test_totals_that_do_not_add_up_are_named() -> None:
    """A stated total that is not input plus output is a disagreement, not a correction."""
    usage = one(input_tokens=10, output_tokens=4, total_tokens=99)
    assert usage.disagree.tolist() == [0]
    assert row(usage)["input_tokens"] == 10


@pytest.mark.parametrize(("total", "disagrees"), [(14, []), (74, []), (15, [0])])
def test_a_total_beside_an_input_without_cache_may_leave_the_cache_out(total: int, disagrees: list[int]) -> None:
    """10 in, 60 cached apart from them and 4 out are 14 or 74 in all, and nothing else."""
    usage = one(claim=EXCLUSIVE, input_tokens=10, cache_read_tokens=60, output_tokens=4, total_tokens=total)
    assert usage.disagree.tolist() == disagrees
    assert row(usage)["input_tokens"] == 70


counts = st.none() | st.integers(0, 10**9)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys((*USAGE_COLUMNS, "total_tokens"), counts)),
    st.sampled_from((UNKNOWN, INCLUSIVE, EXCLUSIVE)),
    st.booleans(),
)
def test_buckets_are_disjoint_and_never_negative(sent: dict[str, int | None], claim: int, stated: bool) -> None:
    """Where the total is known, its buckets add up to it or the row is named as disagreeing."""
    usage = one(claim=claim, stated=stated, **sent)
    values = {name: array[0].as_py() for name, array in usage.columns.items()}
    assert all(value is None or value >= 0 for value in values.values())
    if values["input_tokens"] is not None and not len(usage.disagree):
        assert sum(values[name] or 0 for name in (*IN, *IN_MEDIA)) == values["input_tokens"]
    if values["output_tokens"] is not None and values["output_tokens"] >= (values["reasoning_tokens"] or 0):
        known = [values[name] for name in OUT if values[name] is not None]
        assert sum(known) >= values["output_tokens"] or values["text_output_tokens"] is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11,
          "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 1},
          "completion_tokens_details": {"reasoning_tokens": 1}},
         {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "cache_read_tokens": 3, "audio_input_tokens": 1,
          "reasoning_tokens": 1}),
        ({"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 3}},
         {"input_tokens": 9, "output_tokens": 2, "cache_read_tokens": 3}),
        ({"input_tokens": 9, "output_tokens": 2, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 3,
          "cache_creation": {"ephemeral_1h_input_tokens": 1}},
         {"uncached_input_tokens": 9, "output_tokens": 2, "cache_read_tokens": 3, "cache_write_tokens": 1,
          "cache_write_1h_tokens": 1}),
        ({"inputTokens": 9, "outputTokens": 2, "cacheReadInputTokens": 3, "totalTokens": 14},
         {"uncached_input_tokens": 9, "output_tokens": 2, "cache_read_tokens": 3, "total_tokens": 14}),
        ({"promptTokenCount": 9, "candidatesTokenCount": 2, "thoughtsTokenCount": 4, "toolUsePromptTokenCount": 1},
         {"input_tokens": 10, "text_output_tokens": 2, "reasoning_tokens": 4}),
        ({"input": 51, "output": 9, "total": 136, "input_cached_tokens": 76, "output_reasoning_tokens": 2},
         {"uncached_input_tokens": 51, "text_output_tokens": 9, "total_tokens": 136, "cache_read_tokens": 76,
          "reasoning_tokens": 2}),
        ({"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "cache_read_input_tokens": 3},
         {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "cache_read_tokens": 3}),
        ({"prompt_eval_count": 9, "eval_count": 2}, {"input_tokens": 9, "output_tokens": 2}),
        ({"prompt_tokens": "9", "completion_tokens": 2.0}, {"input_tokens": 9, "output_tokens": 2}),
        ({"prompt_tokens": None, "note": "x"}, {}),
    ],
)  # fmt: skip
def test_every_provider_counts_in_its_own_way(sent: dict[str, Any], expected: dict[str, int]) -> None:
    """The names of a provider's counts say what they include."""
    assert usage_facts(sent) == expected
