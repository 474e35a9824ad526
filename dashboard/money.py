"""Whose prices count, and in which money: the choice of the Costs screen, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from spanfold.dashboard import answers, filter_bar, formatting

BASES = {  # which price counts, in words
    "Prices then": "true",
    "Believed then": "believed",
    "Prices today": "today",
}
TOLD = {
    "believed": "Priced as it was believed when each call was made.",
    "today": "Priced as if each call were made today.",
}


@dataclass(frozen=True, slots=True)
class Money:
    """Parameters of the cost queries."""

    basis: str
    currency: str

    @property
    def asked(self) -> dict[str, str]:
        return {"basis": self.basis, "currency": self.currency}

    def said(self, value: float | None) -> str:
        return formatting.money(value, self.currency)


def choose() -> Money:
    """The two choices: whose prices, and in which money where a rate of another one is known."""
    named = st.selectbox(
        "Prices", list(BASES), key="basis", bind="query-params", width=150, label_visibility="collapsed"
    )
    basis = BASES[named]
    known = ["USD", *(row["currency"] for row in answers.rows("currencies"))]
    if len(known) == 1:
        return Money(basis, "USD")
    currency = st.selectbox(
        "Currency", known, key="currency", bind="query-params", width=100, label_visibility="collapsed"
    )
    return Money(basis, currency)


def say(chosen: filter_bar.Selection, money: Money) -> None:
    """What stands behind figures that are not the usual ones: the basis, and the exchange rates with their days."""
    told = [TOLD[money.basis]] if money.basis in TOLD else []
    rates = answers.rows("exchange_used", chosen.filters, currency=money.currency)
    ends = [rates[0], rates[-1]] if len(rates) > 2 else rates  # daily rates would fill the screen
    told += [f"1 {money.currency} = {rate['usd']:g} USD from {rate['day']} on." for rate in ends]
    if len(rates) > 2:
        told.append(f"{len(rates):,} rates count in this range.")
    if told:
        st.caption(" ".join(told))
