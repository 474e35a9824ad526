"""[87] No nonce comes twice, not even from processes that were forked from one another."""

from __future__ import annotations

import datetime as dt
import multiprocessing
from pathlib import Path

import pytest

from spanfold.exporter.blocks import seal_block
from spanfold.exporter.keys import Keyring

PROCESSES, EACH = 4, 25_000
DAY = dt.date(2026, 11, 2)


def sealed(data: str) -> bytes:
    """The nonces of many blocks, one after the other."""
    keyring = Keyring.open(Path(data))
    rest = {"tenant": "default", "day": DAY, "block_id": b"b" * 16, "ids_hash": b"h" * 16, "frame": b"words"}
    return b"".join(seal_block(keyring, "encrypted", **rest)[5:17] for _ in range(EACH))  # type: ignore[arg-type]


@pytest.mark.slow
def test_no_nonce_twice(tmp_path: Path) -> None:
    """100,000 blocks of one key, sealed in four forked processes, have 100,000 nonces."""
    Keyring.open(tmp_path).data_key("default", DAY)
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        parts = pool.map(sealed, [str(tmp_path)] * PROCESSES)
    nonces = {part[at : at + 12] for part in parts for at in range(0, len(part), 12)}
    assert len(nonces) == PROCESSES * EACH
