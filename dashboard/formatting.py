"""How numbers, times and ids are written on screen. Unknown is a dash, never 0."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from zoneinfo import ZoneInfo

DASH = "–"
UNKNOWN_TOKENS = "tokens unknown"
_STEPS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))

BUCKETS = {  # price buckets in words
    "uncached_input": "Input, not cached", "cache_read": "Cache read", "cache_write": "Cache write",
    "cache_write_1h": "Cache write, 1 h", "audio_input": "Audio in", "image_input": "Image in",
    "text_output": "Output", "reasoning": "Reasoning", "audio_output": "Audio out", "request": "Per request",
    "web_search": "Web search",
}  # fmt: skip


def count(value: float | None) -> str:
    """12,345."""
    return DASH if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """12.3k: for places where digits would only be noise."""
    if value is None:
        return DASH
    for step, letter in _STEPS:
        if abs(value) >= step:
            scaled = value / step
            return f"{scaled:.0f}{letter}" if abs(scaled) >= 100 else f"{scaled:.1f}{letter}"
    return f"{value:,.0f}"


def money(value: float | None, currency: str = "USD") -> str:
    """An amount with the digits that matter: a call costs cents of a cent, a month thousands."""
    if value is None:
        return DASH
    size = abs(value)
    dollar, code = ("$", "") if currency == "USD" else ("", f" {currency}")
    if 0 < size < 1e-6:
        return f"<{dollar}0.000001{code}"
    digits = 0 if size >= 10_000 else 2 if size >= 1 or size == 0 else 3 if size >= 0.1 else 4 if size >= 0.001 else 6
    return f"{'-' if value < 0 else ''}{dollar}{size:,.{digits}f}{code}"


def rate(per_unit: float | None) -> str:
    """A price per token, said per million."""
    return DASH if per_unit is None else f"${per_unit * 1e6:,.4g} / M"


def duration(ms: float | None) -> str:
    if ms is None:
        return DASH
    if ms < 1_000:
        return f"{ms:.0f} ms" if ms >= 1 or ms == 0 else f"{ms:.2f} ms"
    seconds = ms / 1e3
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return duration(seconds * 1e3)


def percent(share: float | None) -> str:
    if share is None:
        return DASH
    return f"{share:.0%}" if abs(share) >= 0.1 or share == 0 else f"{share:.1%}"


def plural(number: int, one: str, many: str = "") -> str:
    """`3 calls`, `1 call`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def when(moment: dt.datetime | None, zone: str, today: dt.date | None = None) -> str:
    """A stored time (UTC without zone) in a zone; without the day when it is today."""
    if moment is None:
        return DASH
    local = moment.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone))
    if today is not None and local.date() == today:
        return f"{local:%H:%M:%S}"
    return f"{local:%d %b %H:%M:%S}" if today is None or local.year == today.year else f"{local:%d %b %Y %H:%M}"


def tokens_in_out(row: Mapping[str, object]) -> str:
    """`1.2k in, 340 out, 900 cached` of any row with the token columns; an estimate says that it is one."""
    parts = []
    for name, word in (("input_tokens", "in"), ("output_tokens", "out"), ("cache_read_tokens", "cached")):
        value = row.get(name)
        if isinstance(value, int | float) and (value or word != "cached"):
            parts.append(f"{short(value)} {word}")
    guess = row.get("estimated_output_tokens")
    if isinstance(guess, int):
        parts.append(f"unknown out, about {short(guess)} by {row.get('estimate_method')}")
    return ", ".join(parts) or UNKNOWN_TOKENS


def cost_of(row: Mapping[str, object]) -> str:
    """The cost of a row; where some of its calls have no price, the dash or sum says how many."""
    cost, unpriced = row.get("cost"), row.get("unpriced_calls") or 0
    text = money(cost if isinstance(cost, int | float) else None)
    return f"{text} ({unpriced} unpriced)" if unpriced else text


def use_of_call(call: Mapping[str, object]) -> tuple[str, str]:
    """Tokens and cost of one call. Only one whose price is missing is unpriced."""
    tokens, cost = tokens_in_out(call), call["cost"]
    if isinstance(cost, int | float):
        return tokens, money(cost)
    if call["price_confidence"] == "unpriced":
        return tokens, "unpriced"
    return ("" if tokens == UNKNOWN_TOKENS else tokens), "no usage reported"
