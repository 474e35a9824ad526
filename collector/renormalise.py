"""Stored spans on the write path once more: rows of a day's files in, the rows that today's tables make of them out.

    rebuild -> normalise (today's tables) -> merge with what is stored -> keep the rest -> redact -> fold -> rows

Words are taken from kept attributes where nothing of the span's own content is stored yet. Rows that come out the same
are not touched, so that doing it again changes nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spanfold.collector.redaction import IDENTIFIERS, Redaction
from spanfold.collector.span_rows import SpanRows, private_columns
from spanfold.exporter.content_writer import ContentWriter
from spanfold.exporter.fold import Folder
from spanfold.exporter.fold_rows import RowWriter
from spanfold.exporter.identity import Identities
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import EPOCH_DAY
from spanfold.exporter.redact import Redactor
from spanfold.semconv import keep
from spanfold.semconv.detection import Dialects
from spanfold.semconv.normalise import Normalised
from spanfold.semconv.rebuild import Row, rebuilt_batch
from spanfold.semconv.records import SpanBatch, SpanContent
from spanfold.semconv.renormalise import Known, differing, renormalise
from spanfold.semconv.schema import SPANS

Identity = tuple[str, str, str]  # tenant, trace_id, span_id
Mask = NDArray[np.bool_]

_NOBODY = Identities(*(np.zeros(0, np.uint64) for _ in range(3)))  # none of these spans is new
_KEPT = ("attributes", "attributes_typed", "events")  # members of the private object that are made again
_REDACTED = re.compile(r"\[[A-Z][A-Z0-9_]*\]")  # an identifier of which redaction left only this names nobody


@dataclass(slots=True)
class Revised:
    """What became of some rows: `rows` in their old order, and of those that `changed` what is new."""

    rows: pa.Table
    changed: Mask
    columns: Counter[str] = field(default_factory=Counter)  # column -> rows in which it changed
    contexts: list[dict[str, Any]] = field(default_factory=list)  # new context rows, with their `date`
    tables: dict[str, pa.Table] = field(default_factory=dict)  # new rows of contexts, messages and content
    read: int = 0  # spans whose words are new


class Rereader:
    """Reads stored spans of one day after another again. `with_words`: what is kept includes words and the private
    parts of spans, and no rule lets them go before the spans."""

    def __init__(
        self, keyring: Keyring, mode: str, redactor: Callable[[str], Redactor], dialects: Dialects, *, with_words: bool
    ) -> None:
        self._keyring, self._redactor, self._dialects = keyring, redactor, dialects
        self._content, self._with_words = ContentWriter(keyring, mode), with_words
        self._tenants: dict[str, tuple[Folder, RowWriter]] = {}

    def forget(self) -> None:
        """Begins a new commit: what an abandoned one was to store is not stored."""
        self._tenants.clear()

    def revise(
        self, day: dt.date, rows: pa.Table, privates: Sequence[Row | None], spoken: Mapping[Identity, bool]
    ) -> Revised:
        """`privates`: the private object of each row, None where it could not be opened (the row stays as it is);
        `spoken`: identities with stored contexts, and whether any of them is of the span itself."""
        readable = np.array([private is not None for private in privates], np.bool_)
        held = [private or {} for private in privates]
        batch = rebuilt_batch(rows.to_pylist(), held)
        identities = list(zip(*(rows[n].to_pylist() for n in ("tenant", "trace_id", "span_id")), strict=True))
        own = np.array([spoken.get(identity, False) for identity in identities], np.bool_)
        known = Known(columns=rows, spoken=own, whole=np.full(len(rows), self._with_words), held=_identified(held))
        found, fields = renormalise(batch, known, self._dialects, hash_key=self._fingerprint_key)
        fields |= {name: _named(fields[name], rows[name]) for name in IDENTIFIERS}
        differs = {name: mask & readable for name, mask in differing(rows, fields).items()}
        contents = [
            content for content in found.contents
            if self._with_words and readable[content.row] and identities[content.row] not in spoken
        ]  # fmt: skip
        changed = np.zeros(len(rows), np.bool_)
        for mask in differs.values():
            changed |= mask
        changed[[content.row for content in contents]] = True
        out = Revised(rows, changed, Counter({name: int(mask.sum()) for name, mask in differs.items() if mask.any()}))
        if changed.any():
            self._rewrite(day, batch, found, fields, held, contents, out)
        return out

    def _rewrite(
        self, day: dt.date, batch: SpanBatch, found: Normalised, fields: Mapping[str, pa.Array],
        held: Sequence[Row], contents: Sequence[SpanContent], out: Revised,
    ) -> None:  # fmt: skip
        """Puts the changed rows and their words into `out`."""
        taken = {content.row for content in contents}
        left = [
            (row, key)
            for key in sorted(found.content_keys)
            for row in batch.attributes.rows_of(key).tolist()
            if row not in taken
        ]
        left += [(row, key) for row in np.flatnonzero(out.changed).tolist() if row not in taken
                 for _, key in found.event_keys]  # fmt: skip
        kept = keep.keep_again(
            batch, fields, found.content_keys, unparsed=[*found.unparsed, *left], event_keys=found.event_keys
        )
        columns = {**kept.columns, **fields}
        at = np.flatnonzero(out.changed)
        table = pa.table([columns.get(f.name, out.rows[f.name]) for f in SPANS], schema=SPANS).take(pa.array(at))
        new_row = {int(row): i for i, row in enumerate(at.tolist())}
        made = dict(kept.private)
        private = {}
        for row, place in new_row.items():
            rest = {name: value for name, value in held[row].items() if name not in _KEPT} | made.get(row, {})
            if rest:
                private[place] = rest
        for content in contents:
            content.row = new_row[content.row]
        spans = SpanRows(
            table=table, days=np.full(len(at), (day - EPOCH_DAY).days, np.int64), found=list(contents), private=private,
            identities=_NOBODY, traces_before=set(), quality=Counter(), counters=Counter(),
        )  # fmt: skip
        out.rows = _replaced(out.rows, at, self._stored(spans, out))
        out.read = len(contents)

    def _stored(self, spans: SpanRows, out: Revised) -> pa.Table:
        """The rows redacted, their words and private parts written. Redaction counts nothing: it did when they came."""
        redaction = Redaction(self._redactor)
        folded = [self._tenant(place.tenant)[0].take(content, place) for place, content in spans.contents()]
        redaction.words({name: folder for name, (folder, _) in self._tenants.items()}, EPOCH_DAY)
        for item in folded:
            self._tenant(item.place.tenant)[1].add(item)
        redaction.columns(spans)
        for tenant, day, item_id, body in redaction.private(spans):
            self._tenant(tenant)[1].private(day, item_id, body)
        parts: dict[str, list[pa.Table]] = defaultdict(list)
        for _, writer in self._tenants.values():
            tables, contexts = writer.tables()
            out.contexts += contexts
            for name, days in tables.items():
                parts[name] += days.values()
        out.tables = {name: pa.concat_tables(tables) for name, tables in parts.items() if tables}
        return private_columns(spans, self._located)

    def _located(self, tenant: str, day: dt.date, item_id: bytes) -> tuple[bytes, int, int] | None:
        at = self._tenant(tenant)[1].where(day, item_id)
        return (at.block_id, at.offset, at.length) if at else None

    def _tenant(self, name: str) -> tuple[Folder, RowWriter]:
        if name not in self._tenants:
            folder = Folder(lambda purpose: self._keyring.hash_key(name, purpose))
            self._tenants[name] = (folder, RowWriter(name, folder, self._content))
        return self._tenants[name]

    def _fingerprint_key(self, tenant: str) -> bytes:
        return self._keyring.hash_key(tenant, "fingerprint")


def spoken_of(contexts: Iterable[pa.Table]) -> dict[Identity, bool]:
    """Identity -> whether words of the span itself are stored, of context rows."""
    out: dict[Identity, bool] = {}
    for table in contexts:
        names = ("tenant", "trace_id", "span_id", "source")
        for tenant, trace, span, source in zip(*(table[n].to_pylist() for n in names), strict=True):
            own = source not in ("log", "turn")
            out[tenant, trace, span] = out.get((tenant, trace, span), False) or own
    return out


def _identified(privates: Sequence[Row]) -> dict[str, Mask]:
    """Identifiers that were stored as a keyed hash: what is kept of their attributes names nobody any more."""
    held = [private.get("identifiers") or {} for private in privates]
    return {name: np.array([name in one for one in held], np.bool_) for name in IDENTIFIERS}


def _named(values: pa.Array, stored: pa.ChunkedArray) -> pa.Array:
    """The values, but what is stored where only the mark of a redaction is left of one."""
    if values.null_count == len(values):
        return values
    bare = pc.fill_null(pc.match_substring_regex(values, _REDACTED.pattern), False)
    return pc.if_else(bare, stored.combine_chunks(), values)


def _replaced(rows: pa.Table, at: NDArray[np.int64], by: pa.Table) -> pa.Table:
    """The rows with those at `at` replaced."""
    index = np.arange(len(rows))
    index[at] = len(rows) + np.arange(len(at))
    return pa.concat_tables([rows, by]).take(pa.array(index))
