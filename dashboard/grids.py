"""Tables of rows: columns say how a row becomes cells, the component draws them as text and reports what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, filter_bar, links
from spanfold.dashboard.components.parts import component, ignore

Row = dict[str, Any]
PAGE = 50


@dataclass(frozen=True, slots=True)
class Column:
    """One column: a cell is text, None (a dash), or `cell(...)`."""

    label: str
    value: Callable[[Row], object]
    kind: str = ""  # time | mono | wrap | review
    align: str = "left"
    main: bool = False  # the column that opens the row
    help: str | None = None

    def described(self) -> dict[str, object]:
        return {"label": self.label, "kind": self.kind, "align": self.align, "main": self.main, "help": self.help}


def cell(text: object, **looks: object) -> Row:
    """A cell with looks: v (what it sorts by), sub (second line), bar (0..1), tone, pill, title,
    filter (facet key, value), href (another page), list (pills)."""
    return {"t": "" if text is None else str(text), **looks}


def filter_cell(facet: str, value: str | None, **looks: object) -> Row | None:
    """A cell whose click filters by its value."""
    return None if value is None else cell(value, filter=[facet, value], **looks)


def traces_cell(text: str, facet: str, value: str | None, **looks: object) -> Row:
    """A number whose click shows the traces behind it: those with this value."""
    if value is None:
        return cell(text, **looks)
    return cell(text, href=links.to("traces", filter_bar.with_one_more(facet, value)), **looks)


def names_cell(names: Sequence[str] | None, facet: str | None = None) -> Row | None:
    """One name, or the first and how many more."""
    found = [name for name in names or () if name]
    if not found:
        return None
    text = found[0] if len(found) == 1 else f"{found[0]} +{len(found) - 1}"
    looks: dict[str, object] = {"title": ", ".join(found)}
    return cell(text, **looks, **({"filter": [facet, found[0]]} if facet and len(found) == 1 else {}))


STATUS_TONE = {"success": "good", "error": "bad", "canceled": "warn"}
REVIEW_TONE = {"approved": "good", "flagged": "warn", "rejected": "bad", "unreviewed": ""}
LIFECYCLE = {
    "running": ("Running", "info"), "completed": ("OK", "good"), "needs_review": ("Has errors", "warn"),
    "failed": ("Failed", "bad"),
}  # fmt: skip


def status_cell(row: Row, name: str = "status") -> Row | None:
    status = row.get(name)
    if status is None:
        return None
    words = {"success": "OK", "error": "Error", "canceled": "Canceled"}
    return cell(words.get(status, status), pill=STATUS_TONE.get(status, "info"))


@dataclass(slots=True)
class Done:
    """What a person did in a grid since the last run."""

    picks: list[str] = field(default_factory=list)
    opened: str | None = None


def draw(
    key: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    row_id: Callable[[Row], str],
    label: Callable[[Row], str] = lambda row: "",
    href: Callable[[Row], str] | None = None,
    revision: Callable[[Row], int] | None = None,
    on_log: Callable[[], None] | None = None,
    on_act: Callable[[], None] | None = None,
    **options: Any,
) -> Done:
    """Draws rows; `options` go to the component: pickable, picked, stamp, sortable, keys, decide, asking, acked, page,
    foot, problem, here (an opened row is reported, its link not followed)."""
    data = {
        "columns": [column.described() for column in columns],
        "rows": [
            {
                "id": row_id(row), "label": label(row) or row_id(row), "href": href(row) if href else None,
                "revision": revision(row) if revision else None, "cells": [c.value(row) for c in columns],
            }
            for row in rows
        ],
        **options,
    }  # fmt: skip

    def filtered() -> None:
        chosen = st.session_state[key].get("filter")
        if chosen:
            filter_bar.add(chosen[0], chosen[1])

    result = component("grid")(
        data=data, key=key, on_picks_change=ignore, on_log_change=on_log or ignore, on_open_change=ignore,
        on_filter_change=filtered, on_act_change=on_act or ignore,
    )  # fmt: skip
    told = result.picks or {}
    picks = told["ids"] if told and told.get("stamp") == options.get("stamp") else options.get("picked", [])
    return Done(list(picks), result.open)


def sql_button(name: str, *, key: str, **params: Any) -> None:
    """`SQL`: the query behind a table or a group of tiles as text for any DuckDB. Filters as the keyword `filters`."""
    shown = st.popover(
        "SQL", icon=":material/code:", type="tertiary", key=f"sql-{key}", help="Copy as SQL", on_change="rerun"
    )
    if shown.open:  # the text of a page needs the keys of that page: made only for who looks
        with shown:
            st.caption("Runs on the published file: duckdb -readonly spanfold.duckdb", width="content")
            st.code(answers.sql(name, **params), language="sql", height=360)


def section(title: str, sql: str | None = None, *, key: str, **params: Any) -> None:
    """A heading with the SQL of what stands below it."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"section-{key}"):
        st.header(title, anchor=False, width="content")
        st.space("stretch")
        if sql:
            sql_button(sql, key=key, **params)
