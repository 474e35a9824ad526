"""Decisions of a session: shown at once by laying the live review state over what a snapshot says; stored once each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from spanfold.dashboard import formatting
from spanfold.dashboard.backend import backend
from spanfold.state.access import REVIEW
from spanfold.state.errors import NotFound, StateError
from spanfold.state.reviews import Decision, Review, RevisionConflict
from spanfold.state.targets import Target

log = logging.getLogger(__name__)
_FAILURES = (StateError, SQLAlchemyError)
ONLY_LOOKING = "You may look here, but not decide: that needs the role review."
VERBS = {"approved": "Approve", "flagged": "Flag", "rejected": "Reject", "unreviewed": "Reopen"}


def live(targets: Iterable[Target]) -> dict[Target, Review]:
    """How these stand now, decisions of a moment ago included."""
    return backend().tenant_state.reviews.get(targets)


@dataclass(frozen=True, slots=True)
class Stored:
    """The act that a screen stored last, for who wants it back."""

    act: str
    state: str
    traces: int


def decide_all(
    targets: Iterable[Target],
    state: str,
    comment: str = "",
    *,
    expected: Mapping[Target, int] | None = None,
    done: Callable[[Decision], None] = lambda decision: None,
) -> Decision | None:
    """One act on many targets: one transaction, a line of the trail for each. None: not stored, and that is said.

    `done` runs before anything that Streamlit may interrupt, as it does at any of its calls when the next key comes.
    Raises RevisionConflict, with nothing stored, where a review is no longer as `expected`.
    """
    wanted = list(targets)
    if not _may_decide(wanted):
        st.toast(f"Not saved: {ONLY_LOOKING}", icon=":material/lock:")
        return None
    house = backend()
    try:
        decision = house.deciding.decide(
            wanted, state, who=house.reviewer, comment=comment.strip() or None, expected=expected
        )
    except RevisionConflict:
        raise
    except _FAILURES as error:
        log.error("decision not stored", exc_info=error)
        st.toast("Not saved: the review store did not answer. Nothing was changed.", icon=":material/error:")
        return None
    done(decision)
    st.toast(f"{state.capitalize()}: {formatting.plural(len(wanted), 'trace')}")
    return decision


def last_act(key: str) -> dict[str, Stored]:
    """Under "last": what was stored last from this screen and not taken back. Fetch it before the act."""
    found: dict[str, Stored] = st.session_state.setdefault(f"stored-{key}", {})
    return found


def take_back(key: str) -> None:
    """Undoes what was stored last from this screen: all of that act or, where somebody decided again since, nothing."""
    slot, house = last_act(key), backend()
    last = slot.get("last")
    if last is None:
        return
    if not _may_decide(()):
        st.toast(f"Not taken back: {ONLY_LOOKING}", icon=":material/lock:")
        return
    try:
        house.deciding.undo(last.act, who=house.reviewer)
        del slot["last"]
    except RevisionConflict as conflict:
        again = f"{len(conflict.current):,} of {formatting.plural(last.traces, 'trace')}"
        st.toast(f"Not taken back: {again} got another decision since.", icon=":material/error:")
        return
    except _FAILURES as error:
        log.error("decision not taken back", exc_info=error)
        st.toast("Not taken back: the review store did not answer. Nothing was changed.", icon=":material/error:")
        return
    st.toast(f"Taken back: {formatting.plural(last.traces, 'trace')} as before", icon=":material/undo:")


def store_log(key: str, targets: Mapping[str, Target]) -> None:
    """Stores what a component's log holds beyond the last acknowledged entry; a callback of its `log` value.

    Each entry is one act whose name is made of the log's name and its number, so that an entry that comes twice is
    stored once. Without an acknowledgement the browser keeps it and sends it again.
    """
    told = st.session_state[key].get("log")
    if not told:
        return
    done = st.session_state.setdefault(f"acked-{key}", {})
    if done.get("run") != told["run"]:
        done.update(run=told["run"], seq=0)
    st.session_state[f"problem-{key}"] = None
    for entry in told["entries"]:
        if entry["seq"] <= done["seq"]:
            continue
        ids = entry.get("ids") or ([entry["id"]] if "id" in entry else [])
        if not _may_decide(targets[name] for name in ids if name in targets):
            clashes(key).update(dict.fromkeys(ids, ONLY_LOOKING))
            done["seq"] = entry["seq"]
            continue
        try:
            _store(key, told["run"], entry, targets)
        except _FAILURES as error:
            log.error("decision not stored", exc_info=error)
            st.session_state[f"problem-{key}"] = "Not saved: the review store did not answer. It is tried again."
            return
        done["seq"] = entry["seq"]


def only_looking() -> None:
    """Instead of what decides."""
    with st.container(border=True, key="only-looking"):
        st.text(ONLY_LOOKING)


def _may_decide(targets: Iterable[Target]) -> bool:
    """Asked for every decision, whatever the page offered. An undo names no target: its tenants are checked where the
    act is looked up."""
    house = backend()
    tenants = {target.tenant for target in targets}
    return all(house.may(REVIEW, tenant) for tenant in tenants) if tenants else house.may(REVIEW)


def acked(key: str) -> Mapping[str, Any] | None:
    """What the component may forget."""
    found: Mapping[str, Any] | None = st.session_state.get(f"acked-{key}")
    return dict(found) if found else None


def problem(key: str) -> str | None:
    found: str | None = st.session_state.get(f"problem-{key}")
    return found


def clashes(key: str) -> dict[str, str]:
    """Item -> what somebody else decided in the meantime."""
    found: dict[str, str] = st.session_state.setdefault(f"clashes-{key}", {})
    return found


def _store(key: str, run: str, entry: Mapping[str, Any], targets: Mapping[str, Target]) -> None:
    house = backend()
    reviews, who = house.deciding, house.reviewer
    act = f"{run}-{int(entry['seq'])}"
    try:
        if "undo" in entry:
            undone = f"{run}-{int(entry['undo'])}"
            reviews.undo(undone, who=who, as_batch=act)
            if (last := last_act(key).get("last")) and last.act == undone:
                del last_act(key)["last"]
            return
        ids = entry.get("ids") or [entry["id"]]
        known = [name for name in ids if name in targets]
        seen = entry.get("revisions") or [entry.get("revision")] * len(ids)
        expected = {
            targets[name]: revision
            for name, revision in zip(ids, seen, strict=True)
            if name in targets and revision is not None
        }
        reviews.decide(
            [targets[name] for name in known],
            entry["state"],
            who=who,
            comment=entry.get("comment"),
            expected=expected,
            batch_id=act,
        )
        last_act(key)["last"] = Stored(act, entry["state"], len(known))
        for name in known:
            clashes(key).pop(name, None)
    except RevisionConflict as conflict:
        by_target = {target: name for name, target in targets.items()}
        for review in conflict.current:
            name = by_target.get(review.target)
            if name:
                clashes(key)[name] = (
                    f"{review.who} decided “{review.state}” in the meantime. "
                    "Yours was not stored: decide again to replace it."
                )
    except NotFound:
        return  # the act it takes back was refused as a conflict
