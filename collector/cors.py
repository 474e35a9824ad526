"""Which web pages may send: none, unless their origins are configured (browser exporters send JSON, so they always ask
first)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_MAX_AGE_SECONDS = 600


class Cors:
    """Origins such as `https://app.example.com`; `*` in one stands for any run of characters without `/`."""

    preflight = (
        (b"access-control-allow-methods", b"POST"),
        (
            b"access-control-allow-headers",
            b"content-type, content-encoding, authorization, x-api-key, x-spanfold-tenant, traceparent, tracestate, "
            b"baggage",
        ),
        (b"access-control-max-age", str(_MAX_AGE_SECONDS).encode()),
    )

    def __init__(self, origins: Sequence[str]) -> None:
        pattern = "|".join(re.escape(origin).replace(r"\*", "[^/]*") for origin in origins)
        self._allowed = re.compile(pattern, re.IGNORECASE) if origins else None
        self._any = "*" in origins

    def allows(self, origin: str) -> bool:
        return self._any or (self._allowed is not None and self._allowed.fullmatch(origin) is not None)

    def is_preflight(self, origin: str, method: str) -> bool:
        return method == "OPTIONS" and self.allows(origin)

    def sender(self, origin: str, send: _Send) -> _Send:
        """Adds to every answer, errors too, that this origin may read it; `send` itself for an origin not listed."""
        if not self.allows(origin):
            return send
        added = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"retry-after"),
            (b"vary", b"origin"),
        ]

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        return with_headers
