"""Deciding on many traces at once: the bar above the table, one question before a large act, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from spanfold.analytics.filters import Filters
from spanfold.dashboard import answers, decisions, formatting
from spanfold.dashboard.backend import backend
from spanfold.state.access import REVIEW
from spanfold.state.reviews import Decision, RevisionConflict
from spanfold.state.targets import Target

Row = Mapping[str, Any]
MOST_PICKED = 10_000
ASKED_ABOVE = 50  # picks: more than that, or everything there is, is asked about once
ICONS = {"approved": "check", "flagged": "flag", "rejected": "close"}


@dataclass(frozen=True, slots=True)
class Pick:
    """A picked trace, and the revision of its review when it was picked."""

    target: Target
    revision: int


class Picks:
    """The picks of a session on all pages of one table, and what is done with them."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._slot: dict[str, Any] = st.session_state.setdefault(
            f"bulk-{key}", {"stamp": 0, "asked": None, "all": False, "comment": ""}
        )
        self.chosen: dict[str, Pick] = self._slot.setdefault("picks", {})

    @property
    def stamp(self) -> int:
        """Rises whenever the server changes the picks: what a browser says about older ones no longer counts."""
        return int(self._slot["stamp"])

    @property
    def asked(self) -> str | None:
        """The state that waits for a yes."""
        return self._slot["asked"] if self.chosen else None

    def remember(self, page: Mapping[str, Pick], picked: Sequence[str]) -> None:
        """Picks of other pages stay; those of this page are what the grid says."""
        for trace_id, pick in page.items():
            if trace_id in picked:
                self.chosen.setdefault(trace_id, pick)
            else:
                self.chosen.pop(trace_id, None)

    def told(self, page: Mapping[str, Pick]) -> None:
        """What a key did in the grid, whose rows are `page`; a callback of its `act` value."""
        act = st.session_state[self.key].get("act")
        if not act or act["stamp"] != self.stamp:
            return
        if act["do"] == "undo":
            self.undo()
        elif act["do"] == "drop":
            self.drop()
        elif act["do"] == "store":
            self.store()
        else:
            self.remember(page, act["ids"])
            self.decide(act["do"])

    def decide(self, state: str) -> None:
        """Stores it, or asks first."""
        if state not in ICONS or not self.chosen:
            return
        self._slot.update(asked=state, comment=st.session_state.get("bulk-comment", ""))
        if len(self.chosen) > ASKED_ABOVE or self._slot["all"]:
            st.toast(f"{self._question()} Enter stores it, Esc does not.", icon=":material/help:")
        else:
            self.store()

    def store(self) -> None:
        if not self.asked:
            return
        state, seen = self.asked, {pick.target: pick.revision for pick in self.chosen.values()}
        last, me = decisions.last_act(self.key), backend().reviewer

        def done(decision: Decision) -> None:
            last["last"] = decisions.Stored(decision.batch_id, state, len(seen))
            self.clear()

        try:
            if decisions.decide_all(seen, state, self._slot["comment"], expected=seen, done=done):
                st.session_state["bulk-comment"] = ""
            else:
                self.drop()
        except RevisionConflict as conflict:
            newer = {review.target: review.revision for review in conflict.current}
            for trace_id, pick in self.chosen.items():
                self.chosen[trace_id] = Pick(pick.target, newer.get(pick.target, pick.revision))
            others = sorted({review.who for review in conflict.current if review.who and review.who != me})
            if not others:  # what one decided or took back oneself since picking is no news
                self.store()
                return
            self.drop()
            many = f"{', '.join(others)} decided {len(newer):,} of these {formatting.plural(len(seen), 'trace')}"
            st.toast(
                f"Nothing was stored: {many} in the meantime. Decide again to replace that.",
                icon=":material/error:",
            )

    def drop(self) -> None:
        """Back to the choices, with the comment: Streamlit forgets a field that was not drawn."""
        self._slot["asked"] = None
        st.session_state["bulk-comment"] = self._slot["comment"]

    def undo(self) -> None:
        decisions.take_back(self.key)

    def clear(self) -> None:
        self.chosen.clear()
        self._slot.update(stamp=self.stamp + 1, asked=None, all=False)

    def pick_all(self, filters: Filters) -> None:
        """Everything that the filters keep, newest first, up to MOST_PICKED."""
        rows = answers.rows("trace_ids", filters, limit=MOST_PICKED)
        targets = {row["trace_id"]: Target.trace(row["trace_id"], tenant=row["tenant"]) for row in rows}
        live = decisions.live(targets.values())
        for name, target in targets.items():
            self.chosen.setdefault(name, Pick(target, live[target].revision))
        self._slot.update(stamp=self.stamp + 1, all=True)

    def draw(self, filters: Filters, total: int) -> None:
        """The bar."""
        if not backend().may(REVIEW):
            return
        if self.asked:
            self._ask()
        elif self.chosen:
            self._choices(filters, total)
        stored = decisions.last_act(self.key).get("last")
        if stored:
            st.text(f"{formatting.plural(stored.traces, 'trace')} {stored.state}", width="content")
            st.button("Undo", icon=":material/undo:", key="bulk-undo", help="u", on_click=self.undo)
        if not self.chosen:
            st.caption(
                "Pick rows to approve, flag or reject them together. j k move, x picks, a f r decide, u undoes, "
                "Enter opens.",
                width="content",
            )

    def _question(self) -> str:
        verb = decisions.VERBS[self._slot["asked"]]
        return f"{verb} {formatting.plural(len(self.chosen), 'trace')} at once?"

    def _ask(self) -> None:
        state = str(self.asked)
        with st.container(horizontal=True, vertical_alignment="center", width="content", key="bulk-question"):
            st.markdown(f"**{self._question()}**", width="content")
            st.button("Cancel", key="bulk-drop", on_click=self.drop)  # first: where a second click of a pair may land
            st.button(
                f"{decisions.VERBS[state]} {len(self.chosen):,}", icon=f":material/{ICONS[state]}:", key="bulk-store",
                type="primary", on_click=self.store,
            )  # fmt: skip
            st.caption("Enter stores it, Esc does not.", width="content")

    def _choices(self, filters: Filters, total: int) -> None:
        st.markdown(f"**{len(self.chosen):,} picked**", width="content")
        for state, icon in ICONS.items():
            st.button(
                decisions.VERBS[state],
                icon=f":material/{icon}:",
                key=f"bulk-{state}",
                on_click=self.decide,
                args=(state,),
            )
        st.text_input(
            "Comment",
            key="bulk-comment",
            placeholder="Comment for all of them",
            label_visibility="collapsed",
            width=260,
        )
        if total > len(self.chosen):
            most = min(total, MOST_PICKED)
            st.button(f"Pick all {most:,}", key="pick-all", type="tertiary", on_click=self.pick_all, args=(filters,))
        st.button("Clear picks", key="pick-none", type="tertiary", on_click=self.clear)
