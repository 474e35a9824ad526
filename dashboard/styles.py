"""The few rules that the theme options cannot say. Our own text only: nothing of a span ever comes near this."""

from __future__ import annotations

import streamlit as st

_CSS = """
<style>
[data-testid=stMainBlockContainer] { padding: 1.1rem 2rem 3rem; max-width: 1760px; }
[data-testid=stSidebar] { min-width: 212px; max-width: 232px; }
[data-testid=stHeader] { background: transparent; }
[data-testid=stHeader], [data-testid=stHeader] * { pointer-events: none; }
[data-testid=stHeader] button, [data-testid=stHeader] button * { pointer-events: auto; }
.st-key-filter-bar, .st-key-crumbs { padding-right: 1.8rem; }
[data-testid=stColumn]:has(> * .st-key-trace-spans-side) { align-self: flex-start; position: sticky; top: 1rem; }
[data-testid=stSidebarUserContent] { padding-top: 0.5rem; }
[class*=st-key-keys-], [class*=st-key-address-], .st-key-visit, .st-key-end {
  position: absolute; width: 0; height: 0; overflow: hidden; }
[data-testid=stMain] [data-testid=stCaptionContainer] p { color: inherit; opacity: 1; }
.st-key-sign-out a, .st-key-refused a { color: inherit; }
.st-key-no-trace, .st-key-no-conversation, .st-key-refused { margin-top: 1.5rem; }
[data-testid=stHeading] h1 { padding: 0; } [data-testid=stHeading] h2 { padding: 0.4rem 0 0; }
.st-key-freshness p { font-variant-numeric: tabular-nums; white-space: nowrap; }
.st-key-filter-bar [data-testid=stPopoverButton] { min-height: 2.35rem; }
[class*=st-key-top-trace_detail],
[class*=st-key-top-conversation]:not([class*=st-key-top-conversations]) { display: none; }
[class*=st-key-empty-] h2, .st-key-failed h2 { padding: 0.2rem 0 0.4rem; }
[class*=st-key-sql-] button { color: color-mix(in srgb, currentColor 72%, transparent); }
</style>
"""


def apply() -> None:
    """Once a run, before anything else is drawn."""
    st.html(_CSS)
