"""The filter bar: one for all pages, every widget bound to the URL, so that a view is a link."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import streamlit as st

from spanfold.analytics.filters import Filters
from spanfold.dashboard import answers
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component

RANGES: dict[str, tuple[str, dt.timedelta | None]] = {
    "1h": ("Last hour", dt.timedelta(hours=1)),
    "6h": ("Last 6 hours", dt.timedelta(hours=6)),
    "24h": ("Last 24 hours", dt.timedelta(days=1)),
    "7d": ("Last 7 days", dt.timedelta(days=7)),
    "30d": ("Last 30 days", dt.timedelta(days=30)),
    "90d": ("Last 90 days", dt.timedelta(days=90)),
    "all": ("All time", None),
    "custom": ("Custom range", None),
}
DEFAULT_RANGE = "24h"
STATUSES = ("success", "error", "canceled")
REVIEW_STATES = ("unreviewed", "approved", "flagged", "rejected")


@dataclass(frozen=True, slots=True)
class Facet:
    """One list filter: its name in the URL, on screen, in `Filters`, and among the stored values (None = fixed)."""

    key: str
    label: str
    field: str
    dimension: str | None
    fixed: tuple[str, ...] = ()
    main: bool = False  # in the bar itself, not behind "More"


FACETS = (
    Facet("service", "Service", "services", "service", main=True),
    Facet("model", "Model", "models", "model", main=True),
    Facet("status", "Status", "statuses", None, STATUSES, main=True),
    Facet("review", "Review", "review_states", None, REVIEW_STATES, main=True),
    Facet("env", "Environment", "environments", "environment"),
    Facet("provider", "Provider", "providers", "provider"),
    Facet("op", "Operation", "operations", "operation"),
    Facet("key", "Key", "keys", "key"),
    Facet("project", "Project", "projects", "project"),
    Facet("tag", "Tag", "tags", None),
)
_ENDS = ("from", "to")
BY_KEY = {facet.key: facet for facet in FACETS}
NONE: dict[str, list[str]] = {key: [] for key in (*BY_KEY, "q")}  # the query without a filter, whatever the range


@dataclass(frozen=True, slots=True)
class Selection:
    """What the bar says now."""

    filters: Filters
    range_label: str
    zone: str
    today: dt.date


def draw(values: Mapping[str, Sequence[str]], *, beside: Callable[[], None]) -> None:
    """The bar. `values`: what each dimension offers, most used first; `beside` draws at its right end."""
    with st.container(key="filter-bar", horizontal=True, vertical_alignment="center", gap="small"):
        st.selectbox(
            "Range", list(RANGES), index=list(RANGES).index(DEFAULT_RANGE), key="range", bind="query-params",
            label_visibility="collapsed", width=118, icon=":material/schedule:",
        )  # fmt: skip
        for facet in FACETS:
            if facet.main:
                _popover(facet, values)
        with st.popover("More", key="pop-more"):
            for facet in FACETS:
                if not facet.main:
                    _choice(facet, values)
        st.text_input(
            "Search names, ids, models, users", key="q", bind="query-params", label_visibility="collapsed", width=230,
            placeholder="Search names, ids, users   /", icon=":material/search:",
        )  # fmt: skip
        st.space("stretch")
        beside()
    if st.session_state.range == "custom":
        _custom_range()
    _counts()
    _chips()


def selection() -> Selection:
    """Reads the bar. The end is the next full minute, so that a minute's reruns share cached answers."""
    now = backend().now()
    name = st.session_state.get("range", DEFAULT_RANGE)
    label, length = RANGES[name]
    start, end = _bounds(name, length, now, zone())
    lists = {facet.field: tuple(_chosen(facet)) for facet in FACETS}
    filters = Filters(start=start, end=end, text=st.session_state.get("q") or None, **lists)
    today = now.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(zone())).date()
    return Selection(filters, label, zone(), today)


def in_force() -> dict[str, list[str]]:
    """What the URL says of the bar: every parameter with its values, none for what is at rest."""
    state = st.session_state
    said = {"range": [name] if (name := state.get("range", DEFAULT_RANGE)) != DEFAULT_RANGE else []}
    said |= {key: [f"{state[key]:%Y-%m-%dT%H:%M}"] if name == "custom" and state.get(key) else [] for key in _ENDS}
    said |= {facet.key: _chosen(facet) for facet in FACETS}
    said["q"] = [state.q] if state.get("q") else []
    return said | {"times": ["Local"] if state.get("times") == "Local" else []}


