"""Content blocks: what was sealed for a row opens there, and nowhere else."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanfold.exporter.blocks import compress, open_block, seal_block
from spanfold.exporter.errors import BlockDamaged, KeyMissing
from spanfold.exporter.keys import Keyring

ROW = {"tenant": "default", "day": dt.date(2026, 11, 20), "block_id": b"\x01" * 16, "ids_hash": b"\x02" * 16}
MOVES = [
    {"tenant": "other"},
    {"day": dt.date(2026, 11, 21)},
    {"day": dt.date(2026, 12, 20)},
    {"block_id": b"\x03" * 16},
    {"ids_hash": b"\x03" * 16},
]


def frame(raw: bytes, level: int = 3) -> bytes:
    return compress([raw], level)[0]


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring.open(tmp_path_factory.mktemp("data"), environ={})


@pytest.mark.parametrize("mode", ["encrypted", "plain"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(raw=st.binary(max_size=5000), level=st.sampled_from([1, 3, 9]))
def test_a_sealed_block_opens_to_the_same_bytes(keyring: Keyring, mode: str, raw: bytes, level: int) -> None:
    """open(seal(x)) == x, for any bytes, empty ones too."""
    assert open_block(keyring, ct=seal_block(keyring, mode, frame=frame(raw, level), **ROW), **ROW) == raw


def test_an_encrypted_block_shows_nothing(keyring: Keyring) -> None:
    """No words, no zstd frame, no two equal blocks: layout is 1 | key id | nonce | ciphertext with tag (TB-032)."""
    raw = b"the words of a prompt " * 100
    first, second = (seal_block(keyring, "encrypted", frame=frame(raw), **ROW) for _ in range(2))
    assert first != second
    assert first[0] == 1
    assert int.from_bytes(first[1:5], "big") == keyring.data_key("default", ROW["day"]).id
    assert b"prompt" not in first
    assert zstandard.FRAME_HEADER not in first[:64]
    assert len(first) == 17 + len(zstandard.ZstdCompressor(level=3).compress(raw)) + 16


def test_a_plain_block_is_zstd_behind_version_and_digest(keyring: Keyring) -> None:
    """Plain is for people who chose it: any zstd tool reads it from byte 17 on."""
    ct = seal_block(keyring, "plain", frame=frame(b"words"), **ROW)
    assert ct[0] == 2
    assert zstandard.ZstdDecompressor().decompress(ct[17:]) == b"words"
    assert open_block(None, ct=ct, **ROW) == b"words"


@pytest.mark.parametrize("mode", ["encrypted", "plain"])
@pytest.mark.parametrize("move", MOVES, ids=lambda move: next(iter(move)))
def test_a_block_moved_elsewhere_fails_loudly(keyring: Keyring, mode: str, move: dict[str, object]) -> None:
    """Another tenant, day, row or list of ids: an error that names the block, never other people's words."""
    ct = seal_block(keyring, mode, frame=frame(b"words"), **ROW)
    row = ROW | move
    with pytest.raises(BlockDamaged, match=row["block_id"].hex()):
        open_block(keyring, ct=ct, **row)


@pytest.mark.parametrize("mode", ["encrypted", "plain"])
def test_every_flipped_bit_is_noticed(keyring: Keyring, mode: str) -> None:
    """No byte of a block can change unseen."""
    ct = seal_block(keyring, mode, frame=frame(b"words of a block"), **ROW)
    for i in range(len(ct)):
        changed = ct[:i] + bytes([ct[i] ^ 0x40]) + ct[i + 1 :]
        with pytest.raises((BlockDamaged, KeyMissing)):
            open_block(keyring, ct=changed, **ROW)


@pytest.mark.parametrize("length", [0, 1, 5, 16, 17, 30])
def test_a_torn_block_is_damaged(keyring: Keyring, length: int) -> None:
    """Any prefix of a block is an error, not an empty text."""
    for mode in ("encrypted", "plain"):
        ct = seal_block(keyring, mode, frame=frame(b"words"), **ROW)[:length]
        with pytest.raises(BlockDamaged):
            open_block(keyring, ct=ct, **ROW)


def test_another_directory_s_keys_do_not_open_it(keyring: Keyring, tmp_path: Path) -> None:
    """The same key id in another keyring is another key."""
    other = Keyring.open(tmp_path, environ={})
    ct = seal_block(keyring, "encrypted", frame=frame(b"words"), **ROW)
    key_id = int.from_bytes(ct[1:5], "big")
    with pytest.raises(KeyMissing, match=f"key {key_id} is not in"):
        open_block(other, ct=ct, **ROW)
    for i in range(key_id):
        other.data_key(f"tenant-{i}", ROW["day"])
    with pytest.raises(BlockDamaged, match="does not authenticate"):
        open_block(other, ct=ct, **ROW)


def test_an_encrypted_block_without_a_keyring_asks_for_the_key(keyring: Keyring) -> None:
    """Readers that may not see content get KeyMissing, not an error about damage."""
    ct = seal_block(keyring, "encrypted", frame=frame(b"words"), **ROW)
    with pytest.raises(KeyMissing, match="is encrypted and no key is at hand"):
        open_block(None, ct=ct, **ROW)


def test_mode_none_seals_nothing(keyring: Keyring) -> None:
    """A mode that stores no content must not be able to store some by accident (fail closed)."""
    with pytest.raises(ValueError, match="'none' stores no blocks"):
        seal_block(keyring, "none", frame=frame(b"words"), **ROW)
