"""Passwords as scrypt hashes (RFC 7914): 32 MiB and some 0.1 s for one guess."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from spanfold.state.errors import Invalid

SHORTEST, LONGEST = 12, 1024  # characters
_LOG_N, _R, _P, _BYTES = 15, 8, 1, 32
_MOST_MEMORY = 1 << 27


def hash_password(password: str) -> str:
    """`scrypt$LOG_N$R$P$SALT$HASH`. Raises Invalid for one that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Invalid(f"a password has {SHORTEST} to {LONGEST} characters: choose a longer phrase, or a shorter one")
    salt = secrets.token_bytes(16)
    digest = _derive(password, salt, _LOG_N, _R, _P)
    return "$".join(("scrypt", str(_LOG_N), str(_R), str(_P), _text(salt), _text(digest)))


def fits(password: str, stored: str | None) -> bool:
    """Is this the password? Takes as long where there is none, so that the time does not tell which users exist."""
    kind, log_n, r, p, salt, digest = (stored or _NOBODY).split("$")
    if kind != "scrypt" or len(password) > LONGEST:
        return False
    given = _derive(password, base64.b64decode(salt), int(log_n), int(r), int(p))
    return hmac.compare_digest(given, base64.b64decode(digest)) and stored is not None


def _derive(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    words = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(words, salt=salt, n=1 << log_n, r=r, p=p, dklen=_BYTES, maxmem=_MOST_MEMORY)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_NOBODY = "$".join(("scrypt", str(_LOG_N), str(_R), str(_P), _text(bytes(16)), _text(bytes(_BYTES))))
