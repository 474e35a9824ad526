"""Which dialects a batch speaks: the tables in force, and for each the rows that show a mark of it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spanfold.semconv.dialect import SIDES, Content, Dialect, EventMessage, ToolEvent
from spanfold.semconv.dialects import BUILT_IN
from spanfold.semconv.events import DETAILS
from spanfold.semconv.records import AttributeColumns, Resource, SpanEvent

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Dialects:
    """The tables in force, most specific first."""

    tables: tuple[Dialect, ...] = BUILT_IN

    @cached_property
    def places(self) -> dict[str, list[Content]]:
        return {side: [p for table in self.tables for p in table.content.get(side, ())] for side in SIDES}

    @cached_property
    def event_messages(self) -> dict[str, EventMessage]:
        return {rule.event: rule for table in reversed(self.tables) for rule in table.messages}

    @cached_property
    def event_names(self) -> frozenset[str]:
        named = {place.event for side in self.places.values() for place in side if place.event}
        return frozenset({*named, *self.event_messages, DETAILS})

    @cached_property
    def indexed_inputs(self) -> frozenset[str]:
        """Places where a history lies in an attribute a message: an attribute cap may take its beginning."""
        return frozenset(p.key for p in self.places["input"] if p.key.endswith(".*") and p.shape == "messages")

    @cached_property
    def turn_rules(self) -> dict[str, EventMessage | ToolEvent]:
        """Record name -> how it tells of a turn."""
        rules: dict[str, EventMessage | ToolEvent] = {}
        for turn in [table.turn for table in reversed(self.tables) if table.turn]:
            rules |= {said.event: said for said in turn.said} | {tool.event: tool for tool in turn.tools}
        return rules

    @cached_property
    def turn_names(self) -> frozenset[str]:
        """Dialects whose content stands beside their calls."""
        return frozenset(table.name for table in self.tables if table.turn)

    @cached_property
    def delta_names(self) -> frozenset[str]:
        """Dialects whose spans say only what is new."""
        return frozenset(table.name for table in self.tables if table.deltas)

    @cached_property
    def turn_scopes(self) -> tuple[str, ...]:
        return tuple(glob for table in self.tables if table.turn for glob in table.detect.scopes)

    @cached_property
    def fact_scopes(self) -> dict[str, tuple[str, ...]]:
        """Record name -> scopes (globs; empty = any) in which it states columns of its call."""
        return {name: table.detect.scopes if table.guarded else () for table in self.tables for name in table.facts}

    @cached_property
    def record_names(self) -> frozenset[str]:
        """Names of log records that some table knows."""
        return self.event_names | self.turn_rules.keys() | self.fact_scopes.keys()

    def places_without(self, shut: frozenset[str], keys: Container[str]) -> dict[str, list[Content]]:
        """Places on the item itself (not on its events) under these keys, of all tables but the ones named."""
        return {
            side: [
                place
                for table in self.tables
                if table.name not in shut
                for place in table.content.get(side, ())
                if not place.event and place.key in keys
            ]
            for side in SIDES
        }


DIALECTS = Dialects()


def detect(
    tables: Sequence[Dialect], attributes: AttributeColumns, origins: Sequence[Resource], origin: NDArray[np.int32],
    events: Mapping[int, Sequence[SpanEvent]],
) -> dict[str, Mask]:  # fmt: skip
    """Dialect name -> rows that show a mark of it; dialects without a row are left out."""
    found = {}
    for table in tables:
        mask = _marked(table, attributes, origins, origin, events)
        if mask is not None and mask.any():
            found[table.name] = mask
    return found


def _marked(
    table: Dialect, attributes: AttributeColumns, origins: Sequence[Resource], origin: NDArray[np.int32],
    events: Mapping[int, Sequence[SpanEvent]],
) -> Mask | None:  # fmt: skip
    marks = table.detect
    keys = {key for key in marks.keys if attributes.has_key(key)}
    if marks.prefixes:
        keys |= set(attributes.keys_like(lambda key: key.startswith(marks.prefixes)))
    hits = [any(fnmatchcase(item.scope_name, glob) for glob in marks.scopes) for item in origins]
    seen = (
        {row for row, listed in events.items() if any(e.name in marks.events for e in listed)}
        if marks.events
        else set()
    )
    if not keys and not any(hits) and not seen:
        return None
    mask = np.array(hits, np.bool_)[origin]
    for key in keys:
        mask[attributes.rows_of(key)] = True
    mask[list(seen)] = True
    return mask
