"""What was paid for nothing new: messages sent again, cache reads that did not happen, loops and retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, filter_bar, formatting, grids, links, states
from spanfold.dashboard.components.parts import component
from spanfold.dashboard.money import Money, say

Row = dict[str, Any]
MOST = 50
BY = {"Tool": "tool", "Prompt": "prompt", "Thread": "thread", "Message": "message"}
CAUSES = {
    "model changed": "Another model or provider was asked",
    "tools changed": "The tool definitions are others",
    "clock in system text": "Only numbers, dates or ids in the system text differ: move them behind the history",
    "system text changed": "The system text is another",
    "resent in another form": "A message came back with other reasoning, call ids or white space",
    "window slid": "Older messages were dropped from the front of the history",
    "edit in the middle": "A message of the history is another one now",
    "expired": "The next call came after the cache had gone",
    "not reported": "The calls say nothing of their cache reads or of their input",
    "not asked for": "Caches of these models must be asked for, and were not",
    "not kept": "Nothing changed: the provider did not keep it or sent the call elsewhere",
    "served": "Read from the cache as expected, or too short for one",
}
KINDS = {"loop": "Same tool, same arguments", "retry": "Failed and sent again", "repeat": "Sent again after success"}


def sql_button(chosen: filter_bar.Selection, money: Money) -> None:
    grids.sql_button("waste_totals", key="waste", filters=chosen.filters, **money.asked)


def page(chosen: filter_bar.Selection, money: Money) -> None:
    say(chosen, money)
    totals = answers.row("waste_totals", chosen.filters, **money.asked) or {}
    if totals.get("cost") is None and not totals.get("retries"):
        states.nothing_here(chosen, "calls with a price")
        return
    _tiles(totals, money)
    _cache(chosen, money)
    _resent(chosen, money)
    _repeats(chosen, money)


def _tiles(totals: Row, money: Money) -> None:
    def share(name: str) -> str:
        part, whole = totals[name], totals["cost"]
        return f"{formatting.percent(part / whole)} of {money.said(whole)}" if part and whole else ""

    def missing(number: int, words: str) -> str:
        return f"{formatting.plural(number, 'call')} {words}" if number else ""

    loops, retries = totals["loops"], totals["retries"]
    tiles = [
        _tile("Resending", money.said(totals["resent_cost"]), share("resent_cost")),
        _tile(
            "Missed in the cache", money.said(totals["missed_cost"]),
            share("missed_cost") or missing(totals["not_reported"], "did not report cache reads"),
        ),
        _tile("Loops", money.said(totals["loop_cost"]), formatting.plural(loops, "call")),
        _tile(
            "Retries and repeats", money.said(totals["retry_cost"]),
            missing(totals["repeats_without_cost"], "without a known cost") or formatting.plural(retries, "call"),
        ),
    ]  # fmt: skip
    component("tiles")(data={"tiles": tiles}, key="waste-tiles")


def _tile(label: str, value: str, delta: str) -> Row:
    return {"label": label, "value": value, "delta": delta, "tone": ""}


def _cache(chosen: filter_bar.Selection, money: Money) -> None:
    asked: dict[str, Any] = {"filters": chosen.filters} | money.asked
    grids.section("Expected from the cache, by cause", "waste_cache", key="waste-cache", **asked)
    rows = answers.rows("waste_cache", **asked)
    if not rows:
        st.text("No call of this range continues another one.")
        return
    columns = (
        grids.Column("Cause", lambda r: grids.cell(str(r["cause"]).capitalize(), sub=CAUSES[r["cause"]])),
        grids.Column(
            "Missed", _money("missed_cost", money), align="right", help="What reading it from the cache had saved"
        ),
        grids.Column("Calls", _count("calls"), align="right"),
        grids.Column("Tokens expected", _tokens("expected_tokens"), align="right"),
        grids.Column("Read", _tokens("cache_read_tokens"), align="right"),
        grids.Column("Missed tokens", _tokens("missed_tokens"), align="right"),
        grids.Column("Dearest", _example),
    )
    _draw("waste-causes", columns, rows, lambda r: str(r["cause"]))
    asked["limit"] = MOST
    dearest = answers.rows("waste_misses", **asked)
    if dearest:
        grids.section("Dearest misses", "waste_misses", key="waste-misses", **asked)
        missed = grids.Column("Missed", _money("missed_cost", money), align="right")
        _draw("waste-dearest", (*MISSES, missed), dearest, lambda r: f"{r['trace_id']}/{r['span_id']}")


def _resent(chosen: filter_bar.Selection, money: Money) -> None:
    by = BY[
        st.segmented_control("Resent by", list(BY), default="Tool", key="resent-by", required=True,
                             label_visibility="collapsed")
    ]  # fmt: skip
    asked: dict[str, Any] = {"filters": chosen.filters, "resent_by": by, "limit": MOST} | money.asked
    grids.section(f"Sent again, by {by}", "waste_resent", key="waste-resent", **asked)
    rows = answers.rows("waste_resent", **asked)
    if not rows:
        st.text("No message of this range was sent twice in a conversation.")
        return
    columns = (
        grids.Column(by.capitalize(), lambda r: grids.cell(r["key"] or "(not stated)", sub=r["roles"])),
        grids.Column("Sent again", _money("cost", money), align="right", help="What sending them again cost"),
        grids.Column("First time", _money("first_cost", money), align="right"),
        grids.Column("Times", _count("sends"), align="right"),
        grids.Column("Messages", _count("messages"), align="right"),
        grids.Column("Tokens", _tokens("tokens"), align="right"),
        grids.Column("Dearest", _example),
    )
    _draw("waste-resent-rows", columns, rows, lambda r: str(r["key"]))


def _repeats(chosen: filter_bar.Selection, money: Money) -> None:
    asked: dict[str, Any] = {"filters": chosen.filters, "limit": MOST} | money.asked
    grids.section("Loops and retries", "waste_repeats", key="waste-repeats", **asked)
    rows = answers.rows("waste_repeats", **asked)
    if not rows:
        st.text("No call of this range asked the same again.")
        return
    columns = (
        grids.Column("What", lambda r: grids.cell(str(r["kind"]).capitalize(), sub=KINDS[r["kind"]])),
        grids.Column("Tool", lambda r: r["tool_name"]),
        grids.Column("Model", lambda r: grids.filter_cell("model", r["model"])),
        grids.Column("Cost", _money("cost", money), align="right"),
        grids.Column("Calls", _count("calls"), align="right"),
        grids.Column("Most times", _count("most_times"), align="right"),
        grids.Column("Tokens in", _tokens("input_tokens"), align="right"),
        grids.Column("Latest", _example),
    )
    _draw("waste-repeat-rows", columns, rows, lambda r: f"{r['kind']}{r['tool_name']}{r['model']}")


def _draw(key: str, columns: tuple[grids.Column, ...], rows: list[Row], row_id: Callable[[Row], str]) -> None:
    grids.draw(key, columns, rows, row_id=row_id, sortable=True)


def _money(name: str, money: Money) -> Callable[[Row], Row]:
    return lambda row: grids.cell(money.said(row[name]), v=row[name])


def _count(name: str) -> Callable[[Row], Row]:
    return lambda row: grids.cell(formatting.count(row[name]), v=row[name])


def _tokens(name: str) -> Callable[[Row], Row | None]:
    return lambda row: None if row[name] is None else grids.cell(formatting.short(row[name]), v=row[name])


def _example(row: Row) -> Row | None:
    return _open(row["example_trace_id"], row["example_span_id"], "open")


def _open(trace_id: str | None, span_id: str | None, text: str) -> Row | None:
    if not trace_id:
        return None
    return grids.cell(text, href=links.to_span(trace_id, span_id), title=trace_id)


def _parts_at(row: Row) -> Row:
    """The place where the input parts from the one before."""
    place = row["diverged_position"]
    if place is None:
        gap = row["gap_seconds"]
        return grids.cell("nowhere", sub=f"{formatting.duration(gap * 1e3)} later" if gap is not None else None)
    words = {-2: "tools", -1: "system text"}.get(place) or f"message {place + 1}, {row['diverged_role']}"
    return grids.cell(words, title=f"{row['diverged_id']} instead of {row['expected_id']}")


MISSES = (
    grids.Column("Call", lambda r: _open(r["trace_id"], r["span_id"], r["span_id"]), kind="mono"),
    grids.Column("Service", lambda r: grids.filter_cell("service", r["service_name"])),
    grids.Column("Model", lambda r: grids.filter_cell("model", r["model"])),
    grids.Column("Cause", lambda r: str(r["cause"]).capitalize()),
    grids.Column("Parts at", _parts_at),
    grids.Column("Before", lambda r: _open(r["continues_trace_id"], r["continues_span_id"], "open")),
    grids.Column("Missed tokens", _tokens("missed_tokens"), align="right"),
)
