"""Token counts as sent to disjoint buckets, with the reason why a total was read as it was.

The newest conventions: `input_tokens` includes cache reads and writes, `output_tokens` includes reasoning. Providers
and emitters differ (Anthropic's own numbers exclude cache), so every call gets a verdict: `<reason>:<reading>`.
Reasons, strongest first: `proven` (the numbers allow nothing else), `known_emitter` (measured), `stated` (the key's
convention says so), `assumed`. Readings: `inclusive`, `exclusive` (of cache).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.semconv.schema import COUNT_COLUMNS

MOST_TOKENS = 1 << 40  # a larger count on one span is not a count
UNKNOWN, INCLUSIVE, EXCLUSIVE = 0, 1, 2

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Count:
    """One count as sent: numbers and where they are known."""

    numbers: Numbers
    known: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What is known of the emitters, a number a row: UNKNOWN, INCLUSIVE, EXCLUSIVE; `stated` by the key itself."""

    input: NDArray[np.int8]
    output: NDArray[np.int8]
    stated: Mask


@dataclass(frozen=True, slots=True)
class Usage:
    """The stored columns (pa.int64 each), the verdict (text, NULL without input tokens), and rows that disagree."""

    columns: dict[str, pa.Array]
    verdict: pa.Array
    disagree: Numbers
    refused: Numbers


def usage_columns(length: int, sent: Mapping[str, Count], claims: Claims) -> Usage:
    """Disjoint buckets of `length` rows. `sent` holds COUNT_COLUMNS as sent (cache_write_tokens: all writes, of any
    lifetime) and `total_tokens`. Negative and absurd counts are unknown, and named in `refused`."""
    counts, refused = _sensible(length, sent)
    reads, writes, hours = (
        counts[name] for name in ("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
    )
    cache = reads.numbers + np.maximum(writes.numbers, hours.numbers)
    total, verdict, exclusive = _input_total(counts, cache, claims)
    output, reasoning = _output_total(counts, total, claims)
    columns: dict[str, Count] = {"input_tokens": total, "output_tokens": output, "cache_read_tokens": reads}
    columns["cache_write_1h_tokens"] = hours
    columns["cache_write_tokens"] = Count(np.maximum(writes.numbers - hours.numbers, 0), writes.known)
    audio, image = counts["audio_input_tokens"], counts["image_input_tokens"]
    rest = total.numbers - cache - audio.numbers - image.numbers
    fits = rest >= 0  # audio and image that were read from the cache would be counted twice
    columns["audio_input_tokens"] = Count(audio.numbers, audio.known & fits)
    columns["image_input_tokens"] = Count(image.numbers, image.known & fits)
    rest = np.where(fits, rest, total.numbers - cache)
    columns["uncached_input_tokens"] = Count(np.maximum(rest, 0), total.known)
    spoken = counts["audio_output_tokens"]
    text = output.numbers - reasoning.numbers - spoken.numbers
    columns["reasoning_tokens"] = reasoning
    columns["audio_output_tokens"] = Count(spoken.numbers, spoken.known & (text >= 0))
    text = np.where(text >= 0, text, output.numbers - reasoning.numbers)
    columns["text_output_tokens"] = Count(np.maximum(text, 0), output.known)
    disagree = np.flatnonzero(
        (total.known & ((total.numbers < cache) | ~fits)) | _total_disagrees(counts, total, output, exclusive)
    )
    columns["web_searches"] = counts["web_searches"]
    arrays = {name: pa.array(columns[name].numbers, mask=~columns[name].known) for name in COUNT_COLUMNS}
    return Usage(arrays, _verdict_text(verdict, total.known), disagree, refused)


def _sensible(length: int, sent: Mapping[str, Count]) -> tuple[dict[str, Count], Numbers]:
    nothing = Count(np.zeros(length, np.int64), np.zeros(length, np.bool_))
    counts, odd = {}, np.zeros(length, np.bool_)
    for name in (*COUNT_COLUMNS, "total_tokens"):
        count = sent.get(name, nothing)
        good = count.known & (count.numbers >= 0) & (count.numbers <= MOST_TOKENS)
        odd |= count.known & ~good
        counts[name] = Count(np.where(good, count.numbers, 0), good)
    return counts, np.flatnonzero(odd)


_REASONS = ("assumed", "stated", "known_emitter", "proven")


def _input_total(counts: Mapping[str, Count], cache: Numbers, claims: Claims) -> tuple[Count, Numbers, Mask]:
    """(total, verdict code = 2 * reason + is exclusive, is exclusive)."""
    given, bare, sums, output = (
        counts[n] for n in ("input_tokens", "uncached_input_tokens", "total_tokens", "output_tokens")
    )
    all_known = given.known & output.known & sums.known & (cache > 0)
    adds_up = all_known & (sums.numbers == given.numbers + output.numbers + cache)
    proven = given.known & ((cache > given.numbers) | adds_up)
    bare_only = bare.known & ~given.known
    exclusive = proven | (claims.input == EXCLUSIVE) | bare_only
    reason = np.where(claims.stated | bare_only, 1, 0)
    reason = np.where(claims.input != UNKNOWN, 2, reason)
    reason = np.where(proven, 3, reason)
    first = np.where(given.known, given.numbers, bare.numbers)
    known = given.known | bare.known
    from_total = ~known & sums.known & output.known & (sums.numbers >= output.numbers)
    first = np.where(from_total, sums.numbers - output.numbers, first)
    total = np.where(exclusive & ~from_total, first + cache, first)
    return Count(total, known | from_total), 2 * reason + exclusive, exclusive


def _output_total(counts: Mapping[str, Count], total: Count, claims: Claims) -> tuple[Count, Count]:
    """(total with reasoning, reasoning)."""
    given, bare, reasoning, sums = (
        counts[n] for n in ("output_tokens", "text_output_tokens", "reasoning_tokens", "total_tokens")
    )
    apart = (claims.output == EXCLUSIVE) | (reasoning.numbers > given.numbers)
    known_sum = sums.known & given.known & total.known & (reasoning.numbers > 0)
    apart |= known_sum & (sums.numbers == total.numbers + given.numbers + reasoning.numbers)
    output = np.where(
        given.known, given.numbers + np.where(apart, reasoning.numbers, 0), bare.numbers + reasoning.numbers
    )
    silent = (claims.output == EXCLUSIVE) & given.known & total.known & ~reasoning.known & sums.known
    output = np.where(
        silent, np.maximum(output, sums.numbers - total.numbers), output
    )  # only the sum tells of thoughts
    known = given.known | bare.known
    rest = ~known & sums.known & counts["input_tokens"].known & (sums.numbers > total.numbers)
    output = np.where(rest, sums.numbers - total.numbers, output)
    return Count(output, known | rest), reasoning


def _total_disagrees(counts: Mapping[str, Count], total: Count, output: Count, exclusive: Mask) -> Mask:
    """A stated sum is input plus output; of an input that excludes its cache also without the cache."""
    sums, given = counts["total_tokens"], counts["input_tokens"]
    without_cache = exclusive & given.known & (sums.numbers == given.numbers + output.numbers)
    stated = sums.known & total.known & output.known
    disagrees: Mask = stated & (sums.numbers != total.numbers + output.numbers) & ~without_cache
    return disagrees


def _verdict_text(codes: Numbers, known: Mask) -> pa.Array:
    names = pa.array([f"{reason}:{reading}" for reason in _REASONS for reading in ("inclusive", "exclusive")])
    return names.take(pa.array(codes.astype(np.int32), mask=~known))
