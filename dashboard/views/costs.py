"""Costs: by model, service and key; unit prices and cached share; what has no price; which price rows count; waste."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, charts, filter_bar, formatting, grids, states, waste
from spanfold.dashboard.money import Money, choose, say

Row = dict[str, Any]
BY = {
    "Model": "model",
    "Service": "service",
    "Key": "key",
    "Provider": "provider",
    "Environment": "environment",
    "Project": "project",
}
FACETS = {
    "model": "model",
    "service": "service",
    "key": "key",
    "provider": "provider",
    "environment": "env",
    "project": "project",
}
SHOWN = {"spend": "Spend", "waste": "Waste"}
MOST = 200


def page() -> None:
    chosen = filter_bar.selection()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Costs", anchor=False, width="content")
        shown = st.segmented_control(
            "Show", list(SHOWN), default="spend", key="show", bind="query-params", required=True,
            label_visibility="collapsed", format_func=SHOWN.__getitem__,
        )  # fmt: skip
        st.space("stretch")
        if shown == "waste":
            money = choose()
            waste.sql_button(chosen, money)
    if shown == "waste":
        waste.page(chosen, money)
    else:
        _spend(chosen)


def _spend(chosen: filter_bar.Selection) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        by = BY[
            st.segmented_control(
                "By",
                list(BY),
                default="Model",
                key="cost-by",
                bind="query-params",
                required=True,
                label_visibility="collapsed",
            )
        ]
        money = choose()
    say(chosen, money)
    rows = answers.rows("cost_table", chosen.filters, by=by, limit=MOST, **money.asked)
    if not rows:
        states.nothing_here(chosen, "calls")
        return
    _chart(chosen, by, money)
    _table(chosen, rows, by, money)
    left, right = st.columns([4, 5], gap="medium")
    with left:
        _unpriced(chosen)
    with right:
        _prices(rows if by == "model" else answers.rows("cost_table", chosen.filters, by="model", limit=MOST))


def _chart(chosen: filter_bar.Selection, by: str, money: Money) -> None:
    filters = chosen.filters
    step = "hour" if filters.start and filters.end and (filters.end - filters.start).days < 2 else "day"
    series = answers.rows("cost_by_day", filters, step=step, by=by, **money.asked)
    charts.by_time(
        series,
        "cost",
        "Cost" if money.currency == "USD" else f"Cost, {money.currency}",
        format="$,.6~r" if money.currency == "USD" else ",.6~r",
        deploys=answers.rows("deploys", filters),
        step=step,
        key="cost-series",
        bounds=(filters.start, filters.end),
    )


def _table(chosen: filter_bar.Selection, rows: Sequence[Row], by: str, money: Money) -> None:
    total = sum(row["cost"] or 0 for row in rows)
    most = max((row["cost"] or 0 for row in rows), default=0) or 1
    title = next(label for label, name in BY.items() if name == by)
    asked = {"filters": chosen.filters, "by": by, "limit": MOST} | money.asked
    grids.section(f"By {title.lower()}", "cost_table", key="cost-table", **asked)
    columns = (
        grids.Column(
            title, lambda r: grids.filter_cell(FACETS[by], r["key"]) or grids.cell(charts.UNKNOWN, tone="soft")
        ),
        grids.Column(
            "Cost",
            lambda r: grids.cell(
                money.said(r["cost"]),
                v=r["cost"],
                bar=r["cost"] / most if r["cost"] is not None else None,
                sub=f"{r['unpriced_calls']:,} unpriced" if r["unpriced_calls"] else None,
            ),
            align="right",
        ),
        grids.Column(
            "Share", lambda r: _share(r["cost"] / total if total and r["cost"] is not None else None), align="right"
        ),
        grids.Column(
            "Calls",
            lambda r: grids.traces_cell(formatting.count(r["calls"]), FACETS[by], r["key"], v=r["calls"]),
            align="right",
        ),
        grids.Column(
            "Per call", lambda r: grids.cell(money.said(r["cost_per_call"]), v=r["cost_per_call"]), align="right"
        ),
        grids.Column("Tokens in", lambda r: _tokens(r["input_tokens"]), align="right"),
        grids.Column(
            "Cached",
            lambda r: _share(r["cached_share"]),
            align="right",
            help="Share of input tokens read from the provider's cache",
        ),
        grids.Column("Out", lambda r: _tokens(r["output_tokens"]), align="right"),
        grids.Column("Errors", lambda r: _share(r["error_rate"], bad=0.02), align="right"),
        grids.Column("p50", lambda r: grids.cell(formatting.duration(r["p50_ms"]), v=r["p50_ms"]), align="right"),
        grids.Column("p95", lambda r: grids.cell(formatting.duration(r["p95_ms"]), v=r["p95_ms"]), align="right"),
    )
    unpriced = sum(row["unpriced_calls"] or 0 for row in rows)
    foot = f"Total {money.said(total)}" + (
        f", and {formatting.plural(unpriced, 'call')} without a price" if unpriced else ""
    )
    grids.draw("cost-rows", columns, rows, row_id=lambda r: str(r["key"]), sortable=True, foot=foot)


def _tokens(value: int | None) -> Row | None:
    return None if value is None else grids.cell(formatting.short(value), v=value, title=f"{value:,}")


def _share(value: float | None, bad: float | None = None) -> Row | None:
    if value is None:
        return None
    return grids.cell(formatting.percent(value), v=value, tone="bad" if bad is not None and value > bad else None)


def _unpriced(chosen: filter_bar.Selection) -> None:
    grids.section("Without a price", "unpriced_models", key="unpriced", filters=chosen.filters, limit=MOST)
    rows = answers.rows("unpriced_models", chosen.filters, limit=MOST)
    if not rows:
        st.text("Every call in this range has a price.")
        return
    columns = (
        grids.Column(
            "Model",
            lambda r: (
                grids.filter_cell("model", r["model"], sub=r["provider"])
                or grids.cell(charts.UNKNOWN, sub=r["provider"])
            ),
        ),
        grids.Column(
            "Calls",
            lambda r: grids.traces_cell(formatting.count(r["calls"]), "model", r["model"], v=r["calls"]),
            align="right",
        ),
        grids.Column("Tokens in", lambda r: _tokens(r["input_tokens"]), align="right"),
        grids.Column("Out", lambda r: _tokens(r["output_tokens"]), align="right"),
        grids.Column("Nearest known", lambda r: r["suggestion"]),
    )
    grids.draw(
        "unpriced",
        columns,
        rows,
        row_id=lambda r: f"{r['provider']}/{r['model']}",
        sortable=True,
        foot="Take a suggestion over: spanfold prices alias PROVIDER MODEL. State a price: spanfold prices set",
    )


def _prices(rows: Sequence[Row]) -> None:
    models = [row["key"] for row in rows if row["key"]]
    grids.section("Prices in use", "prices_of_models", key="prices", models=models)
    found = answers.rows("prices_of_models", models=models)
    if not found:
        st.text("No price row fits the models of this range.")
        return
    columns = (
        grids.Column("Model", lambda r: grids.cell(r["model"], sub=r["provider"])),
        grids.Column("Tier", lambda r: _tier(r)),
        grids.Column("Input", lambda r: grids.cell(_rate(r["uncached_input"]), v=r["uncached_input"]), align="right"),
        grids.Column("Cached", lambda r: grids.cell(_rate(r["cache_read"]), v=r["cache_read"]), align="right"),
        grids.Column("Output", lambda r: grids.cell(_rate(r["text_output"]), v=r["text_output"]), align="right"),
        grids.Column("From", lambda r: _since(r["valid_from"])),
    )
    grids.draw(
        "prices", columns, found, row_id=lambda r: f"{r['rate_id']}", sortable=True, foot="USD per million tokens"
    )


def _rate(per_token: float | None) -> str:
    return formatting.rate(per_token).removesuffix(" / M")


def _since(moment: dt.datetime | None) -> str:
    return "always" if moment is None or moment.year < 1971 else f"{moment:%d %b %Y}"


def _tier(row: Row) -> str:
    above = (
        f", over {formatting.short(row['above_tokens'])} tokens"
        if row["above_tokens"] and row["above_tokens"] > 0
        else ""
    )
    return f"{row['tier']}{above}"


states.guarded(page)
