"""Where redaction stands in the pipeline: words once when they are new, clear columns by unique value, private JSON.

Runs before anything is folded or stored. Counts what it changed by rule, service and place (never the values).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.exporter.fold import Folder
from spanfold.exporter.redact import Redactor
from spanfold.semconv.schema import REDACTIONS

if TYPE_CHECKING:
    from spanfold.collector.facts import FactRows
    from spanfold.collector.log_rows import LogRows
    from spanfold.collector.metric_rows import MetricRows
    from spanfold.collector.span_rows import SpanRows

    Rows: TypeAlias = SpanRows | LogRows | MetricRows | FactRows

IDENTIFIERS = ("user_id", "session_id", "conversation_id", "key_label")  # PII here becomes a keyed hash, joinable
TEXTS = (
    "name", "error_type", "agent_name", "tool_name", "prompt_name", "event_name", "service_name", "project",
    "attributes", "attributes_typed", "events", "links", "resource", "scope_attributes", "trace_state", "description",
    "exemplars", "metadata",
)  # fmt: skip


Redacted: TypeAlias = tuple[str, Mapping[str, int]]  # what a text becomes, hits by rule


class Redaction:
    """Applies each tenant's rules and keeps the counts until they are written."""

    def __init__(self, redactor: Callable[[str], Redactor]) -> None:
        self._redactor = redactor
        self._counts: Counter[tuple[dt.date, str, str, str | None, str]] = Counter()

    def words(self, folders: Mapping[str, Folder], today: dt.date) -> None:
        """Redacts and settles every message that is new."""
        for tenant, folder in folders.items():
            fresh = folder.fresh()
            if not fresh:
                continue
            for words, (redacted, counts) in zip(
                fresh, self._redactor(tenant).values([words.raw for words in fresh]), strict=True
            ):
                folder.settle(words, redacted, sum(counts.values()))
                self._count(today, tenant, words.service, "message", counts)

    def columns(self, rows: Rows) -> None:
        """Redacts the clear text columns of these rows; an identifier that was hashed keeps its original privately.

        All distinct values of all columns are looked at in one go: a look has a price of its own.
        """
        present = [name for name in (*TEXTS, *IDENTIFIERS) if name in rows.table.column_names]
        encoded = {name: rows.table[name].combine_chunks().dictionary_encode() for name in present}
        tenants = pc.unique(rows.table["tenant"]).to_pylist()
        for tenant in tenants:  # nearly always one
            mask = None if len(tenants) == 1 else pc.equal(rows.table["tenant"], tenant).combine_chunks()
            for name, found in self._found(tenant, encoded).items():
                self._replace(rows, name, encoded[name], found, tenant, mask)

    def _found(self, tenant: str, encoded: Mapping[str, Any]) -> dict[str, dict[int, Redacted]]:
        """Column -> index of a distinct value -> (what it becomes, hits by rule)."""
        redactor = self._redactor(tenant)
        texts = [(name, i, v) for name in TEXTS if name in encoded for i, v in _values(encoded[name])]
        names = [(name, i, v) for name in IDENTIFIERS if name in encoded for i, v in _values(encoded[name])]
        hashed = redactor.identifiers(pa.array([v for _, _, v in names], pa.string())).to_pylist()
        out: dict[str, dict[int, Redacted]] = defaultdict(dict)
        for (name, i, _), redacted in zip(texts, redactor.texts([v for _, _, v in texts]), strict=True):
            if redacted is not None:
                out[name][i] = redacted
        for (name, i, _), value in zip(names, hashed, strict=True):
            if value is not None:
                out[name][i] = (value, {"identifier": 1})
        return out

    def _replace(
        self, rows: Rows, name: str, encoded: Any, found: Mapping[int, Redacted], tenant: str, mask: Any
    ) -> None:
        changed = pc.fill_null(pc.is_in(encoded.indices, pa.array(list(found), encoded.indices.type)), False)
        changed = changed if mask is None else pc.and_(changed, mask)
        at = pc.indices_nonzero(changed)
        services = rows.table["service_name"].take(at).to_pylist()
        originals = encoded.dictionary.to_pylist()
        for row, index, service in zip(at.to_pylist(), encoded.indices.take(at).to_pylist(), services, strict=True):
            self._count(rows.day(row), tenant, service, name, found[index][1])
            if name in IDENTIFIERS:
                rows.private.setdefault(row, {}).setdefault("identifiers", {})[name] = originals[index]
        new = pa.array([found[i][0] if i in found else value for i, value in enumerate(originals)], pa.string())
        column = pc.if_else(changed, new.take(encoded.indices), rows.table[name].combine_chunks())
        rows.table = rows.table.set_column(rows.table.schema.get_field_index(name), name, column)

    def private(self, rows: Rows) -> Iterator[tuple[str, dt.date, bytes, bytes]]:
        """(tenant, day, id, JSON) of the private part of each row that has one; identifiers stay as they were."""
        at = list(rows.private)
        by_tenant: dict[str, list[int]] = defaultdict(list)
        for row in at:
            by_tenant[rows.table["tenant"][row].as_py()].append(row)
        for tenant, members in by_tenant.items():
            originals = [rows.private[row].pop("identifiers", None) for row in members]
            redacted = self._redactor(tenant).values([rows.private[row] for row in members])
            for row, kept, (value, counts) in zip(members, originals, redacted, strict=True):
                self._count(rows.day(row), tenant, rows.table["service_name"][row].as_py(), "private", counts)
                body = orjson.dumps(value | ({"identifiers": kept} if kept else {}), option=orjson.OPT_NON_STR_KEYS)
                rows.private_ids[row] = blake2b(body, digest_size=16, key=b"private").digest()
                yield tenant, rows.day(row), rows.private_ids[row], body

    def take_tables(self) -> dict[dt.date, pa.Table]:
        """The counts since the last call, by day."""
        by_day: dict[dt.date, list[dict[str, Any]]] = defaultdict(list)
        for (day, tenant, rule, service, place), count in self._counts.items():
            by_day[day].append(
                {"tenant": tenant, "rule": rule, "service_name": service, "place": place, "count": count}
            )
        self._counts.clear()
        return {day: pa.Table.from_pylist(rows, schema=REDACTIONS) for day, rows in by_day.items()}

    def _count(self, day: dt.date, tenant: str, service: str | None, place: str, counts: Mapping[str, int]) -> None:
        for rule, count in counts.items():
            self._counts[day, tenant, rule, service, place] += count


def _values(encoded: Any) -> Iterator[tuple[int, str]]:
    return ((i, value) for i, value in enumerate(encoded.dictionary.to_pylist()) if value)
