"""Whose rows are erased, and what an erased row keeps: its measures and its place in its trace, nothing said or named.

The subject of an erasure is a user, a session (or conversation) or a trace. Its rows are those of the traces that name
it, without the spans there that name somebody else; and log records and metric points that name it themselves. Tokens,
durations, models and prices stay, so that every sum stays what it was; so do trace and span ids, so that a resent span
is still known and not stored anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import re2

from spanfold.semconv.schema import PROMOTED

ERASED = "[erased]"  # stands where a text must stand and named the subject
NAMED_BY: dict[str, tuple[str, ...]] = {
    "user": ("user_id",), "session": ("session_id", "conversation_id"), "trace": (),
}  # fmt: skip
IDENTIFIERS = ("user_id", "session_id", "conversation_id")
_PRIVATE = ("private_block", "private_offset", "private_length")
_CLEARED: dict[str, tuple[str, ...]] = {  # columns of the subject's rows that become NULL
    "spans": (*IDENTIFIERS, "tags", "tool_call_id", "prompt_fingerprint", "attributes", "attributes_typed", "events",
              "links", "trace_state", *_PRIVATE),
    "logs": ("user_id", "session_id", "attributes", "attributes_typed", *_PRIVATE),
    "metrics": ("user_id", "session_id", "attributes", "attributes_typed", "exemplars", *_PRIVATE),
    "facts": (*IDENTIFIERS, "prompt_fingerprint"),
}  # fmt: skip
_FREE_TEXTS = ("name", "error_type", "agent_name", "tool_name", "prompt_name", "event_name", "severity_text")
_FREE_JSON = ("resource", "scope_attributes")
_FILLED = (*IDENTIFIERS, "prompt_fingerprint")
_KEPT_BITS = sum(1 << bit for bit, p in enumerate(PROMOTED) if p.column not in _CLEARED["spans"])
_NAMES_AT_ONCE = 100
_TRACE_IN_JSON = re2.compile(r'"trace_id":\s*"([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is to be forgotten. `names`: the identifier as sent and as stored; for a trace its id in lower-case hex."""

    kind: str  # user | session | trace
    tenant: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows of a subject: which traces, without which spans, and every identifier that only they carry."""

    subject: Subject
    traces: pa.Array  # trace ids in hex
    others: pa.Array  # trace id + span id of spans in these traces that name somebody else
    identifiers: frozenset[str]  # the subject's names, and ids of sessions and users that only its rows state
    roots: Mapping[str, str]  # conversation root that is such an identifier -> what stands for it from now on

    def rows_of(self, table: str, rows: pa.Table) -> pa.ChunkedArray:
        """One boolean a row: is it the subject's?"""
        mine = _none(rows)
        if "trace_id" in rows.column_names:
            mine = pc.is_in(rows["trace_id"], self.traces)
            if len(self.others):
                mine = pc.and_not(mine, pc.is_in(_span_key(rows), self.others))
        names = pa.array(sorted(self.subject.names), pa.string())
        for column in NAMED_BY[self.subject.kind]:
            if column in rows.column_names:
                mine = pc.or_(mine, pc.is_in(rows[column], names))
        if table == "metrics":
            mine = pc.or_(mine, self._shown_by(rows["exemplars"]))
        return pc.and_(mine, pc.equal(rows["tenant"], self.subject.tenant))

    def scrubbed(self, table: str, rows: pa.Table) -> pa.Table:
        """The rows without what identifies the subject or was said; the same object when there is nothing of it."""
        if not rows.num_rows:
            return rows
        if table == "links":
            return self._without_roots(rows)
        changed = self._without_label(rows) if "key_label" in rows.column_names else rows
        if table == "rollup":
            return changed
        mine = self.rows_of(table, rows)
        if not pc.any(mine).as_py():
            return changed
        if table == "suppressed":
            return self._without_fills(rows, mine)
        return self._cleared(table, changed, mine)

    # ---- columns ---------------------------------------------------------------------------------------------------
    def _cleared(self, table: str, rows: pa.Table, mine: pa.ChunkedArray) -> pa.Table:
        for column in _CLEARED[table]:
            some = pc.and_(mine, pc.is_valid(rows[column]))
            if pc.any(some).as_py():
                rows = _put(rows, column, some, None)
        if table == "spans":
            kept = pc.bit_wise_and(rows["promoted"], pa.scalar(_KEPT_BITS, pa.uint64()))
            if pc.any(pc.and_(mine, pc.not_equal(kept, rows["promoted"]))).as_py():
                at = rows.schema.get_field_index("promoted")
                rows = rows.set_column(at, "promoted", pc.if_else(mine, kept, rows["promoted"]))
        for column in (*_FREE_TEXTS, *_FREE_JSON):
            if column in rows.column_names:
                named = pc.and_(mine, self.mentioned(rows[column]))
                if pc.any(named).as_py():
                    rows = _put(rows, column, named, None if column in _FREE_JSON else ERASED)
        return rows

    def mentioned(self, column: pa.ChunkedArray, names: Collection[str] | None = None) -> pa.ChunkedArray:
        """Which texts hold one of these names (else: of all identifiers) as a word of its own; never NULL."""
        wanted = sorted(self.identifiers if names is None else names)
        found = pa.array([False] * len(column), pa.bool_())
        for start in range(0, len(wanted), _NAMES_AT_ONCE):
            words = "|".join(map(re2.escape, wanted[start : start + _NAMES_AT_ONCE]))
            hit = pc.match_substring_regex(column, rf"(?:^|[^A-Za-z0-9])(?:{words})(?:$|[^A-Za-z0-9])")
            found = pc.or_(found, pc.fill_null(hit, False))
        return found

    def _without_label(self, rows: pa.Table) -> pa.Table:
        """A key may be labelled with a person's name: rows keep together, under no name."""
        named = pc.and_(
            pc.is_in(rows["key_label"], pa.array(sorted(self.subject.names), pa.string())),
            pc.equal(rows["tenant"], self.subject.tenant),
        )
        if self.subject.kind != "user" or not pc.any(named).as_py():
            return rows
        return _put(rows, "key_label", named, ERASED)

    def _without_roots(self, rows: pa.Table) -> pa.Table:
        """Conversations that were called by an identifier of the subject stay together under another name."""
        known = pa.array(sorted(self.roots), pa.string())
        named = pc.and_(pc.is_in(rows["root"], known), pc.equal(rows["tenant"], self.subject.tenant))
        if not pc.any(named).as_py():
            return rows
        new = [
            self.roots[root] if hit else root
            for root, hit in zip(rows["root"].to_pylist(), named.to_pylist(), strict=True)
        ]
        return rows.set_column(rows.schema.get_field_index("root"), "root", pa.array(new, pa.string()))

    def _without_fills(self, rows: pa.Table, mine: pa.ChunkedArray) -> pa.Table:
        new = [
            _without_identifiers(text) if hit else text
            for text, hit in zip(rows["fills"].to_pylist(), mine.to_pylist(), strict=True)
        ]
        column = pa.array(new, pa.string())
        if column.equals(rows["fills"].combine_chunks()):
            return rows
        return rows.set_column(rows.schema.get_field_index("fills"), "fills", column)

    def _shown_by(self, exemplars: pa.ChunkedArray) -> pa.Array:
        """Metric points with an exemplar of one of the subject's traces."""
        if exemplars.null_count == len(exemplars) or not len(self.traces):
            return pa.array([False] * len(exemplars), pa.bool_())
        known = set(self.traces.to_pylist())
        texts = exemplars.to_pylist()
        return pa.array([t is not None and not known.isdisjoint(_TRACE_IN_JSON.findall(t)) for t in texts], pa.bool_())