def zone() -> str:
    """The time zone in which times are shown."""
    return (st.context.timezone or "UTC") if st.session_state.get("times") == "Local" else "UTC"


def bounded(filters: Filters) -> Filters:
    """The same with both ends known: all of time begins with the first call."""
    if filters.start is not None and filters.end is not None:
        return filters
    now = backend().now()
    first = (answers.row("data_range") or {}).get("first_call") or now - dt.timedelta(days=1)
    return replace(filters, start=filters.start or first, end=filters.end or now + dt.timedelta(minutes=1))


def add(key: str, value: str) -> None:
    """Filter by one more value, from a callback: what a click on a cell does."""
    if key in BY_KEY:
        st.session_state[key] = with_one_more(key, value)[key]


def with_one_more(key: str, value: str) -> dict[str, list[str]]:
    """What `add` would make of a filter: for a link."""
    return {key: list(dict.fromkeys([*_chosen(BY_KEY[key]), value]))}


def active() -> list[tuple[str, str, str]]:
    """(key, label, value) of every filter that is on, without the range."""
    found = [(facet.key, facet.label, value) for facet in FACETS for value in _chosen(facet)]
    text = st.session_state.get("q")
    return [*found, ("q", "Search", text)] if text else found


def without(filters: Filters, key: str) -> Filters:
    """The same filters less one facet: to find out which of them leaves nothing."""
    return replace(filters, text=None) if key == "q" else replace(filters, **{BY_KEY[key].field: ()})  # type: ignore[arg-type]


def drop(key: str) -> None:
    """Switch one facet off, from a callback."""
    st.session_state[key] = "" if key == "q" else []


def _popover(facet: Facet, values: Mapping[str, Sequence[str]]) -> None:
    with st.popover(facet.label, key=f"pop-{facet.key}"):
        _choice(facet, values)


def _counts() -> None:
    """`Service · 2`: by style, for only a list that is drawn knows what the URL said, and its label came before."""
    chosen = Counter[str]()
    for facet in FACETS:
        chosen[facet.key if facet.main else "more"] += len(_chosen(facet))
    rules = (f".st-key-pop-{name} button p::after {{ content: ' · {n:d}'; }}" for name, n in chosen.items() if n)
    st.html(f"<style>{' '.join(rules)}</style>")


def _choice(facet: Facet, values: Mapping[str, Sequence[str]]) -> None:
    offered = facet.fixed or values.get(facet.dimension or facet.key, ())
    st.multiselect(
        facet.label, list(dict.fromkeys([*offered, *_chosen(facet)])), key=facet.key, bind="query-params",
        accept_new_options=not facet.fixed, placeholder="Any", select_all=False,
    )  # fmt: skip


def _chosen(facet: Facet) -> list[str]:
    return list(st.session_state.get(facet.key) or [])


def _custom_range() -> None:
    now = backend().now().replace(second=0, microsecond=0)
    with st.container(key="custom-range", horizontal=True, vertical_alignment="bottom"):
        st.datetime_input("From", value=now - dt.timedelta(days=1), key="from", bind="query-params", width=220)
        st.datetime_input("To", value=now, key="to", bind="query-params", width=220)


def _bounds(
    name: str, length: dt.timedelta | None, now: dt.datetime, zone: str
) -> tuple[dt.datetime | None, dt.datetime | None]:
    if name == "custom":
        return tuple(_utc(st.session_state.get(key), zone) for key in _ENDS)  # type: ignore[return-value]
    if length is None:
        return None, None
    end = now.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
    return end - length, end


def _utc(moment: dt.datetime | None, zone: str) -> dt.datetime | None:
    return moment and moment.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC).replace(tzinfo=None)


def _chips() -> None:
    """The filters that are on, each with its cross. An own component: values are data and shown as text."""
    chips = [{"key": key, "label": label, "value": value} for key, label, value in active()]
    if not chips:
        return

    def removed() -> None:
        chip = st.session_state["chips"].get("removed")
        if chip and chip[0] == "q":
            st.session_state["q"] = ""
        elif chip and chip[0] in BY_KEY:
            st.session_state[chip[0]] = [v for v in _chosen(BY_KEY[chip[0]]) if v != chip[1]]

    component("chips")(data={"chips": chips, "none": NONE}, key="chips", on_removed_change=removed)
