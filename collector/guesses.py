"""How often an address may bring secrets that open nothing.

Nobody guesses 160 random bits; this keeps those who try from making work, and makes them visible. An address that has
used up its attempts waits even with a right secret, unless that one was right from there before: who works already is
not locked out by a neighbour behind the same proxy.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

ATTEMPTS, PER_SECOND = 100, 1.0
_MOST = 20_000  # addresses, and secrets known to be right; those not seen for longest are forgotten first

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Guesses:
    """Safe for threads."""

    def __init__(
        self, attempts: int = ATTEMPTS, per_second: float = PER_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._attempts, self._rate, self._clock = float(attempts), per_second, clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> (attempts left, when)
        self._right: OrderedDict[tuple[str, bytes], None] = OrderedDict()  # (address, hash of the secret)

    def wait(self, address: str, digest: bytes) -> float:
        """0 = look the secret up; else the seconds until this address may bring another."""
        with self._lock:
            if (address, digest) in self._right or address not in self._left:
                return 0.0
            left = self._level(address)
        return 0.0 if left >= 1.0 else (1.0 - left) / self._rate

    def was_right(self, address: str, digest: bytes) -> None:
        with self._lock:
            _newest(self._right, (address, digest), None)

    def was_wrong(self, address: str, digest: bytes) -> None:
        with self._lock:
            self._right.pop((address, digest), None)
            _newest(self._left, address, (self._level(address) - 1.0, self._clock()))

    def _level(self, address: str) -> float:
        left, then = self._left.get(address, (self._attempts, 0.0))
        return min(self._attempts, left + (self._clock() - then) * self._rate)


def _newest(kept: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST:
        kept.popitem(last=False)
