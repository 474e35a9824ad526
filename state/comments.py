"""Sealing of review comments: what a reviewer writes may quote content, so it is stored encrypted like content.

AES-256-GCM under a key per tenant that the caller supplies; the additional data binds a comment to its tenant and to
the act it belongs to, so that a sealed comment moved to another row does not open. Accepted leak: its length.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spanfold.state.errors import CommentDamaged

VERSION = b"\x01"
NONCE_BYTES = 12


class Sealer(Protocol):
    """What the store needs to keep comments; without one it refuses to take or show any."""

    def seal(self, tenant: str, act: str, text: str) -> bytes: ...

    def open(self, tenant: str, act: str, sealed: bytes) -> str: ...


class CommentSealer:
    """Seals under `key_of(tenant)`: 32 bytes that never change for a tenant."""

    def __init__(self, key_of: Callable[[str], bytes]) -> None:
        self._key_of = key_of

    def seal(self, tenant: str, act: str, text: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + AESGCM(self._key_of(tenant)).encrypt(nonce, text.encode(), _bound(tenant, act))

    def open(self, tenant: str, act: str, sealed: bytes) -> str:
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        if sealed[:1] != VERSION:
            raise CommentDamaged
        try:
            return AESGCM(self._key_of(tenant)).decrypt(nonce, ciphertext, _bound(tenant, act)).decode()
        except (InvalidTag, ValueError) as error:
            raise CommentDamaged from error


def _bound(tenant: str, act: str) -> bytes:
    return b"\x00".join([b"spanfold review comment", VERSION, tenant.encode(), act.encode()])
