"""Which recent traces hold a response id: so that a gateway's trace meets that of its client."""

from __future__ import annotations

import polars as pl

Trace = tuple[str, str]  # tenant, trace_id
_Held = tuple[str, str, int]  # tenant, trace_id, microseconds of the call's start

_NEAR_US = 600_000_000  # calls further apart are no mirrors: a cache or a mock said the same id again


class ResponseIds:
    """The response ids of recent calls, two generations of at most `limit`, and the traces that share one."""

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._young: dict[int, _Held] = {}
        self._old: dict[int, _Held] = {}
        self._shared: dict[Trace, set[Trace]] = {}  # traces that held equal ids at about one time: few

    def learn(self, calls: pl.DataFrame) -> None:
        """Takes new calls: tenant, trace_id, response_id, start_time."""
        stated = calls.filter(pl.col("response_id").is_not_null())
        if not len(stated):
            return
        keys = stated.select(pl.struct("tenant", "response_id").hash()).to_series().to_list()
        starts = stated["start_time"].dt.epoch("us").to_list()
        held: list[_Held] = list(zip(stated["tenant"].to_list(), stated["trace_id"].to_list(), starts, strict=True))
        known = set(keys)
        if len(known) < len(keys) or known & self._young.keys() or known & self._old.keys():
            self._compare(keys, held)
        self._young.update(zip(keys, held, strict=True))
        if len(self._young) > self._limit:
            self._old, self._young = self._young, {}

    def _compare(self, keys: list[int], held: list[_Held]) -> None:
        last: dict[int, _Held] = {}
        for key, item in zip(keys, held, strict=True):
            other = last.get(key) or self._young.get(key) or self._old.get(key)
            if other is not None and other[:2] != item[:2] and abs(other[2] - item[2]) < _NEAR_US:
                self._shared.setdefault(item[:2], set()).add(other[:2])
                self._shared.setdefault(other[:2], set()).add(item[:2])
            last[key] = item
        while len(self._shared) > self._limit:
            del self._shared[next(iter(self._shared))]

    def partners(self, touched: pl.DataFrame, old: set[Trace]) -> set[Trace]:
        """Traces that share a response id with one of these (`touched`: tenant, trace_id)."""
        if not self._shared:
            return set()
        traces = self._shared.keys() & (old | set(touched.rows()))
        return {other for trace in traces for other in self._shared[trace]}
