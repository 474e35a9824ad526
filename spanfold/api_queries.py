"""What the API's reading operations answer: parameters to named queries, rows to documents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from spanfold.analytics.filters import Filters
from spanfold.analytics.queries import View
from spanfold.analytics.statements import literal
from spanfold.openapi import BadRequest
from spanfold.state.deploys import Deploy

Row = dict[str, Any]
_COLUMNS = {  # parameter -> column of `calls`
    "service": "service_name", "environment": "environment", "project": "project", "key": "key_label",
    "provider": "provider", "model": "model", "operation": "operation", "tenant": "tenant", "status": "status",
}  # fmt: skip
_DEPLOY = ("id", "pr_number", "title", "commit_sha", "author", "service", "environment", "version", "completed_at")
_SUMS = ("calls", "errors", "input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens", "unpriced_calls")


def filters_of(given: Mapping[str, Any], review: tuple[str, ...] = ()) -> Filters:
    """The filter record of the parameters `api._FILTERS`."""
    lists = {name + "s" if name != "status" else "statuses": given[name] for name in (*_COLUMNS, "tag")}
    return Filters(start=given["from"], end=given["to"], review_states=review, **lists)


def where_of(given: Mapping[str, Any], session: str | None) -> str:
    """The same filters as a condition on the view `calls`; values are written as literals, never as text."""
    conditions = [
        f"{column} IN ({', '.join(literal(value) for value in given[name])})"
        for name, column in _COLUMNS.items()
        if given[name]
    ]
    if given["from"]:
        start = given["from"]
        conditions.append(f"start_time >= {literal(start)} AND date >= {literal(start.date())}")
    if given["to"]:
        end = given["to"]
        conditions.append(f"start_time < {literal(end)} AND date <= {literal(end.date())}")
    if given["tag"]:
        conditions.append(f"list_has_any(tags, {literal(list(given['tag']))})")
    if session is not None:
        conditions.append(f"session_id = {literal(session)}")
    return " AND ".join(conditions) or "true"


def trace_page(view: View, limit: int, after: str | None, review: tuple[str, ...], given: Mapping[str, Any]) -> Row:
    """One page of traces and the cursor of the next."""
    time, trace_id = _cursor(after)
    rows = view.query(
        "traces_page", filters_of(given, review), limit=limit, before_time=time, before_id=trace_id
    ).to_pylist()  # fmt: skip
    last = rows[-1] if len(rows) == limit else None
    following = f"{last['page_time'].isoformat()}~{last['trace_id']}" if last else None
    return {"snapshot": view.version, "traces": rows, "next": following}


def cost(
    view: View, session: str | None, start: dt.datetime | None, end: dt.datetime | None, prices: str = "true"
) -> Row:
    """Spend by model, by the prices of one basis (`views.BASES`). Raises BadRequest without a session and a window: a
    sum over everything is seldom meant."""
    if session is None and start is None and end is None:
        raise BadRequest("give session, or from and to")
    models = view.query("cost_of_calls", Filters(start=start, end=end), session=session, basis=prices).to_pylist()
    totals: Row = {name: _sum(models, name) for name in _SUMS}
    totals |= {"calls": totals["calls"] or 0, "errors": totals["errors"] or 0}
    totals["unpriced_calls"] = totals["unpriced_calls"] or 0
    asked = {"session": session, "from": start, "to": end}
    return asked | totals | {"cost": _sum(models, "cost"), "currency": "USD", "prices": prices, "models": models}


def attribution(view: View, deploys: Sequence[Deploy], sha: str) -> Row:
    """The newest deploy of a commit, and the anomaly that is blamed on it with most confidence."""
    if not deploys:
        return {"sha": sha, "matched": False, "deploy": None, "attribution": None}
    anomalies = view.query("anomalies", Filters()).to_pylist()
    for deploy in deploys:
        blamed = [row for row in anomalies if row["deploy_id"] == deploy.id and row["tenant"] == deploy.tenant]
        if blamed:
            found = max(blamed, key=lambda row: row["confidence"] or 0)
            return {"sha": sha, "matched": True, "deploy": _deploy(deploy), "attribution": _anomaly(found)}
    return {"sha": sha, "matched": True, "deploy": _deploy(deploys[0]), "attribution": None}


def _deploy(deploy: Deploy) -> Row:
    values = asdict(deploy)
    return {name: values[name] for name in _DEPLOY}


def _anomaly(row: Row) -> Row:
    expected, actual = row["expected"], row["actual"]
    return {
        "metric": row["metric"],
        "date": row["window_start"].date(),
        "baseline": expected,
        "actual": actual,
        "delta": None if None in (expected, actual) else actual - expected,
        "sigma": row["sigma"],
        "confidence": row["confidence"],
        "evidence": row.get("evidence") or [],
    }


def _cursor(text: str | None) -> tuple[dt.datetime | None, str | None]:
    if text is None:
        return None, None
    time, separator, trace_id = text.partition("~")
    try:
        return dt.datetime.fromisoformat(time), trace_id if separator else None
    except ValueError:
        raise BadRequest("after must be `next` of the page before") from None


def _sum(rows: Sequence[Row], name: str) -> Any:
    """NULL where nothing is known."""
    known = [row[name] for row in rows if row[name] is not None]
    return sum(known) if known else None
