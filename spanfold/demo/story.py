"""Thirty days at Tidewater: when what happens. Deterministic, so that sending it twice sends the same spans.

The story inside: on day 22 at 14:05 UTC a deploy of summary-service (pull request 129) lets Sonnet read whole
documents as soon as they are uploaded. Before it 10 % of the summaries ran on claude-sonnet-4-5 and the rest on
claude-haiku-4-5; after it 90 % run on Sonnet, and there are 1.6 times as many. Two other deploys
of that day are innocent.

The arithmetic, in list prices (USD per million tokens, input/output: Haiku 1/5, Sonnet 3/15) and average tokens:

    a Haiku summary   24,220 in, 291 out   0.0242 + 0.0015 = 0.0257 USD
    a Sonnet summary  52,680 in, 529 out   0.1580 + 0.0079 = 0.1660 USD
    before            0.9 x 0.0257 + 0.1 x 0.1660 = 0.0397 USD each, 115 a day = 4.57 USD a day
    after             0.1 x 0.0257 + 0.9 x 0.1660 = 0.1520 USD each: 3.82 times as much, 6.12 times with 1.6 x volume
    day 22            37 % of a day's requests come before 14:05 (most customers sit in America):
                      4.57 x (0.37 + 0.63 x 6.12) = 19.3 USD

With 0.02 USD for support and trips the key prod-frontend costs 4.59 USD on an ordinary day and 19.26 on day 22, 4.2
times as much. `_RHYTHM` lets the volume swing by the same seven steps every week, so that a baseline of any seven days
has the same mean and deviation (about 0.54 USD): the spike stands 27 deviations above it.
"""

from __future__ import annotations

import datetime
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from spanfold.demo import customer_scenes, internal_scenes, platform_scenes
from spanfold.demo.moment import Moment
from spanfold.demo.trace import SECOND, Trace
from spanfold.demo.world import SHIFT_DAY, SHIFT_SECOND, STORY_DAYS

SEED = "tidewater-1"
SUMMARIES_A_DAY = 115
SHIFT_VOLUME = 1.6
_RHYTHM = (1.0, 1.10, 0.89, 1.14, 0.92, 1.09, 0.86)  # of day 22, 23, ...; mean 1, sample deviation 0.112

# Events by hour of the day, UTC.
_AMERICA = (3, 2, 2, 1, 1, 1, 2, 3, 3, 3, 3, 3, 4, 6, 7, 8, 8, 7, 8, 7, 7, 5, 4, 4)
_OFFICE = (0, 0, 0, 0, 0, 0, 1, 3, 8, 10, 10, 9, 6, 8, 10, 9, 7, 3, 1, 1, 0, 0, 0, 0)
_NIGHT = (0, 6, 10, 3) + (0,) * 20
_ALWAYS = (1,) * 24
_MORNING = (0,) * 6 + (1,) + (0,) * 17


@dataclass(frozen=True, slots=True)
class Stream:
    """Something that happens again and again: so often on working days and on weekends, at such hours."""

    name: str
    scene: Callable[[Random, Moment], list[Trace]]
    working: int
    weekend: int
    hours: Sequence[float]


STREAMS = (
    Stream("support", customer_scenes.support, 4, 4, _AMERICA),
    Stream("trip", customer_scenes.trip, 2, 2, _AMERICA),
    Stream("code", internal_scenes.code, 8, 1, _OFFICE),
    Stream("question", internal_scenes.question, 25, 3, _OFFICE),
    Stream("notes", internal_scenes.notes, 6, 0, _OFFICE),
    Stream("invoice", platform_scenes.invoice, 22, 22, _NIGHT),
    Stream("ticket", platform_scenes.ticket, 26, 18, _ALWAYS),
    Stream("triage", platform_scenes.triage, 10, 10, _ALWAYS),
    Stream("clause", platform_scenes.clause, 8, 8, _NIGHT),
    Stream("report", platform_scenes.report, 3, 3, _MORNING),
)


@dataclass(frozen=True, slots=True)
class StoryDay:
    """A day of the story and everything that began on it."""

    day: int
    date: datetime.date
    traces: list[Trace]


def story(until: datetime.datetime) -> Iterator[StoryDay]:
    """The thirty days that end with `until` (aware): newest first, without what had not ended by then."""
    until = until.astimezone(datetime.UTC)
    limit = int(until.timestamp()) * SECOND
    for day in range(STORY_DAYS, 0, -1):
        date = until.date() - datetime.timedelta(days=STORY_DAYS - day)
        traces = [*_summaries(day, date), *_streams(day, date)]
        yield StoryDay(day, date, [trace for trace in traces if trace.clock <= limit])


def _streams(day: int, date: datetime.date) -> Iterator[Trace]:
    weekend = date.weekday() >= 5
    for stream in STREAMS:
        count = stream.weekend if weekend else stream.working
        seconds = _times(Random(f"{SEED}/{stream.name}/{day}"), stream.hours, count)
        if stream.name == "question" and day == internal_scenes.OUTAGE_DAY:
            seconds += [10 * 3600 + 1200 + 130 * i for i in range(12)]  # people ask again while it is down
        for index, second in enumerate(seconds):
            rng = Random(f"{SEED}/{stream.name}/{day}/{index}")
            yield from stream.scene(rng, Moment(day, date, second))


def _summaries(day: int, date: datetime.date) -> Iterator[Trace]:
    plan = Random(f"{SEED}/summary/{day}")
    count = SUMMARIES_A_DAY * _RHYTHM[(day - SHIFT_DAY) % len(_RHYTHM)]
    shift = 86_400 if day < SHIFT_DAY else SHIFT_SECOND if day == SHIFT_DAY else 0
    early = _share(_AMERICA, shift)
    before = _times(plan, _AMERICA, round(count * early), 0, early)
    after = _times(plan, _AMERICA, round(count * (1 - early) * SHIFT_VOLUME), early, 1)
    chosen = [*_deck(plan, len(before), whole=1), *_deck(plan, len(after), whole=9)]
    for index, (second, whole) in enumerate(zip([*before, *after], chosen, strict=True)):
        rng = Random(f"{SEED}/summary/{day}/{index}")
        yield from customer_scenes.summary(rng, Moment(day, date, second), whole)


def _deck(rng: Random, count: int, whole: int) -> list[bool]:
    """`count` draws, `whole` of each ten True: dealt like cards, so that a day's share does not wander."""
    cards: list[bool] = []
    while len(cards) < count:
        ten = [True] * whole + [False] * (10 - whole)
        rng.shuffle(ten)
        cards += ten
    return cards[:count]


def _share(hours: Sequence[float], second: float) -> float:
    """The part of a day's events that comes before `second`."""
    sums = [0.0, *accumulate(hours)]
    hour = min(int(second // 3600), 23)
    return (sums[hour] + hours[hour] * (second / 3600 - hour)) / sums[-1]


def _times(rng: Random, hours: Sequence[float], count: int, low: float = 0, high: float = 1) -> list[float]:
    """`count` seconds of the day, spread evenly over the part `low`..`high` of the day's events."""
    sums = [0.0, *accumulate(hours)]
    found = []
    for index in range(count):
        target = (low + (high - low) * (index + rng.random()) / count) * sums[-1]
        hour = min(bisect(sums, target) - 1, 23)
        found.append((hour + (target - sums[hour]) / hours[hour]) * 3600)
    return found
