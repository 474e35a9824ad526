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
    from spanfold.collector.log_rows import LogRows
    from spanfold.collector.metric_rows import MetricRows
    from spanfold.collector.span_rows import SpanRows

    Rows: TypeAlias = SpanRows | LogRows | MetricRows

IDENTIFIERS = ("user_id", "session_id", "conversation_id", "key_label")  # PII here becomes a keyed hash, joinable
TEXTS = (
    "name", "error_type", "agent_name", "tool_name", "prompt_name", "event_name", "service_name", "project",
    "attributes", "attributes_typed", "events", "links", "resource", "scope_attributes", "trace_state", "description",
    "exemplars", "metadata",
)  # fmt: skip


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
        """Redacts the clear text columns of these rows; an identifier that was hashed keeps its original privately."""
        tenants = pc.unique(rows.table["tenant"]).to_pylist()
        for name in (*TEXTS, *IDENTIFIERS):
            at = rows.table.schema.get_field_index(name)
            if at < 0:
                continue
            column = rows.table.column(at).combine_chunks()
            for tenant in tenants:  # nearly always one
                mask = None if len(tenants) == 1 else pc.equal(rows.table["tenant"], tenant)
                column = self._column(rows, name, column, tenant, mask)
            rows.table = rows.table.set_column(at, name, column)

    def _column(self, rows: Rows, name: str, column: Any, tenant: str, mask: Any) -> Any:
        encoded = column.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        if name in IDENTIFIERS:
            found = {i: (hashed, {"identifier": 1}) for i, v in enumerate(values)
                     if (hashed := self._redactor(tenant).identifier(v)) is not None}  # fmt: skip
        else:
            found = {i: r for i, r in enumerate(self._redactor(tenant).texts(values)) if r is not None}
        if not found:
            return column
        changed = pc.is_in(encoded.indices, pa.array(list(found), encoded.indices.type))
        if mask is not None:
            changed = pc.and_(changed, mask)
        for row in pc.indices_nonzero(changed).to_pylist():
            index = encoded.indices[row].as_py()
            service = rows.table["service_name"][row].as_py()
            self._count(rows.day(row), tenant, service, name, found[index][1])
            if name in IDENTIFIERS:
                rows.private.setdefault(row, {}).setdefault("identifiers", {})[name] = values[index]
        new = pa.array([found[i][0] if i in found else v for i, v in enumerate(values)], pa.string())
        return pc.if_else(pc.fill_null(changed, False), new.take(encoded.indices), column)

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
