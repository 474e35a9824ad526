"""A point in the story: which day it is there, which day that is on the calendar, and the second of the day."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from random import Random

from spanfold.demo.trace import SECOND, Attributes, Trace
from spanfold.demo.world import SERVICES, SHIFT_DAY, SHIFT_SECOND, version


@dataclass(frozen=True, slots=True)
class Moment:
    """`day` counts from 1 to 30; `date` is that day's place on the calendar (UTC)."""

    day: int
    date: datetime.date
    second: float

    @property
    def shifted(self) -> bool:
        """Whether the deploy of day 22, 14:05 has happened."""
        return (self.day, self.second) >= (SHIFT_DAY, SHIFT_SECOND)

    @property
    def nanos(self) -> int:
        """UTC nanoseconds since 1970."""
        midnight = datetime.datetime.combine(self.date, datetime.time(), datetime.UTC)
        return int(midnight.timestamp()) * SECOND + int(self.second * SECOND)

    def later(self, seconds: float) -> Moment:
        """The moment `seconds` on; it stays in its story day even when that runs past midnight."""
        return Moment(self.day, self.date, self.second + seconds)

    def trace(self, rng: Random, service: str, identity: Attributes) -> Trace:
        """A new trace of `service`, in the version that runs now."""
        sender = SERVICES[service]
        return Trace(rng, sender, version(sender, self.day, self.second), self.nanos, identity)
