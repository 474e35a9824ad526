"""[2] How long the check of an API key takes, and what it compares, tells nothing of the keys that are open."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from spanfold.collector.answers import Refused
from spanfold.collector.senders import Caller, Senders
from spanfold.state.keys import hash_of

RIGHT = "sf_0123456789abcdefghjkmnpqrstvwxyz"
NEAR = RIGHT[:-1] + "x"  # all of it but the last character
FAR = "xx_" + RIGHT[3:][::-1]  # nothing of it
ROUNDS = 6_000
_numbers = iter(range(10**9))


class Recording(Mapping[bytes, Caller]):
    """Open keys that write down what they are asked for."""

    def __init__(self, known: dict[bytes, Caller]) -> None:
        self._known, self.asked = known, list[object]()

    def __getitem__(self, digest: bytes) -> Caller:
        self.asked.append(digest)
        return self._known[digest]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def test_only_hashes_are_looked_up() -> None:
    """The secret itself is compared with nothing: what is open is asked for SHA-256 digests, and those of two keys that
    differ in one character have no beginning in common that a sender could lengthen step by step."""
    known = Recording({hash_of(RIGHT): Caller("acme")})
    senders = Senders(lambda: known, hash_of)
    assert senders.caller("", RIGHT, "").tenant == "acme"
    for wrong in (NEAR, FAR, RIGHT[:9], ""):
        with pytest.raises(Refused):
            senders.caller(f"Bearer {wrong}", "", "")
    assert set(known.asked) == {hash_of(key) for key in (RIGHT, NEAR, FAR, RIGHT[:9])}
    assert all(isinstance(asked, bytes) and len(asked) == 32 for asked in known.asked)
    assert hash_of(RIGHT)[0] != hash_of(NEAR)[0]


def t_value(check: Callable[[str], object]) -> float:
    """Welch's t of the times of a key that is nearly right and one that is not at all, taken in turn; the slowest
    tenth, in which the machine did something else, is left out of both."""
    seconds: dict[str, list[int]] = {NEAR: [], FAR: []}
    order = [NEAR, FAR] * ROUNDS
    random.Random(7).shuffle(order)
    for key in order:
        began = time.perf_counter_ns()
        check(key)
        seconds[key].append(time.perf_counter_ns() - began)
    near, far = (np.sort(np.array(times))[: ROUNDS * 9 // 10] for times in seconds.values())
    spread = np.sqrt(near.var() / len(near) + far.var() / len(far))
    return abs(float((near.mean() - far.mean()) / spread))


def test_a_nearly_right_key_takes_no_longer() -> None:
    """Below what dudect calls certain (t = 10), at the best of three tries; a comparison that stops at the first wrong
    character is seen by the same measurement."""
    senders = Senders(lambda: {hash_of(RIGHT): Caller()}, hash_of)

    def check(key: str) -> None:
        with contextlib.suppress(Refused):
            senders.caller("", key, "", str(next(_numbers)))  # an address of its own: guessing is slowed for each

    def naive(key: str) -> bool:
        return all(given == wanted for given, wanted in zip(key, RIGHT, strict=True))

    assert t_value(naive) > 10
    assert min(t_value(check) for _ in range(3)) < 10
