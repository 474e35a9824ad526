"""Stored spans read again by today's tables: what was kept of them, and beside it what the stored columns know.

Understood content is kept apart from attributes, and with it went whatever columns, marks and usage it stated. So a
value that today's tables do not find stays as it was; and one that they find in a place which stands behind a place
inside content replaces nothing. Only spans that never had words show all they were sent with: of those, today's tables
alone say whether they belong to a dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.semconv import operations
from spanfold.semconv.detection import Dialects
from spanfold.semconv.dialect import Source
from spanfold.semconv.explain import matches
from spanfold.semconv.fill import Filler
from spanfold.semconv.fill_columns import Mask
from spanfold.semconv.normalise import HashKey, Normalised, normalise_spans
from spanfold.semconv.records import SpanBatch
from spanfold.semconv.schema import SPANS

_SIDES = (  # buckets of one total add up only where they come from one reading
    ("input_tokens", "uncached_input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
     "audio_input_tokens", "image_input_tokens"),
    ("output_tokens", "text_output_tokens", "reasoning_tokens", "audio_output_tokens"),
)  # fmt: skip
_JUDGED = ("dialect", "operation", "status", "is_candidate", "is_container", "estimated_output_tokens", "usage_verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the stored rows of a batch. `spoken`: words of the span itself are stored; `whole`: nothing but
    those words was taken from what it was sent with; `held`: column -> rows whose stored value nothing replaces."""

    columns: pa.Table  # of SPANS
    spoken: Mask
    whole: Mask
    held: Mapping[str, Mask]


@dataclass(slots=True)
class _Doubting(Filler):
    """Marks where content that was taken away may have filled a column before the sources to come."""

    content_keys: frozenset[str] = frozenset()
    content_events: frozenset[str] = frozenset()
    spoken: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    doubts: dict[str, Mask] = field(default_factory=dict)

    def has(self, source: Source) -> bool:
        return self._taken(source) or Filler.has(self, source)

    def fill(self, name: str, source: Source, allowed: Mask | None) -> None:
        if self._taken(source):
            doubt = self.spoken & ~self.column(name).filled
            doubt = doubt if allowed is None else doubt & allowed
            self.doubts[name] = self.doubts[name] | doubt if name in self.doubts else doubt
        if Filler.has(self, source):
            Filler.fill(self, name, source, allowed)

    def _taken(self, source: Source) -> bool:
        return source.event in self.content_events if source.event else source.key in self.content_keys


def renormalise(
    batch: SpanBatch, known: Known, dialects: Dialects, hidden: frozenset[str], *, hash_key: HashKey
) -> tuple[Normalised, dict[str, pa.Array]]:
    """(what is read of the kept attributes, the columns of meaning as they are to be stored). `hidden`: the dialects'
    `hidden_keys`."""
    fillers: list[_Doubting] = []

    def doubting(*arguments: Any) -> Filler:
        filler = _Doubting(*arguments)
        filler.content_keys, filler.content_events = hidden, dialects.event_names
        filler.spoken = known.spoken | ~known.whole
        fillers.append(filler)
        return fillers[0]

    found = normalise_spans(batch, dialects, hash_key=hash_key, filler=doubting, marked=_marks(known, dialects))
    doubts, partial = fillers[0].doubts, np.zeros(len(known.spoken), np.bool_)
    partial[[content.row for content in found.contents]] = True
    partial &= known.spoken  # what is left of words beside those that are stored
    for name, unsure in (
        ("finish_reasons", partial), ("estimated_output_tokens", partial),
        ("prompt_fingerprint", ~_valid(found.fields["prompt_name"])),  # of words, unless a prompt is named
    ):  # fmt: skip
        doubts[name] = doubts[name] | unsure if name in doubts else unsure
    return found, _merged(found.fields, known, doubts, dialects)


def differing(before: pa.Table, after: Mapping[str, pa.Array]) -> dict[str, Mask]:
    """Column -> rows in which it changed, of those that did in any."""
    out = {}
    for name, values in after.items():
        changed = _differs(_one(before[name]), values)
        if changed.any():
            out[name] = changed
    return out


def choose(mask: Mask, first: pa.Array, second: pa.Array) -> pa.Array:
    """`first` where the mask says so, else `second`."""
    if mask.all() or not mask.any():
        return first if mask.all() else second
    at = np.arange(len(mask))
    return pa.concat_arrays([first.cast(second.type), second]).take(pa.array(np.where(mask, at, at + len(mask))))


def hidden_keys(dialects: Dialects) -> frozenset[str]:
    """Keys of fields that may name understood content, which is not among the attributes any more."""
    places = {place.key for side in dialects.places.values() for place in side if not place.event}
    fields = {s.key for table in dialects.tables for listed in table.fields.values() for s in listed if not s.event}
    return frozenset(key for key in fields if any(key == place or matches(place, key) for place in places))


