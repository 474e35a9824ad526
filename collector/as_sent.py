"""Stored spans as they were sent, where the journal still holds their request; read by today's tables, with words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.collector import decode
from spanfold.collector.segments import JournalRecord
from spanfold.exporter.fold import Folded, Folder
from spanfold.semconv import normalise
from spanfold.semconv.detection import Dialects
from spanfold.semconv.ids import hex_ids
from spanfold.semconv.keep import flat
from spanfold.semconv.records import SpanBatch

OWN = ("span", "span_event")  # sources of words that a span carries itself
Side = tuple[str, str, int, int, int, bool, bool, bool]  # direction, source, revision, count, chars, has tools, system,
# answer key


@dataclass(frozen=True, slots=True)
class Sent:
    """Spans of requests. `rows`: for each stored span that was asked for its row in the batch, -1 = not among them."""

    source: SpanBatch
    meaning: normalise.Normalised
    rows: NDArray[np.int64]


def as_sent(
    records: Sequence[JournalRecord], spans: pa.Table, dialects: Dialects, hash_key: Callable[[str], bytes]
) -> Sent | None:
    """These stored spans (columns of `SPANS`) in these requests. None where none of them is there."""
    try:
        found = _read(records, spans, dialects, hash_key) if records else None
    except Exception:  # a request that could not be folded was set aside then; what was folded with it is still here
        good = [record for record in records if _readable(record, spans, dialects, hash_key)]
        found = _read(good, spans, dialects, hash_key) if good else None
    return found if found is not None and bool((found.rows >= 0).any()) else None


def _read(
    records: Sequence[JournalRecord], spans: pa.Table, dialects: Dialects, hash_key: Callable[[str], bytes]
) -> Sent:
    source = decode.decode_spans(records)
    names = [source.origins[at].tenant for at in source.columns["origin"].to_pylist()]
    received = [source.origins[at].received_ns // 1000 for at in source.columns["origin"].to_pylist()]
    ids = (hex_ids(flat(source.columns[name])).to_pylist() for name in ("trace_id", "span_id"))
    where: dict[tuple[str, str, str, int], int] = {}
    for row, key in enumerate(zip(names, *ids, received, strict=True)):
        where.setdefault(key, row)  # the first of an identity is the one that is stored
    times = spans["received_time"].cast(pa.int64()).to_pylist()
    asked = zip(*(spans[name].to_pylist() for name in ("tenant", "trace_id", "span_id")), times, strict=True)
    rows = np.array([where.get(key, -1) for key in asked], np.int64)
    return Sent(source, normalise.normalise_spans(source, dialects, hash_key=hash_key), rows)


def _readable(record: JournalRecord, spans: pa.Table, dialects: Dialects, hash_key: Callable[[str], bytes]) -> bool:
    try:
        _read([record], spans.slice(0, 0), dialects, hash_key)
    except Exception:
        return False
    return True


def says_more(folder: Folder, folded: Folded, held: Sequence[Side], sources: Sequence[str] = OWN) -> bool:
    """Is what was found now more than what is stored of the same span, and nothing less? Words from other `sources`
    are left as they are."""
    if not held:
        return True
    if any(side[1] not in sources for side in held):
        return False
    new = _sizes(folder, folded)
    more = bool(new.keys() - {side[0] for side in held})
    for direction, _, _, count, chars, tools, system, answer in held:
        if direction not in new:
            return False
        now = new[direction]
        if now[0] < count or (tools and not now[2]) or (system and not now[3]):
            return False
        more |= now[0] > count or now[1] > chars or (now[2] and not tools) or (now[3] and not system)
        more |= now[4] and not answer and sources is OWN  # of a span that is a call only now
    return more


def _sizes(folder: Folder, folded: Folded) -> dict[str, tuple[int, int, bool, bool, bool]]:
    """Direction -> (messages, characters, has tools, has system text, has an answer that others may go on from)."""
    for node in (folded.head, *(folded.output or ())):
        if node is not None:
            folder.finish(node)
    out = {}
    given = folded.head.chars if folded.head else 0
    if folded.has_input or folded.tools or folded.lead:
        beside = sum(words.chars for words in (folded.tools, folded.lead) if words)
        answer = folded.head is not None and folded.head.answer is not None and folded.place.is_call
        out["input"] = (folded.count, given + beside, folded.tools is not None, folded.lead is not None, answer)
    if folded.output is not None:
        last = folded.output[-1] if folded.output else folded.head
        answer = any(node.words.match is not None for node in folded.output) and folded.place.is_call
        out["output"] = (len(folded.output), (last.chars if last else 0) - given, False, False, answer)
    return out
