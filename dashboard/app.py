"""The entry script: a router under one filter bar. Streamlit runs it for every session and every rerun."""

from __future__ import annotations

import time

import streamlit as st

from spanfold.dashboard import answers, filter_bar, links, shell, states, styles
from spanfold.dashboard.backend import backend
from spanfold.state.access import AccessRefused

started = time.monotonic()
st.set_page_config(page_title="Spanfold", page_icon=str(shell.ICON), layout="wide")
styles.apply()
try:
    backend()
except AccessRefused as error:
    states.refused(error)
    st.stop()
page = shell.navigation()
name = shell.page_name(page)


def framed() -> None:
    """Bar and page; before the first span only where to send it. Access needs no spans."""
    if name == "access":
        page.run()
        return
    if not answers.anything():
        shell.freshness(name)
        states.nothing_received()
        return
    with st.container(key=f"top-{name}"):
        filter_bar.draw(answers.filter_values(), beside=lambda: shell.freshness(name))
    links.address("filters", filter_bar.in_force(), step=True)
    shell.stale()
    page.run()


shell.sidebar(name)
states.guarded(framed)
shell.keys(name)
shell.finished(started)
