"""Other names of models: a deployment, an own prefix, a proxy's route, said to cost what a model of the book costs.

An alias is chosen like a stated price: a stated provider before `*`, a name before a pattern, more literal characters,
the later `valid_from`, the later `known_from`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Protocol

from spanfold.analytics.price_overrides import ALWAYS, NEVER

_PLAIN = re.compile(r"[^a-z0-9]+")
_SHORTEST = 4  # characters that a known name needs to be found inside another one


class StatedAlias(Protocol):
    """An alias as the control plane keeps it (state/price_sources.py)."""

    @property
    def provider(self) -> str: ...
    @property
    def model_pattern(self) -> str: ...
    @property
    def target(self) -> str | None: ...
    @property
    def valid_from(self) -> dt.datetime: ...
    @property
    def known_from(self) -> dt.datetime | None: ...


@dataclass(frozen=True, slots=True)
class Alias:
    """Times without zone. `target` None takes the alias back."""

    provider: str
    pattern: str
    target: str | None  # provider/model
    valid_from: dt.datetime
    known_from: dt.datetime

    def fits(self, providers: Iterable[str], model: str) -> bool:
        return (self.provider == "*" or self.provider in providers) and fnmatchcase(model, self.pattern)

    @property
    def rank(self) -> tuple[bool, bool, int, dt.datetime, dt.datetime]:
        literal = sum(character not in "*?[]" for character in self.pattern)
        return (self.provider != "*", literal == len(self.pattern), literal, self.valid_from, self.known_from)


def read(stated: Iterable[StatedAlias]) -> list[Alias]:
    return [
        Alias(a.provider.lower(), a.model_pattern.lower(), a.target, _naive(a.valid_from),
              _naive(a.known_from) if a.known_from else ALWAYS)
        for a in stated
    ]  # fmt: skip


def chosen(aliases: Iterable[Alias], at: dt.datetime, known_at: dt.datetime = NEVER) -> Alias | None:
    """The alias that counts at a time, of those that fit a name."""
    latest: dict[tuple[str, str, dt.datetime], Alias] = {}
    for alias in sorted(aliases, key=lambda a: a.known_from):
        if alias.known_from <= known_at:
            latest[(alias.provider, alias.pattern, alias.valid_from)] = alias
    holding = [alias for alias in latest.values() if alias.target is not None and alias.valid_from <= at]
    return max(holding, key=lambda a: a.rank, default=None)


class Suggestions:
    """Which known name an unknown one may mean: the longest one inside it, else the nearest in spelling."""

    def __init__(self, names: Mapping[str, str], most: int = 500) -> None:
        """`names`: name of a model -> price key. Names beyond `most` get no suggestion: comparing is slow."""
        self._names, self._most = names, most
        self._plain = sorted(
            ((plain, key) for name, key in names.items() if len(plain := _PLAIN.sub("", name)) >= _SHORTEST),
            key=lambda item: -len(item[0]),
        )
        self._found: dict[str, str | None] = {}

    def of(self, name: str) -> str | None:
        if name not in self._found and len(self._found) < self._most:
            self._found[name] = self._find(name.lower())
        return self._found.get(name)

    def _find(self, name: str) -> str | None:
        plain = _PLAIN.sub("", name)
        inside = next((key for known, key in self._plain if known in plain), None)
        if inside is not None:
            return inside
        near: Sequence[str] = get_close_matches(name.rsplit("/", 1)[-1], self._names, n=1, cutoff=0.6)
        return self._names[near[0]] if near else None


def _naive(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.UTC).replace(tzinfo=None) if time.tzinfo else time
