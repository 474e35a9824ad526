"""What the query process and its caller say to each other over pipes: a letter, a length, that many bytes.

Caller: `Q` the question (JSON), `C` words asked for (Arrow). Query process: `S` the schema, `B` a batch of rows, `R`
words are needed (Arrow), `E` it failed (JSON), `D` done (JSON).
"""

from __future__ import annotations

import os
import select
import struct
import time

import pyarrow as pa

_HEADER = struct.Struct("<cQ")


class Closed(Exception):
    """The other side is gone."""


class TooLate(Exception):
    """The other side did not answer in time."""


def write(descriptor: int, letter: bytes, payload: bytes | memoryview) -> None:
    for part in (_HEADER.pack(letter, len(payload)), payload):
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def read(descriptor: int, limit: int, deadline: float | None = None) -> tuple[bytes, bytes]:
    """One frame of at most `limit` bytes; `deadline` in time.monotonic()."""
    letter, size = _HEADER.unpack(_exactly(descriptor, _HEADER.size, deadline))
    if size > limit:
        raise Closed
    return letter, _exactly(descriptor, size, deadline)


def encode(rows: pa.RecordBatch | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return bytes(sink.getvalue())


def encode_schema(schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, schema).close()
    return bytes(sink.getvalue())


def decode(payload: bytes) -> pa.Table:
    """Raises pa.ArrowException for bytes that are not what they say."""
    table = pa.ipc.open_stream(payload).read_all()
    table.validate(full=True)
    return table


def _exactly(descriptor: int, size: int, deadline: float | None) -> bytes:
    parts, missing = [], size
    while missing:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TooLate
        part = os.read(descriptor, min(missing, 1 << 20))
        if not part:
            raise Closed
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
