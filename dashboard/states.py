"""The designed states of every screen: nothing yet, nothing here, everything filtered away, stale, failed."""

from __future__ import annotations

import datetime as dt
import logging
import secrets
from collections.abc import Callable

import streamlit as st

from spanfold.analytics.errors import QueryAbandoned
from spanfold.analytics.filters import Filters
from spanfold.dashboard import answers, filter_bar, formatting, links
from spanfold.dashboard.backend import backend
from spanfold.dashboard.components.parts import component
from spanfold.state.access import AccessRefused

log = logging.getLogger(__name__)

STALE_SECONDS = 30.0  # how far the folder may be behind what was accepted before a banner says so


def nothing_received() -> None:
    """Nothing has ever come: where to send it, and a command that proves the way is open."""
    grpc, http = backend().listening()
    with st.container(border=True, key="empty-ever"):
        st.header("Waiting for the first span", anchor=False)
        st.text("Point the OTLP exporter of a service here, by environment variables only:")
        st.code(
            f"export OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}\n"
            "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\n"
            "export OTEL_SERVICE_NAME=my-service",
            language="bash",
        )
        st.text("Or send one span now, with nothing installed, to see it appear on this page:")
        st.code(test_command(http, backend().now()), language="bash", wrap_lines=True)
        st.text(f"Ports: OTLP/gRPC {grpc}, OTLP/HTTP {http}. Demo traffic: spanfold demo")


def test_command(http_address: str, now: dt.datetime) -> str:
    """A curl command that sends one chat span of a second ago."""
    end = int(now.replace(tzinfo=dt.UTC).timestamp()) * 10**9
    attributes = (
        '{"key":"gen_ai.operation.name","value":{"stringValue":"chat"}},'
        '{"key":"gen_ai.provider.name","value":{"stringValue":"openai"}},'
        '{"key":"gen_ai.request.model","value":{"stringValue":"gpt-4o-mini"}},'
        '{"key":"gen_ai.usage.input_tokens","value":{"intValue":"120"}},'
        '{"key":"gen_ai.usage.output_tokens","value":{"intValue":"40"}}'
    )
    span = (
        f'{{"traceId":"{secrets.token_hex(16)}","spanId":"{secrets.token_hex(8)}","name":"chat gpt-4o-mini","kind":3,'
        f'"startTimeUnixNano":"{end - 10**9}","endTimeUnixNano":"{end}","attributes":[{attributes}]}}'
    )
    body = (
        '{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"hello"}}]},'
        f'"scopeSpans":[{{"spans":[{span}]}}]}}]}}'
    )
    return f"curl -s http://{http_address}/v1/traces -H 'content-type: application/json' -d '{body}'"


def nothing_here(selection: filter_bar.Selection, noun: str) -> None:
    """No rows: either the filters leave nothing, or the range holds nothing."""
    active = filter_bar.active()
    if active:
        _filtered_away(selection, noun, active)
    else:
        _nothing_in_range(selection, noun)


def _filtered_away(selection: filter_bar.Selection, noun: str, active: list[tuple[str, str, str]]) -> None:
    facets = {key: label for key, label, _ in active}
    left = {key: _traces(filter_bar.without(selection.filters, key)) for key in facets}
    tightest = max(left, key=lambda key: left[key])
    blame = f"No single filter is to blame in this range ({selection.range_label.lower()})."
    if left[tightest]:
        blame = f"The tightest one is {facets[tightest]}: without it there are {left[tightest]:,} traces."
    with st.container(border=True, key="empty-filtered"):
        st.header(f"No {noun} match all of these filters", anchor=False)
        st.text(blame)
        with st.container(horizontal=True):
            if left[tightest]:
                remove = {"on_click": filter_bar.drop, "args": (tightest,)}
                st.button(f"Remove {facets[tightest]}", key="empty-drop", **remove)
            if st.button("Clear all filters", key="empty-clear"):
                links.here(filter_bar.NONE)


def _nothing_in_range(selection: filter_bar.Selection, noun: str) -> None:
    known = answers.row("data_range") or {}
    first, last = known.get("first_call"), known.get("last_call")
    with st.container(border=True, key="empty-range"):
        st.header(f"No {noun} in this range ({selection.range_label.lower()})", anchor=False)
        if first is None or last is None:
            st.text("Spans have come, but none of them is a call to a model. Traces of all time shows them.")
            return
        zone = selection.zone
        st.text(f"There is other data, from {formatting.when(first, zone)} to {formatting.when(last, zone)} {zone}.")
        wider = _range_that_reaches(last)
        label = filter_bar.RANGES[wider][0]
        if st.button(f"Show {label.lower()}", key="empty-widen"):
            links.here({"range": [wider]})


def _range_that_reaches(last: dt.datetime) -> str:
    """The shortest offered range that holds some data."""
    distance = backend().now() - last
    fitting = (name for name, (_, length) in filter_bar.RANGES.items() if length and length > distance)
    return next(fitting, "all")


def _traces(filters: Filters) -> int:
    found = answers.row("traces_count", filters)
    return int(found["traces"]) if found else 0


def guarded(page: Callable[[], None]) -> None:
    """Runs a page. What it raises becomes one card with an id; the traceback goes to the log under that id."""
    from streamlit.runtime.scriptrunner import RerunException, StopException

    try:
        page()
    except (RerunException, StopException):
        raise
    except AccessRefused as error:
        refused(error)
    except QueryAbandoned:
        st.stop()
    except Exception as error:
        error_card(error)


def refused(error: AccessRefused) -> None:
    """Nobody is signed in (any more), or who is may not look at anything."""
    with st.container(border=True, key="refused"):
        st.header("This page is closed to you", anchor=False)
        st.text(str(error))
        st.html(
            '<p><a href="/login" target="_self">Sign in</a> &middot; <a href="/logout" target="_self">Sign out</a></p>'
        )


def error_card(error: Exception) -> None:
    """One card for one failure; the other pages still work, and so does this one when tried again."""
    name = secrets.token_hex(4)
    log.error("view failed id=%s", name, exc_info=error)
    with st.container(border=True, key="failed"):
        st.header("This view could not be drawn", anchor=False)
        st.text(f"{_reason(error)} Receiving and the other pages are not affected.")
        st.text(f"Error id {name}: the messages of `spanfold dashboard` say more under this id.")
        st.button("Try again", key="retry")


def _reason(error: Exception) -> str:
    """A sentence without data of spans: only errors written for people are quoted."""
    if type(error).__module__.startswith("spanfold."):
        return f"{str(error).rstrip('.')}."
    return "Something failed while it was put together."


def stale_banner(behind_seconds: float) -> None:
    """What is shown is older than what was received."""
    component("notice")(
        data={
            "tone": "warn",
            "text": f"Not up to date: data accepted {formatting.age(behind_seconds)} ago is not on screen yet. "
            "`spanfold status` says which part is behind.",
        },
        key="stale",
    )
