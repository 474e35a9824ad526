"""Spans that a rule of the operator drops: internal ones of chatty emitters, hundreds for each call.

Never dropped: GenAI spans, and spans above a kept one (children end, and so arrive, before their parents), so that a
call stays below its agent. What is dropped is counted, by service and scope, in `data_quality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanfold.exporter.fold import Generations
from spanfold.semconv.records import SpanBatch

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class NoiseRule:
    """Globs over a span's scope and name."""

    scope: str
    name: str = "*"

    def __str__(self) -> str:
        return self.scope if self.name == "*" else f"{self.scope}:{self.name}"


def read_rules(text: str) -> tuple[NoiseRule, ...]:
    """The rules of the setting `drop_spans`: `scope` or `scope:name`, separated by commas."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return tuple(NoiseRule(scope, name or "*") for scope, _, name in (entry.partition(":") for entry in entries))


@dataclass(slots=True)
class Noise:
    """The rules in force, and the parents of kept spans: bounded, lost with the process."""

    rules: tuple[NoiseRule, ...] = ()
    _needed: Generations[tuple[str, bytes, bytes], bool] = field(default_factory=lambda: Generations(200_000))

    def dropped(self, source: SpanBatch, operation: pa.Array) -> list[tuple[int, NoiseRule]]:
        """(row, rule) of the spans to drop. `operation`: NULL for spans that are not GenAI."""
        if not self.rules:
            return []
        rule_of = self._matching(source)
        noise = np.array([rule is not None for rule in rule_of], np.bool_) & ~np.asarray(operation.is_valid())
        tenants = [source.origins[at].tenant for at in source.columns["origin"].to_pylist()]
        traces, spans, parents = (source.columns[n].to_pylist() for n in ("trace_id", "span_id", "parent_span_id"))
        rows: dict[tuple[str, bytes, bytes], int] = {
            key: row for row, key in enumerate(zip(tenants, traces, spans, strict=True))
        }
        todo = [row for row in range(len(noise)) if not noise[row]]
        todo += [row for key, row in rows.items() if noise[row] and self._needed.get(key)]
        while todo:
            row = todo.pop()
            noise[row] = False
            if parents[row]:
                above = (tenants[row], traces[row], parents[row])
                self._needed.put(above, True)
                if (parent := rows.get(above)) is not None and noise[parent]:
                    todo.append(parent)
        return [(row, rule) for row in np.flatnonzero(noise).tolist() if (rule := rule_of[row]) is not None]

    def _matching(self, source: SpanBatch) -> Sequence[NoiseRule | None]:
        """The first rule that fits each span, over distinct pairs of scope and name."""
        names = source.columns["name"].to_pylist()
        scopes = [source.origins[at].scope_name for at in source.columns["origin"].to_pylist()]
        known: dict[tuple[str, str], NoiseRule | None] = {}
        for pair in set(zip(scopes, names, strict=True)):
            known[pair] = next(
                (r for r in self.rules if fnmatchcase(pair[0], r.scope) and fnmatchcase(pair[1], r.name)), None
            )
        return [known[pair] for pair in zip(scopes, names, strict=True)]
