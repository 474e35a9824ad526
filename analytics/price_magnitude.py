"""Prices that can hardly be meant: far from the built-in list, or dearer than any model. Most of the time a column
holds prices for another number of tokens than it says (per million under a per-thousand heading)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from statistics import median

from spanfold.analytics.errors import PriceRefused
from spanfold.analytics.price_files import FilePrice
from spanfold.analytics.price_overrides import counted_by

Listed = Mapping[tuple[str, str, str], Decimal]  # provider, model, bucket -> USD per token of the built-in list

_FAR = 100  # times: no discount and no tier is so far from a list price
_DEAR = Decimal("0.0001")  # USD per token: half of a file above 100 USD per million is in another unit
_NAMED = 3  # prices that a refusal spells out
_WHY = "Its columns hold prices for another number of tokens than they say (per million under a per-1k heading?)"


def check_file(prices: Sequence[FilePrice], listed: Listed) -> None:
    """Raises PriceRefused where half of a file is far from the list, or from what any model costs."""
    ratios = _ratios(prices, listed)
    if ratios:
        ratio, price = sorted(ratios, key=lambda item: item[0])[len(ratios) // 2]
        if _is_far(ratio):
            raise PriceRefused(f"half of the file is far from the built-in list: {_told(price, listed)}. {_WHY}: "
                               "correct the heading")  # fmt: skip
        return
    tokens = [
        price for price in prices if counted_by(price.bucket) == "token" and price.price and price.currency == "USD"
    ]
    if tokens and median(price.price for price in tokens) > _DEAR:
        worst = max(tokens, key=lambda price: price.price)
        raise PriceRefused(
            f"half of the file costs more than 100 USD per million tokens: {worst.line} makes {worst.model_pattern} "
            f"{worst.bucket} cost {_million(worst.price)}. {_WHY}: correct the heading"
        )


def check_each(prices: Sequence[FilePrice], listed: Listed) -> None:
    """Raises PriceRefused where single prices are far from the list, naming the first of them."""
    far = [price for ratio, price in _ratios(prices, listed) if _is_far(ratio)]
    if far:
        told = "; ".join(_told(price, listed) for price in far[:_NAMED])
        more = f" and {len(far) - _NAMED:,} more" if len(far) > _NAMED else ""
        raise PriceRefused(
            f"{told}{more}: more than {_FAR} times off. Correct the number of tokens it is for, or add --force if it "
            "is meant"
        )


def _ratios(prices: Sequence[FilePrice], listed: Listed) -> list[tuple[Decimal, FilePrice]]:
    """Stated over listed, of what both price in USD."""
    return [
        (price.price / usd, price)
        for price in prices
        if price.price and price.currency == "USD" and (usd := listed.get(_key(price)))
    ]


def _is_far(ratio: Decimal) -> bool:
    return not Decimal(1) / _FAR < ratio < _FAR


def _key(price: FilePrice) -> tuple[str, str, str]:
    return (price.provider, price.model_pattern, price.bucket)


def _told(price: FilePrice, listed: Listed) -> str:
    where = f"{price.line}: " if price.line else ""
    stated, known = (_said(usd, price.bucket) for usd in (price.price, listed[_key(price)]))
    return f"{where}{price.model_pattern} {price.bucket} would cost {stated} and the list says {known}"


def _said(price: Decimal, bucket: str) -> str:
    unit = counted_by(bucket)
    if unit != "token":
        return f"{price.normalize():f} USD per {unit}"
    return f"{_million(price)} USD per million tokens"


def _million(price: Decimal) -> str:
    return f"{(price * 1_000_000).normalize():f}"
