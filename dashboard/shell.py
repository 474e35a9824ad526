"""The frame of every page: navigation, snapshot age and live refresh, keyboard help, the mark of a finished run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import streamlit as st

from spanfold.dashboard import answers, filter_bar, formatting, links, states
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component, ignore
from spanfold.state.access import AccessRefused

VIEWS = Path(__file__).parent / "views"
ICON, LOGO = (Path(__file__).parent / f"{name}.svg" for name in ("icon", "logo"))
TICK_SECONDS = 1.0
_GROUPS: dict[str, tuple[tuple[str, str, str], ...]] = {  # group -> (file, title, icon)
    "Explore": (("overview", "Overview", "monitoring"), ("traces", "Traces", "account_tree"),
                ("conversations", "Conversations", "forum")),
    "Review": (("review", "Review queue", "rate_review"),),
    "Cost": (("costs", "Costs", "payments"),),
    "Operate": (("quality", "Data quality", "health_and_safety"),),
}  # fmt: skip
_HIDDEN = (("trace_detail", "Trace", "account_tree"), ("conversation", "Conversation", "forum"))
LIVE = {
    "overview",
    "traces",
    "conversations",
    "costs",
    "quality",
}  # pages that follow the newest snapshot by themselves

_BACK = {"trace_detail": "traces", "conversation": "conversations"}
_GO = {"o": "", "t": "traces", "v": "conversations", "r": "review", "c": "costs", "d": "quality"}
_EVERYWHERE = (
    ("g then o t v r c d", "Overview, Traces, conVersations, Review, Costs, Data quality"),
    ("/", "Search"), ("y", "Copy a link to this view"), ("?", "This help"),
)  # fmt: skip
_BY_PAGE: dict[str, tuple[tuple[str, str], ...]] = {
    "traces": (
        ("j  k", "Next, previous row"), ("Enter", "Open"), ("x  Shift+x", "Pick a row, a range"),
        ("a  f  r", "Approve, flag, reject the picked rows, or the row you are on"),
        ("u", "Take the last decision back"),
    ),
    "conversations": (("j  k", "Next, previous row"), ("Enter", "Open")),
    "trace_detail": (
        ("j  k  ↓  ↑", "Next, previous span"), ("h  l  ←  →", "Fold, unfold"), ("e", "Next error"),
        ("m", "Next model call"), ("c", "Next most costly call"), ("Esc", "Back to Traces"),
    ),
    "conversation": (("Esc", "Back to Conversations"),),
    "review": (
        ("j  k", "Next, previous item"), ("a  f  r", "Approve, flag, reject, and go on"), ("u", "Undo, up to 50 back"),
        ("n", "Write a comment"), ("Ctrl+Enter", "Save the comment and go on"), ("Enter", "Open the trace"),
    ),
}  # fmt: skip


def navigation() -> Any:
    """Declares the pages; the chosen one is run by the caller."""
    groups: dict[str, list[Any]] = {}
    for group, pages in _GROUPS.items():
        groups[group] = [_page(name, title, icon, default=name == "overview") for name, title, icon in pages]
    if backend().administers:
        groups["Operate"].append(_page("access", "Access", "admin_panel_settings"))
    groups["Explore"] += [_page(name, title, icon, visibility="hidden") for name, title, icon in _HIDDEN]
    return st.navigation(groups)


def _page(name: str, title: str, icon: str, **options: Any) -> Any:
    url = None if options.get("default") else links.URLS.get(name, name)
    return st.Page(VIEWS / f"{name}.py", title=title, icon=f":material/{icon}:", url_path=url, **options)


def page_name(page: Any) -> str:
    """`trace_detail` of a page made here, by its URL."""
    named = {url: name for name, url in links.URLS.items()}
    return named.get(page.url_path, str(page.url_path or "overview"))


def keys(name: str) -> None:
    """Global keys, and the help that lists those of this page."""
    told = component("page_keys")(
        data={"go": _GO, "back": links.to(_BACK[name]) if name in _BACK else None, "query": links.to("overview")[2:]},
        key=f"keys-{name}", on_help_change=ignore, on_copied_change=ignore,
    )  # fmt: skip
    if told.help:
        _help(name)
    if told.copied:
        st.toast("Link copied", icon=":material/link:")


@st.dialog("Keyboard")
def _help(name: str) -> None:
    rows = [*_BY_PAGE.get(name, ()), *_EVERYWHERE]
    st.table(
        {"Key": [key for key, _ in rows], "Does": [does for _, does in rows]}, hide_index=True, border="horizontal"
    )
    st.caption("Keys rest while you type or a dialog is open.", width="content")


def freshness(name: str) -> None:
    """`data to 14:02:10, 12 s old`; reruns the page when a newer snapshot is there and the page follows it."""
    started = time.monotonic()

    @st.fragment(run_every=TICK_SECONDS)
    def tick() -> None:
        state = st.session_state
        try:
            newest = answers.newest()
        except AccessRefused:  # signed out elsewhere, disabled, another role: the whole page says so
            st.rerun()
        shown = state.setdefault("shown-version", newest)
        _age(newest)
        follow = state.get("live", True) and (name in LIVE or not shown)
        pause = max(TICK_SECONDS, 4 * state.get("run-seconds", 0.0))
        if newest != shown and follow and time.monotonic() - started > pause:
            st.rerun()

    st.session_state["shown-version"] = answers.newest()
    tick()


def _age(version: str) -> None:
    if not version:
        st.caption("No data yet", width="content")
        return
    published = (answers.row("snapshot_info") or {})["published_at"]
    seconds = max(0.0, (backend().now() - published).total_seconds())
    with st.container(key="freshness"):
        st.caption(
            f"data to {formatting.when(published, filter_bar.zone(), published.date())}, {formatting.age(seconds)} old",
            width="content",
        )


def stale() -> None:
    """The banner, while the folder is far behind what was accepted."""
    lag = float(answers.status().get("lag_seconds") or 0.0)
    if lag > states.STALE_SECONDS:
        states.stale_banner(lag)


def sidebar(name: str) -> None:
    """Under the navigation: time zone, live refresh, help."""
    st.logo(str(LOGO), size="large", icon_image=str(ICON))
    with st.sidebar:
        st.segmented_control("Times", ["UTC", "Local"], default="UTC", key="times", bind="query-params", required=True)
        if name in LIVE:
            st.toggle("Follow new data", value=True, key="live")
        if st.button("Keyboard", icon=":material/keyboard:", type="tertiary", key="help"):
            _help(name)
        house = backend()
        if house.gate is not None:
            st.text(house.caller.name)
            with st.container(key="sign-out"):
                st.html('<a href="/logout" target="_self">Sign out</a>')


def finished(started: float) -> None:
    """The last element of every full run: what a test waits for."""
    state = st.session_state
    state["run-seconds"] = time.monotonic() - started
    state["run"] = state.get("run", 0) + 1
    links.address("at-end", filter_bar.in_force())
    with st.container(key="end"):
        st.html(f"<span data-run='{state['run']:d}' data-ms='{1e3 * state['run-seconds']:.0f}' hidden></span>")
