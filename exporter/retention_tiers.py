"""How long what is kept, by tenant and project: words for some days, measures for more, then nothing.

A rule is `TENANT/PROJECT=WORDS:ALL` with globs and days, such as `acme/*=7:90`; either number may be left out, which
keeps that for ever. The first rule that fits decides; where none does, the settings for all count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Tier:
    """Days after which words go, and after which everything goes; None = never."""

    tenant: str
    project: str
    words: int | None
    everything: int | None


def read_tiers(text: str) -> list[Tier]:
    """The rules of a setting, separated by commas. Raises ValueError, saying what a rule looks like."""
    return [_tier(rule.strip()) for rule in text.split(",") if rule.strip()]


def _tier(rule: str) -> Tier:
    names, equals, days = rule.partition("=")
    tenant, slash, project = names.strip().partition("/")
    words, _, everything = days.partition(":")
    try:
        limits = [int(part) if part.strip() else None for part in (words, everything)]
    except ValueError:
        limits = []
    if not (equals and slash and tenant and project and limits) or any(n is not None and n < 0 for n in limits):
        raise ValueError(f"{rule!r} is no rule such as acme/*=7:90 (tenant/project=days of words:days of everything)")
    return Tier(tenant, project, limits[0], limits[1])


def expires(tiers: Sequence[Tier], tenant: str, project: str | None, age: int) -> tuple[bool, bool]:
    """(words go, everything goes) of a day that is `age` days ago."""
    for tier in tiers:
        if fnmatchcase(tenant, tier.tenant) and fnmatchcase(project or "", tier.project):
            words, everything = (limit is not None and age > limit for limit in (tier.words, tier.everything))
            return words or everything, everything
    return False, False