def _without_identifiers(fills: str | None) -> str | None:
    if fills is None:
        return None
    values: dict[str, Any] = orjson.loads(fills)
    left = {key: value for key, value in values.items() if key not in _FILLED}
    return fills if left == values else orjson.dumps(left).decode() if left else None


def _put(rows: pa.Table, column: str, where: pa.ChunkedArray, value: str | None) -> pa.Table:
    at = rows.schema.get_field_index(column)
    new = pc.if_else(where, pa.scalar(value, rows.schema.field(at).type), rows[column])
    return rows.set_column(at, column, new)


def _none(rows: pa.Table) -> pa.Array:
    return pa.array([False] * rows.num_rows, pa.bool_())


def _span_key(rows: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(rows["trace_id"], pc.fill_null(rows["span_id"], ""), "")


def naming_rows(subject: Subject, rows: pa.Table) -> tuple[pa.Table, list[str]]:
    """(rows of the tenant that name the subject, the columns in which they do)."""
    rows = rows.filter(pc.equal(rows["tenant"], subject.tenant))
    names = pa.array(sorted(subject.names), pa.string())
    columns = [c for c in NAMED_BY[subject.kind] if c in rows.column_names]
    hits = {column: pc.is_in(rows[column], names) for column in columns}
    if subject.kind == "trace":
        hits["trace_id"] = pc.is_in(rows["trace_id"], names)
    told = [column for column, hit in hits.items() if pc.any(hit).as_py()]
    return rows.filter(reduce(pc.or_, hits.values(), _none(rows))), told


def others_in(subject: Subject, rows: pa.Table, columns: list[str]) -> pa.ChunkedArray:
    """Keys (trace id + span id) of the rows that name somebody else where the subject is named in `columns`."""
    names = pa.array(sorted(subject.names), pa.string())
    named = mine = _none(rows)
    for column in columns:
        if column != "trace_id":
            named = pc.or_(named, pc.is_valid(rows[column]))
            mine = pc.or_(mine, pc.is_in(rows[column], names))
    return _span_key(rows.filter(pc.and_not(named, mine)))
