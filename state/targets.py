"""What a review is about, and how it is found in the tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from spanfold.state.errors import Invalid

_HEX = re.compile(r"[0-9a-f]+\Z")
KEY = ("tenant", "kind", "trace_id", "span_id", "message_id")


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A trace, a span of it, or a message. Use the three makers; ids are lower-case hex, '' where they do not apply."""

    tenant: str
    kind: str
    trace_id: str = ""
    span_id: str = ""
    message_id: str = ""

    def __post_init__(self) -> None:
        wanted = {"trace": (1, 0, 0), "span": (1, 1, 0), "message": (0, 0, 1)}.get(self.kind)
        given = (self.trace_id, self.span_id, self.message_id)
        if wanted is None or not self.tenant or tuple(bool(i) for i in given) != tuple(bool(w) for w in wanted):
            raise Invalid(f"{self!r} is not a trace, a span or a message of a tenant")
        for value, size in zip(given, (32, 16, 64), strict=True):
            if value and (len(value) > size or not _HEX.match(value)):
                raise Invalid(f"{value[:80]!r} is not an id in lower-case hex")

    @classmethod
    def trace(cls, trace_id: str, *, tenant: str = "default") -> Target:
        return cls(tenant, "trace", trace_id)

    @classmethod
    def span(cls, trace_id: str, span_id: str, *, tenant: str = "default") -> Target:
        return cls(tenant, "span", trace_id, span_id)

    @classmethod
    def message(cls, message_id: str, *, tenant: str = "default") -> Target:
        return cls(tenant, "message", message_id=message_id)

    def columns(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in KEY}


def target_of(row: Any) -> Target:
    """The target of a row mapping of any table with the key columns."""
    return Target(*(row[name] for name in KEY))


def is_one_of(table: sa.Table, targets: Sequence[Target]) -> sa.ColumnElement[bool]:
    return sa.tuple_(*(table.c[name] for name in KEY)).in_([tuple(t.columns().values()) for t in targets])


def is_target(table: sa.Table) -> sa.ColumnElement[bool]:
    """Equality with bound parameters named `key_tenant`, `key_kind`, ...: for one statement run over many rows."""
    return sa.and_(*(table.c[name] == sa.bindparam(f"key_{name}") for name in KEY))


def key_parameters(target: Target) -> dict[str, str]:
    return {f"key_{name}": value for name, value in target.columns().items()}


def distinct(targets: Iterable[Target]) -> list[Target]:
    """Sorted, so that concurrent writers lock rows in one order, and each once."""
    return sorted(set(targets))