def _marks(known: Known, dialects: Dialects) -> dict[str, Mask]:
    """What the spans spoke when they came, of those that may not show it any more."""
    hidden = known.spoken | ~known.whole
    spoke = _one(known.columns["dialect"])
    names = {table.name for table in dialects.tables}
    return {
        name: hidden & np.asarray(pc.equal(spoke, name).fill_null(False))
        for name in pc.unique(spoke).to_pylist()
        if name in names
    }


def _merged(
    new: Mapping[str, pa.Array], known: Known, doubts: Mapping[str, Mask], dialects: Dialects
) -> dict[str, pa.Array]:
    old = {name: _one(known.columns[name]) for name in new if name in SPANS.names}
    nothing = np.zeros(len(known.spoken), np.bool_)
    doubted = {name: doubts.get(name, nothing) | known.held.get(name, nothing) for name in old}
    usage = {name for side in _SIDES for name in side}
    out = {name: _found(name, new, old, doubted) for name in old if name not in usage and name not in _JUDGED}
    out |= _sides(new, old, doubted, doubts.get("total_tokens", nothing))
    return out | _judged(new, old, out, known, doubted, dialects)


def _sides(
    new: Mapping[str, pa.Array], old: Mapping[str, pa.Array], doubted: Mapping[str, Mask], sums: Mask
) -> dict[str, pa.Array]:
    """Each side of the usage as read today, unless that would lose a number or rests on a doubtful one."""
    out: dict[str, pa.Array] = {}
    for side in _SIDES:
        kept = np.zeros(len(sums), np.bool_)
        for name in side:
            known = _valid(old[name])
            kept |= known & (~_valid(new[name]) | ((doubted[name] | sums) & _differs(old[name], new[name])))
        out |= {name: choose(~kept, new[name], old[name]) for name in side}
        if side[0] == "input_tokens":
            verdict = ~kept & _valid(new["usage_verdict"])
            out["usage_verdict"] = choose(verdict, new["usage_verdict"], old["usage_verdict"])
    return out


def _judged(
    new: Mapping[str, pa.Array], old: Mapping[str, pa.Array], merged: Mapping[str, pa.Array], known: Known,
    doubted: Mapping[str, Mask], dialects: Dialects,
) -> dict[str, pa.Array]:  # fmt: skip
    """What follows from the columns."""
    in_force = pa.array([table.name for table in dialects.tables], pa.string())
    gone = _valid(old["dialect"]) & ~np.asarray(pc.is_in(old["dialect"], in_force)) & ~known.spoken
    told = _valid(new["dialect"]) | (known.whole & ~known.spoken) | gone
    dialect = choose(told, new["dialect"], old["dialect"])
    genai = _valid(dialect)
    stated = _found("operation", new, old, doubted)
    operation = choose(genai, stated, pa.nulls(len(stated), pa.string()))
    used = _valid(merged["input_tokens"]) | _valid(merged["output_tokens"])
    candidate, container = operations.kinds(
        operation, used, _valid(merged["request_model"]) | _valid(merged["response_model"])
    )
    same_reasons = ~_differs(merged["finish_reasons"], new["finish_reasons"])
    failed, was_fine = (np.asarray(fits) for fits in (pc.not_equal(new["status"], "success"),
                                                      pc.equal(old["status"], "success")))  # fmt: skip
    told_again = np.where(known.whole, same_reasons | failed, failed & was_fine)
    estimate = _found("estimated_output_tokens", new, old, doubted)
    return {
        "dialect": dialect, "operation": operation, "is_candidate": pa.array(candidate & genai),
        "is_container": pa.array(container & genai), "status": choose(told_again, new["status"], old["status"]),
        "estimated_output_tokens": choose(_valid(merged["output_tokens"]), pa.nulls(len(used), pa.int64()), estimate),
    }  # fmt: skip


def _found(
    name: str, new: Mapping[str, pa.Array], old: Mapping[str, pa.Array], doubted: Mapping[str, Mask]
) -> pa.Array:
    """What was found now, where anything was and nothing that is stored speaks against it."""
    return choose(_valid(new[name]) & ~(doubted[name] & _valid(old[name])), new[name], old[name])


def _differs(before: pa.Array, after: pa.Array) -> Mask:
    """NULL equals NULL."""
    if pa.types.is_list(before.type):
        return np.array([a != b for a, b in zip(before.to_pylist(), after.to_pylist(), strict=True)], np.bool_)
    apart = np.asarray(pc.not_equal(before, after.cast(before.type)).fill_null(False))
    found: Mask = apart | (_valid(before) != _valid(after))
    return found


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _valid(array: pa.Array) -> Mask:
    return np.asarray(array.is_valid())
