"""The few rules that the theme options cannot say. Our own text only: nothing of a span ever comes near this."""

from __future__ import annotations

import streamlit as st

_CSS = """
<style>
[data-testid=stMainBlockContainer] { padding-left: 2rem; padding-right: 2rem; max-width: 1760px; }
[data-testid=stSidebar] { min-width: 212px; max-width: 232px; }
[data-testid=stHeader] { height: 0; min-height: 0; background: transparent; }
[data-testid=stCaptionContainer] p { color: color-mix(in srgb, currentColor 78%, transparent); }
[data-testid=stHeading] h1 { padding: 0; } [data-testid=stHeading] h2 { padding: 0.4rem 0 0; }
.st-key-freshness p { font-variant-numeric: tabular-nums; white-space: nowrap; }
.st-key-filter-bar [data-testid=stPopoverButton] { min-height: 2.35rem; }
[class*=st-key-sql-] button { color: color-mix(in srgb, currentColor 72%, transparent); }
</style>
"""


def apply() -> None:
    """Once a run, before anything else is drawn."""
    st.html(_CSS)
