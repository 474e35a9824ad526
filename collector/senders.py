"""Who sends: the API keys that requests bring, and how much each key may send.

A key opens for its tenant alone; its label is the last resort of the dimension `key_label`. Which keys are open is held
in memory and read again after two seconds at the latest, so a revoked key closes then; when they cannot be read for
longer than a key may outlive its revocation, nobody is let in and senders are told to come back.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spanfold.collector.answers import Code, Refused
from spanfold.collector.guesses import Guesses
from spanfold.collector.limits import RETRY_SECONDS

_LOG = logging.getLogger(__name__)
RENEW_SECONDS = 2.0
RENEW_FOR_UNKNOWN_SECONDS = 0.5  # so that a new key opens at once, and wrong ones do not read the state each time
LONGEST_SECONDS = 4.0  # a key that was revoked opens no longer than this, whatever goes wrong
BURST_SECONDS = 5.0  # what a key may send at once, in seconds of its rate
_HOW = "send an API key as `authorization: Bearer <key>` or `x-api-key: <key>`; `spanfold keys add` makes one"

ReadKeys = Callable[[], Mapping[bytes, "Caller"]]


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request came in."""

    tenant: str = "default"
    key_label: str | None = None
    key_id: str | None = None


ANYONE = Caller()


class Senders:
    """Knows senders by their keys. Safe for use from many threads."""

    def __init__(self, read: ReadKeys, hash_of: Callable[[str], bytes]) -> None:
        """`read` gives the open keys by the hash of their secret; it may be slow and may fail."""
        self._read, self._hash_of = read, hash_of
        self._guesses = Guesses()
        self._reading = threading.Lock()
        self._known: Mapping[bytes, Caller] = {}
        self._read_at = -math.inf

    def caller(self, authorization: str, api_key: str, stated_tenant: str, address: str = "") -> Caller:
        """Who brings these headers ("" where one is absent) from this address.

        Raises Refused: UNAUTHENTICATED without an open key, PERMISSION_DENIED for the tenant of somebody else,
        RESOURCE_EXHAUSTED after many wrong keys, and UNAVAILABLE (retryable) while the keys cannot be read.
        """
        secret = _secret(authorization, api_key)
        digest = self._hash_of(secret)
        if wait := self._guesses.wait(address, digest):
            message = f"too many wrong API keys came from this address; {_HOW}"
            raise Refused(Code.RESOURCE_EXHAUSTED, message, retry_seconds=math.ceil(wait))
        found = self._find(digest, RENEW_SECONDS) or self._find(digest, RENEW_FOR_UNKNOWN_SECONDS)
        if found is None:
            self._guesses.was_wrong(address, digest)
            raise Refused(Code.UNAUTHENTICATED, f"the API key is unknown or revoked; {_HOW}")
        self._guesses.was_right(address, digest)
        if stated_tenant and stated_tenant != found.tenant:
            raise Refused(Code.PERMISSION_DENIED, "this API key is not of the tenant that x-spanfold-tenant names")
        return found

    def _find(self, digest: bytes, renew_after: float) -> Caller | None:
        """Looks the hash up: how long that takes tells nothing that helps to guess 160 random bits."""
        self._renew(renew_after)
        return self._known.get(digest)

    def _renew(self, after: float) -> None:
        age = time.monotonic() - self._read_at
        if age < after:
            return
        if not self._reading.acquire(blocking=age >= LONGEST_SECONDS):  # somebody reads: what is known is good enough
            return
        try:
            if time.monotonic() - self._read_at >= after:
                began = time.monotonic()
                self._known, self._read_at = self._read(), began
        except Exception as error:
            _LOG.warning("API keys could not be read: %s", type(error).__name__)
            if time.monotonic() - self._read_at >= LONGEST_SECONDS:
                raise Refused(
                    Code.UNAVAILABLE, "API keys cannot be checked now", retry_seconds=RETRY_SECONDS
                ) from error
        finally:
            self._reading.release()


class Rates:
    """A bucket per key that empties at its rate: what does not fit is told when it will. Requests without a key have
    no limit here. A request that is larger than the bucket passes when the bucket is empty."""

    def __init__(self, requests_per_second: float | None, bytes_per_second: float | None) -> None:
        self._rates = (requests_per_second, bytes_per_second)
        self._lock = threading.Lock()
        self._empty_at: dict[tuple[str, int], float] = {}  # (key, which rate) -> when its bucket will be empty

    def take(self, caller: Caller, size: int) -> None:
        """Counts one request of `size` bytes. Raises Refused (RESOURCE_EXHAUSTED, with the seconds to wait)."""
        if caller.key_id is None or self._rates == (None, None):
            return
        now = time.monotonic()
        with self._lock:
            fills = []
            for which, (rate, amount) in enumerate(zip(self._rates, (1, size), strict=True)):
                if rate is None:
                    continue
                level = max(0.0, self._empty_at.get((caller.key_id, which), 0.0) - now)
                wait = level + min(amount / rate, BURST_SECONDS) - BURST_SECONDS
                if wait > 0:
                    raise _too_much(caller, ("requests", "bytes")[which], rate, wait)
                fills.append(((caller.key_id, which), now + level + amount / rate))
            self._empty_at.update(fills)


def _too_much(caller: Caller, unit: str, rate: float, wait: float) -> Refused:
    message = f"key {caller.key_label!r} may send {rate:g} {unit} a second; come back when the delay is over"
    return Refused(Code.RESOURCE_EXHAUSTED, message, retry_seconds=math.ceil(wait))


def _secret(authorization: str, api_key: str) -> str:
    """The key that the headers hold. Raises Refused when they hold none, or two."""
    scheme, _, token = authorization.partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    if bearer and api_key and bearer != api_key:
        raise Refused(Code.UNAUTHENTICATED, "authorization and x-api-key hold different keys; send one")
    if not (bearer or api_key):
        raise Refused(Code.UNAUTHENTICATED, f"no API key; {_HOW}")
    return bearer or api_key
