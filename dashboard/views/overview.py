"""Overview: how this period compares with the one before, what moved, and what needs a person."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, charts, filter_bar, formatting, grids, links, states
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component

Row = dict[str, Any]
HOURLY_UP_TO = dt.timedelta(hours=49)
MEASURES = {
    "Cost": ("cost", "$,.6~r"),
    "Calls": ("calls", ",.0f"),
    "Input tokens": ("input_tokens", ".2~s"),
    "Errors": ("errors", ",.0f"),
}
BY = {"Model": "model", "Service": "service", "Key": "key", "Provider": "provider"}


def page() -> None:
    chosen = filter_bar.selection()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Overview", anchor=False, width="content")
        st.caption(_compared_with(chosen), width="content")
        st.space("stretch")
        grids.sql_button("overview_tiles", key="tiles", filters=filter_bar.bounded(chosen.filters))
    tiles = _compared(chosen)
    current = tiles["current"]
    if not current["calls"]:
        states.nothing_here(chosen, "calls")
        return
    step = _step(chosen)
    _tiles(chosen, tiles, step)
    _over_time(chosen, step)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _movers(chosen)
    with right:
        _needs_you(chosen, current)


def _compared(chosen: filter_bar.Selection) -> dict[str, Row]:
    filters = chosen.filters
    if filters.start is None or filters.end is None:  # all of time has nothing before it
        filters = filter_bar.bounded(filters)
    return {row["period"]: row for row in answers.rows("overview_tiles", filters)}


def _step(chosen: filter_bar.Selection) -> str:
    start, end = chosen.filters.start, chosen.filters.end
    return "hour" if start and end and end - start <= HOURLY_UP_TO else "day"


def _tiles(chosen: filter_bar.Selection, tiles: dict[str, Row], step: str) -> None:
    now, before = tiles["current"], tiles["previous"]
    series = answers.rows("cost_by_day", chosen.filters, step=step, by="tenant")
    flagged = backend().tenant_state.reviews.counts()["flagged"]
    tokens = _sum(now, "input_tokens", "output_tokens")
    tokens_before = _sum(before, "input_tokens", "output_tokens")
    shown = [
        _tile(
            "Calls",
            formatting.count(now["calls"]),
            now["calls"],
            before["calls"],
            series,
            "calls",
            href=links.to("traces"),
        ),
        _tile(
            "Cost",
            formatting.money(now["cost"]),
            now["cost"],
            before["cost"],
            series,
            "cost",
            good=-1,
            href=links.to("costs"),
            also=f"{now['unpriced_calls']:,} unpriced" if now["unpriced_calls"] else "",
        ),
        _tile(
            "p95 latency",
            formatting.duration(now["p95_ms"]),
            now["p95_ms"],
            before["p95_ms"],
            series,
            "p95_ms",
            good=-1,
            href=links.to("traces"),
        ),
        _tile(
            "Error rate",
            formatting.percent(now["error_rate"]),
            now["error_rate"],
            before["error_rate"],
            series,
            "errors",
            good=-1,
            href=links.to("traces", {"status": ["error"]}),
            title=f"{now['errors']:,} errors, {now['canceled']:,} canceled",
        ),
        _tile(
            "Tokens",
            formatting.short(tokens),
            tokens,
            tokens_before,
            series,
            "input_tokens",
            href=links.to("costs"),
            title=formatting.tokens_in_out(now),
        ),
        {
            "label": "Flagged for review",
            "value": formatting.count(flagged),
            "delta": "waiting for a decision" if flagged else "nothing waits",
            "href": links.to("traces", {"review": ["flagged"], "range": ["all"]}),
        },
    ]
    component("tiles")(data={"tiles": shown}, key="overview-tiles")


def _tile(
    label: str,
    value: str,
    now: float | None,
    before: float | None,
    series: Sequence[Row],
    measure: str,
    *,
    good: int = 0,
    href: str | None = None,
    title: str = "",
    also: str = "",
) -> Row:
    """`good`: +1 more is better, -1 less is better, 0 neither."""
    tone = ""
    if now is None or not before:
        delta = ("nothing before" if before is None else "0 before") if not before and now else ""
    else:
        change = now / before - 1
        delta = (
            "as before" if abs(change) < 0.005 else f"{'↑' if change > 0 else '↓'} {formatting.percent(abs(change))}"
        )
        tone = "" if abs(change) < 0.05 or not good else "good" if change * good > 0 else "bad"
    delta = " · ".join(filter(None, (delta, also)))
    spark = [float(row[measure] or 0) for row in series]
    return {"label": label, "value": value, "delta": delta, "tone": tone, "spark": spark, "href": href, "title": title}


def _sum(row: Row, *names: str) -> float | None:
    known = [row[name] for name in names if row[name] is not None]
    return sum(known) if known else None


def _compared_with(chosen: filter_bar.Selection) -> str:
    filters = filter_bar.bounded(chosen.filters)
    assert filters.start is not None
    zone = chosen.zone
    return (
        f"against the same time before, {formatting.when(filters.previous(), zone)} to "
        f"{formatting.when(filters.start, zone)} {zone}"
    )


def _over_time(chosen: filter_bar.Selection, step: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        measure = st.segmented_control(
            "Measure",
            list(MEASURES),
            default="Cost",
            key="measure",
            bind="query-params",
            required=True,
            label_visibility="collapsed",
        )
        by = st.segmented_control(
            "By", list(BY), default="Model", key="by", bind="query-params", required=True, label_visibility="collapsed"
        )
        st.space("stretch")
        grids.sql_button("cost_by_day", key="series", filters=chosen.filters, step=step, by=BY[by])
    rows = answers.rows("cost_by_day", chosen.filters, step=step, by=BY[by])
    name, pattern = MEASURES[measure]
    deploys = answers.rows("deploys", chosen.filters)
    charts.by_time(
        rows,
        name,
        measure,
        format=pattern,
        deploys=deploys,
        step=step,
        key="over-time",
        bounds=(chosen.filters.start, chosen.filters.end),
    )
    if deploys:
        st.caption(f"▾ {formatting.plural(len(deploys), 'deploy')}: point at a mark to see which", width="content")


def _movers(chosen: filter_bar.Selection) -> None:
    filters = filter_bar.bounded(chosen.filters)
    by = BY[st.session_state.get("by") or "Model"]
    grids.section("What moved", "top_movers", key="movers", filters=filters, by=by, limit=8)
    rows = answers.rows("top_movers", filters, by=by, limit=8)
    largest = max((abs(row["change"]) for row in rows if row["change"] is not None), default=0) or 1
    columns = (
        grids.Column(by.capitalize(), lambda r: grids.filter_cell(by, r["key"])),
        grids.Column("Change", lambda r: _change_cell(r, largest), align="right"),
        grids.Column("Cost", lambda r: grids.cell(formatting.money(r["cost"]), v=r["cost"]), align="right"),
        grids.Column(
            "Before", lambda r: grids.cell(formatting.money(r["previous_cost"]), v=r["previous_cost"]), align="right"
        ),
        grids.Column(
            "Calls",
            lambda r: grids.traces_cell(formatting.count(r["calls"]), by, r["key"], v=r["calls"]),
            align="right",
        ),
    )
    grids.draw("movers", columns, rows, row_id=lambda r: r["key"] or "", sortable=True)


def _change_cell(row: Row, largest: float) -> Row:
    if row["change"] is None:  # no price is known
        return grids.cell(formatting.DASH, v=0)
    ratio = row["change_ratio"]
    sign = "+" if row["change"] > 0 else ""
    share = (
        "±0%"
        if ratio is not None and abs(ratio) < 0.005
        else f"{ratio:+.0%}"
        if ratio is not None and abs(ratio) < 10
        else "new"
        if ratio is None
        else f"×{ratio + 1:.0f}"
    )
    tone = "bad" if row["change"] > 0 else "good"
    return grids.cell(
        f"{sign}{formatting.money(row['change'])}  {share}",
        v=row["change"],
        bar=abs(row["change"]) / largest,
        tone=tone if abs(row["change"]) > largest / 20 else None,
    )


def _needs_you(chosen: filter_bar.Selection, current: Row) -> None:
    grids.section("Needs you", key="needs")
    found = [*_from_status(), *_from_numbers(current), *_from_anomalies(chosen)]
    if not found:
        st.text("Nothing: no drops, no unpriced models, no anomalies in this range.")
        return
    columns = (
        grids.Column("What", lambda r: grids.cell(r["what"], pill=r["tone"])),
        grids.Column(
            "", lambda r: grids.cell(r["text"], **({"href": links.to(r["go"])} if r["go"] else {})), kind="wrap"
        ),
    )
    grids.draw("needs", columns, found, row_id=lambda r: r["what"] + r["text"])


def _from_status() -> list[Row]:
    status = answers.status()
    found = [
        {"what": stage.capitalize(), "tone": "bad", "text": str(error["last"]), "go": "quality"}
        for stage, error in (status.get("errors") or {}).items()
    ]
    if status.get("refused"):
        text = f"{status['refused']:,} items refused by the collector since it started"
        found.append({"what": "Refused", "tone": "warn", "text": text, "go": "quality"})
    return found


def _from_numbers(current: Row) -> list[Row]:
    found = []
    if current["unpriced_calls"]:
        text = f"{formatting.plural(current['unpriced_calls'], 'call')} without a price: their cost is not in the sums"
        found.append({"what": "Unpriced", "tone": "warn", "text": text, "go": "costs"})
    if current["calls_without_usage"]:
        text = f"{formatting.plural(current['calls_without_usage'], 'call')} came without token counts"
        found.append({"what": "No usage", "tone": "warn", "text": text, "go": "quality"})
    return found


def _from_anomalies(chosen: filter_bar.Selection) -> list[Row]:
    return [
        {
            "what": "Anomaly",
            "tone": "bad",
            "go": None,
            "text": f"{row['dimension'] or row['service_name']}: {row['metric']} {row['actual']:,.2f}, "
            f"expected {row['expected']:,.2f}",
        }
        for row in answers.rows("anomalies", chosen.filters)[:5]
    ]


states.guarded(page)
