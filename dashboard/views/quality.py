"""Data quality: what could not be taken as sent, what is not known, and whether the parts keep up. Worst first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from spanfold.analytics.explaining import read_keys
from spanfold.dashboard import answers, filter_bar, formatting, grids, links, states
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component

Row = dict[str, Any]
MOST = 200
ADVICE = {  # kind -> (in words, tone, what to do)
    "unpriced": (
        "No price known",
        "warn",
        "Costs names the model each may be: `spanfold prices alias`; or state a price: `spanfold prices set`.",
    ),
    "missing_usage": (
        "No token counts",
        "warn",
        "Switch usage on in the instrumentation (streams: include_usage). Failed calls are not listed.",
    ),
    "orphan": ("Parent not received", "info", "Export the parent's service too, or keep whole traces when sampling."),
    "rebuilt_prefix": ("Beginning rebuilt", "info", "Cut histories that an earlier call of the trace completes."),
    "dropped_span": ("Dropped by a rule", "", "Nothing: the setting drop_spans names them."),
    "duplicate_span": ("Sent twice", "", "Nothing: counted once. Many of them mean a retrying exporter."),
    "changed_duplicate": (
        "Sent again, different",
        "warn",
        "The first version was kept. Look for two services that share span ids.",
    ),
    "skewed_time": (
        "Clock not believable",
        "warn",
        "Set the sender's clock: its spans lie in the partition 1970-01-01.",
    ),
    "ends_before_start": ("Ends before it starts", "warn", "Kept as sent. Set the clocks of the machines it ran on."),
    "truncated": ("Cut by the sender", "warn", "Raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT where this scope runs."),
    "usage_disagrees": ("Token counts disagree", "warn", "Total and parts differ. The buckets that add up were taken."),
    "bad_json": ("Messages not readable", "bad", "The attribute is not JSON: kept as sent, shown under Attributes."),
}


def page() -> None:
    chosen = filter_bar.selection()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Data quality", anchor=False, width="content")
        st.space("stretch")
        grids.sql_button("quality_totals", key="quality-totals", filters=chosen.filters)
    status = answers.status()
    _tiles(chosen, status)
    _problems(status)
    _table(chosen)
    left, right = st.columns(2, gap="large")
    with left:
        _redactions(chosen)
    with right:
        _parts(status)
    _coverage(chosen)


def _tiles(chosen: filter_bar.Selection, status: Any) -> None:
    totals = answers.row("quality_totals", chosen.filters) or {}
    calls = totals.get("calls") or 0
    refused, rejected = status.get("refused") or 0, status.get("rejected") or 0
    lag = float(status.get("lag_seconds") or 0.0)

    def share(name: str) -> str:
        part = totals.get(name)
        return f"{formatting.percent(part / calls)} of {calls:,} calls" if calls and part is not None else ""

    tiles = [
        _tile(
            "Behind",
            formatting.duration(lag * 1e3),
            "from accepted to queryable",
            "bad" if lag > states.STALE_SECONDS else "good",
        ),
        _tile(
            "Refused or rejected",
            formatting.count(refused + rejected),
            "since the collector started",
            "bad" if refused + rejected else "good",
        ),
        _tile("Without tokens", formatting.count(totals.get("without_input_tokens")), share("without_input_tokens")),
        _tile("Without a model", formatting.count(totals.get("without_model")), share("without_model")),
        _tile("Unpriced", formatting.count(totals.get("unpriced_calls")), share("unpriced_calls")),
        _tile("Redactions", formatting.count(totals.get("redactions")), "on these days, before storing"),
    ]
    component("tiles")(data={"tiles": tiles}, key="quality-tiles")


def _tile(label: str, value: str, delta: str, tone: str = "") -> Row:
    return {"label": label, "value": value, "delta": delta, "tone": tone}


def _problems(status: Any) -> None:
    rows = [{"stage": stage, **error} for stage, error in (status.get("errors") or {}).items()]
    rows += [
        {"stage": "damaged file", "last": f"{piece.get('problem') or 'set aside'}: {piece['path']}", "count": 1}
        for piece in status.get("damaged") or ()
    ]
    if not rows:
        return
    grids.section("Wrong right now", key="problems")
    columns = (
        grids.Column("Where", lambda r: grids.cell(r["stage"], pill="bad")),
        grids.Column("What", lambda r: str(r["last"]), kind="wrap"),
        grids.Column("Times", lambda r: formatting.count(r["count"]), align="right"),
    )
    grids.draw("problems", columns, rows, row_id=lambda r: f"{r['stage']}{r['last']}")


def _table(chosen: filter_bar.Selection) -> None:
    grids.section("Found in the data", "quality_table", key="quality", filters=chosen.filters, limit=MOST)
    st.caption(_days(chosen))
    orphans = [dict(row) | {"kind": "orphan", "detail": None} for row in answers.rows("orphan_table", chosen.filters)]
    rows = [*answers.rows("quality_table", chosen.filters, limit=MOST), *orphans]
    if not rows:
        st.text("Nothing: every span of this range came whole, once, with a price and token counts.")
        return
    order = {"bad": 0, "warn": 1, "info": 2, "": 3}
    rows.sort(key=lambda row: (order[_advice(row)[1]], -row["count"]))
    columns = (
        grids.Column("What", lambda r: grids.cell(_advice(r)[0], pill=_advice(r)[1], v=_advice(r)[0])),
        grids.Column("Detail", lambda r: r["detail"]),
        grids.Column("Service", lambda r: grids.filter_cell("service", r["service_name"], sub=r["scope_name"])),
        grids.Column("Count", lambda r: grids.cell(formatting.count(r["count"]), v=r["count"]), align="right"),
        grids.Column("Example", _example),
        grids.Column("What to do", lambda r: _advice(r)[2].replace("`", ""), kind="wrap"),
    )
    grids.draw(
        "quality",
        columns,
        rows,
        row_id=lambda r: f"{r['kind']}{r['detail']}{r['service_name']}{r['scope_name']}",
        sortable=True,
    )


def _days(chosen: filter_bar.Selection) -> str:
    """Findings are kept by day: a range that begins or ends within a day has all of that day's."""
    first, last = chosen.filters.start, chosen.filters.end
    days = [f"from {first:%d %b %Y}"] if first else []
    days += [f"to {last:%d %b %Y}"] if last else []
    return f"Whole days (UTC) {' '.join(days)}; the figures above count the chosen range." if days else "Of all days."


