"""The redaction rules on screen, for administrators: listed in order of priority, switched on and off, added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from spanfold.dashboard import grids
from spanfold.dashboard.backend import Backend, RuleKeeper

Act = Callable[[Callable[[Backend], object]], None]  # does a change, or says why it was refused


def draw(house: Backend, act: Act) -> None:
    """The list and its two forms."""
    if house.rules is None:
        st.text("Rules are not edited here: spanfold redact rules")
        return
    rows = house.rules.listed(house.state)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "A baseline: patterns find what has a shape; names, addresses and free text about people stay. Counts by "
            "rule are on Quality; try a rule on stored data with: spanfold redact dry-run",
            width="stretch",
        )
        with st.popover("Add rule", icon=":material/add:", key="add-rule"):
            _add_form(act)
        with st.popover("Switch rule", icon=":material/toggle_on:", key="switch-rule"):
            _switch_form(rows, act)
    columns = (
        grids.Column("Rule", lambda r: grids.cell(r["name"], title=r["pattern"][:400]), main=True),
        grids.Column("State", lambda r: grids.cell("On", pill="good") if r["enabled"] else grids.cell("Off")),
        grids.Column("Becomes", lambda r: r["replacement"], kind="mono"),
        grids.Column("Checked by", lambda r: r["detector"] or "pattern alone"),
        grids.Column("From", lambda r: r["origin"].capitalize()),
    )
    grids.draw("redaction-rules", columns, rows, row_id=lambda r: r["name"])


def _add_form(act: Act) -> None:
    with st.form("add-rule-form", border=False):
        st.text_input("Rule name", key="rule-name", max_chars=100)
        st.text_input("Pattern (RE2)", key="rule-pattern", max_chars=2000)
        st.text_input("Becomes", key="rule-replacement", max_chars=42, placeholder="[NAME]")
        st.text_input("Checked by", key="rule-detector", max_chars=100, placeholder="pattern alone")
        st.form_submit_button("Add", on_click=_add, args=(act,))


def _switch_form(rows: list[dict[str, Any]], act: Act) -> None:
    enabled = {row["name"]: row["enabled"] for row in rows}
    name = st.selectbox("Rule", list(enabled), key="switched-rule")
    word = "Switch off" if enabled[name] else "Switch on"
    st.button(word, key="toggle-rule", on_click=_switch, args=(act, name, not enabled[name]))
    st.caption("What it found before stays redacted.")


def _add(act: Act) -> None:
    given = st.session_state

    def add(house: Backend) -> None:
        _keeper(house).add(
            house.state, given["rule-name"].strip(), given["rule-pattern"], given["rule-detector"].strip() or None,
            given["rule-replacement"].strip(), house.reviewer,
        )  # fmt: skip
        given["rule-name"] = given["rule-pattern"] = given["rule-replacement"] = given["rule-detector"] = ""

    act(add)


def _switch(act: Act, name: str, enabled: bool) -> None:
    act(lambda house: _keeper(house).switch(house.state, name, enabled=enabled, who=house.reviewer))


def _keeper(house: Backend) -> RuleKeeper:
    assert house.rules is not None  # the forms are drawn only then
    return house.rules
