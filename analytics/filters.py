"""The filter record of every screen, route and verb, and its one translation into bound parameters."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

ALWAYS, NEVER = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)
EPOCH_DAY = dt.date(1970, 1, 1)  # the partition of spans whose start is not believable: part of an open range only


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which spans, calls or traces count. Times are UTC without zone, `end` exclusive; an empty tuple means all.

    A trace or conversation is kept when one of its spans is kept.
    """

    start: dt.datetime | None = None
    end: dt.datetime | None = None
    tenants: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    review_states: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    text: str | None = None  # part of a name, id, model, user or error type; never of content

    def parameters(self) -> dict[str, Any]:
        """Values for the `$name`s of `sql/filter_*.sql`."""
        start, end = self.start or ALWAYS, self.end or NEVER
        lists = {name: list(getattr(self, name)) for name in LISTS}
        return lists | {
            "start": start, "split": start, "end": end, "text": self.text or None,
            "first_date": start.date() if self.start else EPOCH_DAY, "last_date": end.date(),
        }  # fmt: skip

    @property
    def rolled_up(self) -> bool:
        """Can the rollup answer? It knows neither single statuses, tags, texts nor reviews."""
        return not (self.statuses or self.review_states or self.tags or self.text)

    @property
    def whole_hours(self) -> bool:
        """Does the range begin and end with an hour, where it is not open?"""
        return all(at is None or at == at.replace(minute=0, second=0, microsecond=0) for at in (self.start, self.end))

    def previous(self) -> dt.datetime:
        """Start of the period of the same length before this one. Raises ValueError for an open range."""
        if self.start is None or self.end is None:
            raise ValueError("an open range has no period before it")
        return self.start - (self.end - self.start)


LISTS = (
    "tenants", "services", "environments", "projects", "keys", "providers", "models", "operations", "statuses",
    "review_states", "tags",
)  # fmt: skip
