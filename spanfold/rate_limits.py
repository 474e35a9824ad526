"""Token buckets in memory: how often somebody may knock."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_NAMES = 20_000


class Buckets:
    """`burst` at once per name, then `per_second`. Names that were not seen for long are forgotten first."""

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._rate, self._clock = float(burst), per_second, clock
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name -> (tokens, when)

    def take(self, name: str) -> float:
        """0 = go on; else the seconds to wait, and nothing is taken."""
        now = self._clock()
        with self._lock:
            level, then = self._levels.get(name, (self._burst, now))
            level = min(self._burst, level + (now - then) * self._rate)
            allowed = level >= 1.0
            self._levels[name] = (level - 1.0 if allowed else level, now)
            self._levels.move_to_end(name)
            while len(self._levels) > MOST_NAMES:
                self._levels.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) / self._rate

    def give_back(self, name: str) -> None:
        """A knock that turned out to be rightful does not count."""
        with self._lock:
            if name in self._levels:
                level, then = self._levels[name]
                self._levels[name] = (min(self._burst, level + 1.0), then)
