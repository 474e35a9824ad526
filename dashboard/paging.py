"""Pages by key: a page begins below the last row of the one before, so the thousandth costs what the first does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from spanfold.analytics.filters import Filters
from spanfold.dashboard import filter_bar, grids

Key = tuple[dt.datetime | None, str | None]


class Pager:
    """The way walked so far: keys of the pages up to this one. Another filter or range starts at the first."""

    def __init__(self, name: str, filters: Filters) -> None:
        self._slot = f"pages-{name}"
        belongs_to = (st.session_state.get("range"), st.session_state.get("from"), st.session_state.get("to"),
                      tuple(filter_bar.active()))  # fmt: skip
        walked = st.session_state.get(self._slot)
        if walked is None or walked[0] != belongs_to:
            walked = (belongs_to, [(None, None)])
            st.session_state[self._slot] = walked
        self._keys: list[Key] = walked[1]

    @property
    def key(self) -> Key:
        return self._keys[-1]

    @property
    def number(self) -> int:
        return len(self._keys)

    def draw(self, rows: Sequence[Mapping[str, Any]], total: int, *, time: str, ident: str) -> None:
        """Where we are, and the two buttons. `time` and `ident` name the columns of a row that make its key."""
        first = (self.number - 1) * grids.PAGE + 1
        st.caption(f"{first:,}–{first + len(rows) - 1:,} of {total:,}", width="content")
        st.button("Newer", icon=":material/chevron_left:", key=f"{self._slot}-newer", disabled=self.number == 1,
                  on_click=lambda: self._keys.pop())  # fmt: skip
        last = (rows[-1][time], rows[-1][ident]) if rows else self.key
        st.button("Older", icon=":material/chevron_right:", icon_position="right", key=f"{self._slot}-older",
                  disabled=len(rows) < grids.PAGE, on_click=lambda: self._keys.append(last))  # fmt: skip