def _advice(row: Row) -> tuple[str, str, str]:
    return ADVICE.get(row["kind"], (row["kind"].replace("_", " ").capitalize(), "", ""))


def _example(row: Row) -> Row | None:
    trace_id, span_id = row["example_trace_id"], row["example_span_id"]
    if not trace_id:
        return None
    return grids.cell("open", href=links.to_span(trace_id, span_id), title=trace_id)


def _redactions(chosen: filter_bar.Selection) -> None:
    grids.section("Redactions", "redaction_table", key="redactions", filters=chosen.filters)
    rows = answers.rows("redaction_table", chosen.filters)
    if not rows:
        st.text("No rule fired in this range.")
        return
    columns = (
        grids.Column("Rule", lambda r: r["rule"]),
        grids.Column("Service", lambda r: r["service_name"]),
        grids.Column("Place", lambda r: r["place"]),
        grids.Column("Count", lambda r: grids.cell(formatting.count(r["count"]), v=r["count"]), align="right"),
    )
    grids.draw(
        "redactions", columns, rows, row_id=lambda r: f"{r['rule']}{r['service_name']}{r['place']}", sortable=True
    )


def _coverage(chosen: filter_bar.Selection) -> None:
    """Reads the attributes of every span of the range: on demand."""
    st.header("Attributes and rules", anchor=False)
    if not st.toggle("Show what no rule reads, by emitter and version", key="coverage-shown"):
        return
    mapped = read_keys(backend().dialects())
    rows = answers.rows("attribute_coverage", chosen.filters, mapped=mapped, limit=MOST)
    columns = (
        grids.Column("Attribute", lambda r: r["key"]),
        grids.Column("Read", lambda r: _read_by(r)),
        grids.Column("Spans", lambda r: grids.cell(formatting.count(r["spans"]), v=r["spans"]), align="right"),
        grids.Column("Dialect", lambda r: r["dialect"]),
        grids.Column("Emitter", lambda r: grids.cell(r["scope_name"], sub=r["scope_version"])),
        grids.Column("Example", _example),
    )
    grids.draw(
        "coverage", columns, rows, row_id=lambda r: f"{r['key']}{r['dialect']}{r['scope_name']}{r['scope_version']}",
        sortable=True,
    )  # fmt: skip


def _read_by(row: Row) -> Row:
    return grids.cell("by a rule", pill="good") if row["mapped"] else grids.cell("no rule", pill="warn")


def _parts(status: Any) -> None:
    grids.section("Parts", key="parts")
    rows: Sequence[Row] = [{"name": name, **part} for name, part in (status.get("processes") or {}).items()]
    tones = {"running": "good", "done": "good", "failed": "bad", "backing off": "bad"}
    columns = (
        grids.Column("Part", lambda r: r["name"]),
        grids.Column("State", lambda r: grids.cell(r["state"], pill=tones.get(r["state"], ""))),
        grids.Column("Restarts", lambda r: formatting.count(r.get("restarts")), align="right"),
    )
    info = answers.row("snapshot_info") or {}
    accepted = formatting.count(status.get("accepted"))
    foot = f"Snapshot {info.get('version')}, prices {info.get('book_version')}, {accepted} items accepted"
    grids.draw("parts", columns, rows, row_id=lambda r: r["name"], foot=foot)


states.guarded(page)
