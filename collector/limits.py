"""Bounds on what senders may send: sizes, before and after decompression, and bytes in flight."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass

from spanfold.collector.answers import Code, Refused

MAX_REQUEST_BYTES = 64 << 20  # recommended by OTLP 1.11, raw and decompressed alike
RETRY_SECONDS = 1
_GZIP, _ZLIB, _RAW = 31, 15, -15  # window bits
_MOST_MEMBERS = 1000  # of one gzip body (RFC 1952, 2.2); senders write one
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one collector takes."""

    request_bytes: int = MAX_REQUEST_BYTES
    in_flight_bytes: int = 512 << 20
    read_seconds: float = 60.0  # for the whole body of an HTTP request


class InFlight:
    """Bytes of requests that are being worked on, so that many large ones at once are refused and not fatal. Safe for
    use from many threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._bytes = 0

    def request(self) -> Held:
        return Held(self)

    def add(self, size: int, own: int) -> None:
        """`own`: what the same request holds already. Raises Refused (retryable) when it would be too much; one request
        alone is never too much."""
        with self._lock:
            if self._bytes > own and self._bytes + size > self._max_bytes:
                raise Refused(Code.UNAVAILABLE, "too many requests in flight", retry_seconds=RETRY_SECONDS)
            self._bytes += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._bytes -= size


class Held:
    """The bytes of one request; within it, they count."""

    __slots__ = ("_all", "_size")

    def __init__(self, everything: InFlight) -> None:
        self._all, self._size = everything, 0

    def add(self, size: int) -> None:
        """Raises Refused (retryable) when it would be too much."""
        self._all.add(size, self._size)
        self._size += size

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self._all.give_back(self._size)


def too_large(limit: int) -> Refused:
    return Refused(Code.RESOURCE_EXHAUSTED, f"the request is larger than {limit} bytes; send smaller batches")


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The decompressed body. Never makes more than `limit` bytes.

    Raises Refused: too large, damaged or cut off, or an encoding that is not known.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Refused(
            Code.INVALID_ARGUMENT, f"content encoding {encoding!r} is not known; use gzip, deflate or none", media=True
        )
    window = _GZIP if encoding != "deflate" else (_ZLIB if _has_zlib_header(body) else _RAW)
    try:
        return _inflate_members(body, window, limit)
    except zlib.error as error:
        raise Refused(Code.INVALID_ARGUMENT, f"the body is not valid {encoding}: {error}") from error


def _has_zlib_header(body: bytes) -> bool:
    """RFC 9110 means zlib by `deflate`; some clients send the bare stream."""
    return len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _inflate_members(body: bytes, window: int, limit: int) -> bytes:
    """Piece by piece: zlib copies what it was given behind the end of a member, once for each member."""
    view, at, room = memoryview(body), 0, limit
    parts: list[bytes] = []
    for _ in range(_MOST_MEMBERS):
        stream = zlib.decompressobj(window)
        while not stream.eof:
            if at == len(view):
                raise zlib.error("it ends too early")
            piece = view[at : at + _PIECE]
            part = stream.decompress(piece, room + 1)
            room -= len(part)
            if room < 0:
                raise too_large(limit)
            parts.append(part)
            at += len(piece)
        at -= len(stream.unused_data)
        if at == len(view) or window != _GZIP:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    raise zlib.error(f"it has more than {_MOST_MEMBERS} members")
