"""Ids of traces and spans: raw bytes on the wire, lower-case hex text in every table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spanfold.semconv.value_columns import binary_parts

_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


def hex_ids(array: pa.BinaryArray) -> pa.StringArray:
    """Raw ids as lower-case hex text. An empty id, or one of zeros only, says "none" and becomes NULL.

    An id of a length that OTLP does not know is refused at the edge; what is here nevertheless is kept as it is.
    """
    offsets, data = binary_parts(array)
    raw = data[offsets[0] : offsets[-1]]
    lengths, starts = np.diff(offsets), offsets[:-1] - offsets[0]
    valid = lengths > 0
    valid[valid] = np.maximum.reduceat(raw, starts[valid]) > 0
    text = np.empty((len(raw), 2), np.uint8)
    text[:, 0] = _DIGITS[raw >> 4]
    text[:, 1] = _DIGITS[raw & 15]
    bounds = ((offsets - offsets[0]) * 2).astype(np.int32)
    hexed = pa.Array.from_buffers(pa.string(), len(array), [None, pa.py_buffer(bounds), pa.py_buffer(text.ravel())])
    return hexed if valid.all() else pc.if_else(pa.array(valid), hexed, None)
