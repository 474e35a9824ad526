"""Access, for administrators: who may sign in and do what, keys and tokens by their prefixes, and the audit log."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from spanfold.dashboard import filter_bar, formatting, grids, rule_list, states
from spanfold.dashboard.backend import Backend, administration
from spanfold.dashboard.components.parts import component
from spanfold.state.access import ROLES
from spanfold.state.errors import StateError
from spanfold.state.users import User

Row = dict[str, Any]
LINES = 200  # of the audit log
ALL = "all tenants"
TABS = ("Users", "Tokens and sessions", "Sender keys", "Redaction", "Audit log")


def page() -> None:
    house = administration()
    st.title("Access", anchor=False)
    if house.gate is None:
        st.text(
            "Nobody has to sign in here: only this machine can reach the dashboard, and who does is its administrator. "
            "Sign-in is switched on with auth = \"login\" in spanfold.toml."
        )  # fmt: skip
    zone = filter_bar.zone()
    if problem := st.session_state.pop("access-problem", None):
        component("notice")(data={"tone": "bad", "text": problem}, key="access-notice")
    tabs = st.tabs(list(TABS), key="access-tab", on_change="rerun")
    for tab, draw in zip(tabs, (_users, _tokens, _keys, _redaction, _audit), strict=True):
        if tab.open:
            with tab:
                draw(house, zone)


def _users(house: Backend, zone: str) -> None:
    found = house.state.users.all()
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Add user", icon=":material/person_add:", key="add-user"):
            _add_form()
        if found:
            with st.popover("Change user", icon=":material/manage_accounts:", key="change-user"):
                _change_form(found)
    if not found:
        st.text("No users yet.")
        return
    columns = (
        grids.Column("Name", lambda r: r["name"], main=True),
        grids.Column("State", _state_of),
        grids.Column("Roles", lambda r: ", ".join(r["roles"])),
        grids.Column("Tenants", lambda r: ", ".join(r["tenants"]) or ALL),
        grids.Column("Signs in with", lambda r: "password" if r["has_password"] else "provider"),
        grids.Column("Added", lambda r: formatting.when(r["created_at"], zone), kind="time"),
        grids.Column("By", lambda r: r["created_by"]),
    )
    rows = [
        {
            "name": user.name, "roles": [role for role in ROLES if role in user.roles],
            "tenants": sorted(user.tenants or ()), "has_password": user.has_password,
            "created_at": _naive(user.created_at), "created_by": user.created_by, "disabled": user.disabled_at,
        }
        for user in found
    ]  # fmt: skip
    grids.draw("users", columns, rows, row_id=lambda r: r["name"], sortable=True)


def _state_of(row: Row) -> Row:
    return grids.cell("Disabled") if row["disabled"] else grids.cell("Open", pill="good")


def _add_form() -> None:
    with st.form("add-user-form", border=False):
        st.text_input("Name", key="new-name", max_chars=200)
        st.multiselect("Roles", ROLES, default=["read"], key="new-roles")
        st.text_input("Tenants, by commas", key="new-tenants", placeholder=ALL)
        st.text_input(
            "Password", type="password", key="new-password", max_chars=1024, placeholder="none: provider only"
        )
        st.form_submit_button("Add", on_click=_add)


def _change_form(found: Sequence[User]) -> None:
    by_name = {user.name: user for user in found}
    name = st.selectbox("User", list(by_name), key="changed-name")
    user = by_name[name]
    st.multiselect("Roles", ROLES, default=[r for r in ROLES if r in user.roles], key=f"roles-{name}")
    st.text_input(
        "Tenants, by commas", value=", ".join(sorted(user.tenants or ())), key=f"tenants-{name}", placeholder=ALL
    )
    st.text_input("New password", type="password", key=f"password-{name}", max_chars=1024)
    with st.container(horizontal=True):
        st.button("Save roles", key="save-roles", on_click=_save_roles, args=(name,))
        st.button("Set password", key="save-password", on_click=_save_password, args=(name,))
        word = "Let in again" if user.disabled_at else "Disable"
        st.button(word, key="toggle-user", on_click=_toggle, args=(name, user.disabled_at is None))
    st.caption("Every change ends the sessions of the user.")


def _add() -> None:
    given = st.session_state

    def add(house: Backend) -> None:
        house.state.users.add(
            given["new-name"], given["new-roles"], tenants=_tenants(given["new-tenants"]),
            password=given["new-password"] or None, who=house.reviewer,
        )  # fmt: skip
        given["new-name"] = given["new-password"] = given["new-tenants"] = ""

    _act(add)


def _save_roles(name: str) -> None:
    roles, tenants = st.session_state[f"roles-{name}"], _tenants(st.session_state[f"tenants-{name}"])
    _act(lambda house: house.state.users.change_roles(name, roles, tenants=tenants, who=house.reviewer))


def _save_password(name: str) -> None:
    given = st.session_state[f"password-{name}"]
    _act(lambda house: house.state.users.set_password(name, given, who=house.reviewer))
    st.session_state[f"password-{name}"] = ""


def _toggle(name: str, disable: bool) -> None:
    def toggle(house: Backend) -> None:
        users = house.state.users
        (users.disable if disable else users.enable)(name, who=house.reviewer)

    _act(toggle)


def _act(change: Callable[[Backend], object]) -> None:
    """One change, if the caller still administers; what is refused is said."""
    try:
        change(administration())
        st.toast("Saved")
    except StateError as error:
        st.session_state["access-problem"] = f"Not saved: {error}."


def _tenants(text: str) -> list[str] | None:
    return [name.strip() for name in text.split(",") if name.strip()] or None


def _tokens(house: Backend, zone: str) -> None:
    now = house.now().replace(tzinfo=dt.UTC)
    rows: list[Row] = [
        {"id": i.id, "kind": kind, "prefix": i.prefix, "user": i.user_name, "label": i.label, "used": _naive(i.used_at),
         "expires": _naive(i.expires_at), "open": i.open_at(now)}
        for kind in ("token", "session") for i in house.state.tokens.all(kind=kind)
    ]  # fmt: skip
    rows = [row for row in rows if row["kind"] == "token" or row["open"]]
    if not rows:
        st.text("No tokens and no open sessions. Programs get a token with: spanfold tokens add USER --label NAME")
        return
    columns = (
        grids.Column("User", lambda r: r["user"], main=True),
        grids.Column("What", lambda r: grids.cell(r["kind"].capitalize(), sub=r["label"])),
        grids.Column("State", lambda r: grids.cell("Open", pill="good") if r["open"] else grids.cell("Closed")),
        grids.Column("Begins with", lambda r: r["prefix"] + "…", kind="mono"),
        grids.Column("Last used", lambda r: formatting.when(r["used"], zone), kind="time"),
        grids.Column("Ends", lambda r: formatting.when(r["expires"], zone), kind="time"),
        grids.Column("Id", lambda r: r["id"], kind="mono"),
    )
    grids.draw("tokens", columns, rows, row_id=lambda r: r["id"], sortable=True)


def _keys(house: Backend, zone: str) -> None:
    now = house.now().replace(tzinfo=dt.UTC)
    rows = [
        {"id": k.id, "prefix": k.prefix, "label": k.label, "tenant": k.tenant, "open": k.open_at(now),
         "created": _naive(k.created_at), "by": k.created_by}
        for k in house.state.keys.all()
    ]  # fmt: skip
    if not rows:
        st.text("No keys yet. A sender gets one with: spanfold keys add --label NAME --tenant TENANT")
        return
    columns = (
        grids.Column("Label", lambda r: r["label"], main=True),
        grids.Column("Tenant", lambda r: r["tenant"]),
        grids.Column("State", lambda r: grids.cell("Open", pill="good") if r["open"] else grids.cell("Revoked")),
        grids.Column("Begins with", lambda r: r["prefix"] + "…", kind="mono"),
        grids.Column("Made", lambda r: formatting.when(r["created"], zone), kind="time"),
        grids.Column("By", lambda r: r["by"]),
        grids.Column("Id", lambda r: r["id"], kind="mono"),
    )
    grids.draw("sender-keys", columns, rows, row_id=lambda r: r["id"], sortable=True)


def _redaction(house: Backend, zone: str) -> None:
    rule_list.draw(house, _act)


def _audit(house: Backend, zone: str) -> None:
    lines = house.state.audit.changes(limit=LINES)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"The newest {len(lines)} lines. All: spanfold audit list", width="content")
        st.space("stretch")
        verified = st.button("Verify the chain", icon=":material/link:", key="verify-chain")
    if verified:
        verdict = house.state.audit.verify()
        good = f"{verdict.lines:,} lines, unbroken; newest hash {verdict.head}"
        bad = f"Broken at line {verdict.broken}, after {verdict.lines:,} good ones: compare with a backup of state.db"
        told = ("bad", bad) if verdict.broken else ("good", good)
        component("notice")(data={"tone": told[0], "text": told[1]}, key="chain-notice")
    rows = [
        {"seq": c.seq, "at": _naive(c.changed_at), "who": c.who, "what": f"{c.area} {c.action}", "subject": c.subject,
         "more": json.dumps(c.became, ensure_ascii=False) if c.became else None}
        for c in lines
    ]  # fmt: skip
    columns = (
        grids.Column("When", lambda r: formatting.when(r["at"], zone), kind="time"),
        grids.Column("Who", lambda r: r["who"]),
        grids.Column("What", lambda r: r["what"], main=True),
        grids.Column("Of", lambda r: r["subject"][:120], kind="wrap"),
        grids.Column("Details", lambda r: r["more"], kind="wrap"),
    )
    grids.draw("audit-log", columns, rows, row_id=lambda r: str(r["seq"]))


def _naive(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None)


states.guarded(page)
