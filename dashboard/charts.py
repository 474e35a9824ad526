"""Charts: time series of one measure by one dimension, with deploys marked."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import streamlit as st

from spanfold.dashboard import theme

SERIES = 7  # as many colours as the eye tells apart; the rest is one "other"
OTHER, UNKNOWN = "other", "(not stated)"
HEIGHT = 250

Row = Mapping[str, Any]


def by_time(
    rows: Sequence[Row], measure: str, label: str, *, format: str, deploys: Sequence[Row] = (), step: str, key: str,
    bounds: tuple[dt.datetime | None, dt.datetime | None] = (None, None),
) -> None:  # fmt: skip
    """Stacked bars of one measure: rows of `cost_by_day` with time, key and the measure."""
    names = _largest(rows, measure)
    length = dt.timedelta(hours=1) if step == "hour" else dt.timedelta(days=1)
    values = [
        {
            "time": _stamp(moment),
            "end": _stamp(moment + length),
            "key": name,
            "value": value,
            "rank": names.index(name),
            "at": _said(moment),
        }
        for (moment, name), value in _folded(rows, measure, names).items()
    ]
    colours = alt.Scale(domain=names, range=_palette(len(names)))
    x = alt.X(
        "time:T", title=None, scale=alt.Scale(type="utc", domain=_domain(bounds, step, length)),
        axis=alt.Axis(grid=False, labelOverlap=True, tickCount=8, format="%d %b" if step == "day" else "%d %b %H:%M"),
    )  # fmt: skip
    bars = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar(binSpacing=2)
        .encode(
            x=x,
            x2="end:T",
            y=alt.Y("sum(value):Q", title=None, axis=alt.Axis(format=format, tickCount=4, domain=False, ticks=False)),
            color=alt.Color("key:N", scale=colours, sort=names, legend=_legend(names)),
            order=alt.Order("rank:Q"),
            tooltip=[
                alt.Tooltip("at:N", title="From"), alt.Tooltip("key:N", title="What"),
                alt.Tooltip("sum(value):Q", title=label, format=format),
            ],
        )
    )  # fmt: skip
    chart = alt.layer(bars, *_deploy_layers(deploys)).properties(height=HEIGHT)
    st.altair_chart(chart, key=key, alt=f"{label} by {step}, stacked", width="stretch")


def _deploy_layers(deploys: Sequence[Row]) -> list[alt.Chart]:
    if not deploys:
        return []
    values = [
        {
            "time": _stamp(d["completed_at"]),
            "at": _said(d["completed_at"]),
            "title": d["title"] or d["version"] or "deploy",
            "service": d["service"] or UNKNOWN,
            "sha": (d["commit_sha"] or "")[:8],
            "mark": f"#{d['pr_number']}" if d["pr_number"] else "deploy",
        }
        for d in deploys
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("time:T"),
        tooltip=[
            alt.Tooltip("title:N", title="Deploy"), alt.Tooltip("service:N", title="Service"),
            alt.Tooltip("sha:N", title="Commit"), alt.Tooltip("at:N", title="At"),
        ],
    )  # fmt: skip
    rule = base.mark_rule(strokeDash=[2, 4], size=1, color="#C2410C", opacity=0.7)
    mark = base.mark_point(shape="triangle-down", filled=True, size=70, color="#C2410C", opacity=1).encode(
        y=alt.value(4)
    )
    return [rule, mark]


def _largest(rows: Sequence[Row], measure: str) -> list[str]:
    totals: dict[str, float] = defaultdict(float)
    for row in rows:
        totals[_name(row)] += row[measure] or 0
    names = sorted(totals, key=lambda name: (-totals[name], name))
    return names if len(names) <= SERIES else [*names[: SERIES - 1], OTHER]


def _folded(rows: Sequence[Row], measure: str, names: Sequence[str]) -> dict[tuple[dt.datetime, str], float]:
    sums: dict[tuple[dt.datetime, str], float] = defaultdict(float)
    for row in rows:
        name = _name(row)
        sums[row["time"], name if name in names else OTHER] += row[measure] or 0
    return sums


def _name(row: Row) -> str:
    return row["key"] or UNKNOWN


def _palette(number: int) -> list[str]:
    dark = (st.context.theme.type if st.context.theme else None) == "dark"
    return (theme.CATEGORIES_DARK if dark else theme.CATEGORIES_LIGHT)[:number]


def _legend(names: Sequence[str]) -> alt.Legend | None:
    return (
        alt.Legend(orient="bottom", title=None, columns=4, labelLimit=220, symbolType="square")
        if len(names) > 1
        else None
    )


def _said(moment: dt.datetime) -> str:
    return f"{moment:%d %b %H:%M} UTC"


def _domain(bounds: tuple[dt.datetime | None, dt.datetime | None], step: str, length: dt.timedelta) -> Any:
    """Whole steps, so that the first and the last bar stand inside."""
    start, end = bounds
    if start is None or end is None:
        return alt.Undefined
    whole = {"minute": 0, "second": 0, "microsecond": 0} | ({"hour": 0} if step == "day" else {})
    return [_stamp(start.replace(**whole)), _stamp(end.replace(**whole) + length)]  # type: ignore[arg-type]


def _stamp(moment: dt.datetime) -> int:
    """Milliseconds since 1970, as Vega counts."""
    return int(moment.replace(tzinfo=dt.UTC).timestamp() * 1e3)
