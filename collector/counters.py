"""How many items and requests were accepted, rejected and refused, by signal.

offered = accepted + rejected + refused. Rejected will never succeed (bad ids, bad bytes, too large); refused may be
sent again. A request that could not be read counts as a request with no items.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

OUTCOMES = ("accepted", "rejected", "refused")


class Counters:
    """Totals since the data directory was made. Safe for use from many threads."""

    def __init__(self, signals: tuple[str, ...], saved: Mapping[str, Any] | None = None) -> None:
        self._lock = threading.Lock()
        self._totals = {
            signal: {unit: dict.fromkeys(OUTCOMES, 0) for unit in ("items", "requests")} for signal in signals
        }
        for signal, units in (saved or {}).items():
            for unit, outcomes in units.items():
                self._totals[signal][unit] |= outcomes

    def add(self, signal: str, outcome: str, items: int, requests: int = 1) -> None:
        with self._lock:
            units = self._totals[signal]
            units["items"][outcome] += items
            units["requests"][outcome] += requests

    def snapshot(self) -> dict[str, dict[str, dict[str, int]]]:
        """signal -> items | requests -> outcome -> count."""
        with self._lock:
            return {s: {u: dict(outcomes) for u, outcomes in units.items()} for s, units in self._totals.items()}

    def prometheus(self, resent: Mapping[str, int]) -> str:
        """The text exposition format. `resent`: signal -> items that were accepted and had been stored before."""
        lines = []
        for unit, meaning in (("items", "Spans, log records or data points"), ("requests", "Export requests")):
            lines.append(f"# HELP spanfold_{unit}_total {meaning} by signal and outcome.")
            lines.append(f"# TYPE spanfold_{unit}_total counter")
            for signal, units in self.snapshot().items():
                for outcome, count in units[unit].items():
                    lines.append(f'spanfold_{unit}_total{{signal="{signal}",outcome="{outcome}"}} {count}')
        lines.append("# HELP spanfold_resent_items_total Accepted items that were stored already, by signal.")
        lines.append("# TYPE spanfold_resent_items_total counter")
        lines += [f'spanfold_resent_items_total{{signal="{signal}"}} {count}' for signal, count in resent.items()]
        return "\n".join(lines) + "\n"
