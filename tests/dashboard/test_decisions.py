"""Decisions that a component keeps until the server has them: each stored once, in order, conflicts shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlalchemy.exc import OperationalError

from spanfold.dashboard import backend, decisions
from spanfold.dashboard.backend import Backend
from spanfold.state.errors import StateError
from spanfold.state.reviews import Reviews
from spanfold.state.store import StateStore
from spanfold.state.targets import Target

TARGETS = {name: Target.trace(name * 32) for name in "abc"}
RUN = "f" * 24


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """A backend with an empty control plane, and a session to remember in."""
    state = StateStore.open(tmp_path)
    made = Backend(
        data=tmp_path, reader=None, state=state, reviewer="ann", listening=lambda: ("", ""), status=dict,  # type: ignore[arg-type]
        now=lambda: dt.datetime(2025, 11, 20),
    )  # fmt: skip
    backend.install(made)
    monkeypatch.setattr(st, "session_state", {})
    yield made
    state.close()


def send(*entries: dict[str, Any], run: str = RUN) -> None:
    st.session_state["deck"] = {"log": {"run": run, "entries": list(entries)}}
    decisions.store_log("deck", TARGETS)


def states(house: Backend) -> dict[str, str]:
    found = house.state.reviews.get(TARGETS.values())
    return {name: found[target].state for name, target in TARGETS.items()}


def test_entries_are_stored_once(house: Backend) -> None:
    """The same log sent again, as after a lost answer, adds nothing."""
    entries = [
        {"seq": 1, "id": "a", "state": "approved", "revision": 0},
        {"seq": 2, "id": "b", "state": "flagged", "revision": 0},
    ]
    send(*entries)
    send(*entries)
    assert states(house) == {"a": "approved", "b": "flagged", "c": "unreviewed"}
    assert decisions.acked("deck") == {"run": RUN, "seq": 2}
    assert house.state.reviews.last_event() == 2


def test_a_new_session_does_not_store_again(house: Backend) -> None:
    """The server forgets the session, the browser still has the entry: it is one act in the trail."""
    send({"seq": 1, "id": "a", "state": "approved", "revision": 0})
    st.session_state.clear()
    send({"seq": 1, "id": "a", "state": "approved", "revision": 0})
    assert house.state.reviews.last_event() == 1


def test_undo_takes_back_its_act(house: Backend) -> None:
    """Undo names the act by its number; the trail keeps both."""
    send({"seq": 1, "id": "a", "state": "rejected", "revision": 0}, {"seq": 2, "id": "a", "undo": 1})
    assert states(house)["a"] == "unreviewed"
    assert [(e.to_state, e.undo_of) for e in house.state.reviews.history(TARGETS["a"])] == [
        ("rejected", None),
        ("unreviewed", 1),
    ]


def test_many_rows_are_one_act(house: Backend) -> None:
    """A bulk decision is one act with a line for each row."""
    send({"seq": 1, "ids": ["a", "b"], "state": "approved", "revisions": [0, 0]})
    first, second = house.state.reviews.events()
    assert first.batch_id == second.batch_id == f"{RUN}-1"


def test_somebody_was_faster(house: Backend) -> None:
    """A decision on what somebody else has decided meanwhile is not stored; the item says so, the next ones are."""
    house.state.reviews.decide([TARGETS["a"]], "flagged", who="bob")
    send(
        {"seq": 1, "id": "a", "state": "approved", "revision": 0},
        {"seq": 2, "id": "b", "state": "approved", "revision": 0},
    )
    assert states(house) == {"a": "flagged", "b": "approved", "c": "unreviewed"}
    assert decisions.clashes("deck")["a"].startswith("bob decided “flagged” in the meantime")
    send({"seq": 3, "id": "a", "state": "approved", "revision": 1})
    assert states(house)["a"] == "approved"
    assert not decisions.clashes("deck")


def test_undo_of_a_refused_act_is_nothing(house: Backend) -> None:
    """Taking back what was never stored neither fails nor stops the log."""
    house.state.reviews.decide([TARGETS["a"]], "flagged", who="bob")
    send(
        {"seq": 1, "id": "a", "state": "approved", "revision": 0},
        {"seq": 2, "id": "a", "undo": 1},
        {"seq": 3, "id": "b", "state": "approved"},
    )
    assert states(house) == {"a": "flagged", "b": "approved", "c": "unreviewed"}


def test_a_store_that_fails_is_tried_again(house: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store does not answer nothing is acknowledged, and the screen says so."""

    def broken(*_: Any, **__: Any) -> Any:
        raise StateError

    with monkeypatch.context() as patch:
        patch.setattr(Reviews, "decide", broken)
        send({"seq": 1, "id": "a", "state": "approved", "revision": 0})
    assert decisions.acked("deck") == {"run": RUN, "seq": 0}
    assert (decisions.problem("deck") or "").startswith("Not saved")
    send({"seq": 1, "id": "a", "state": "approved", "revision": 0})
    assert decisions.problem("deck") is None
    assert states(house)["a"] == "approved"


def test_a_bulk_decision_that_fails_says_so(house: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not answer costs no picks: nothing is claimed to be stored."""
    said: list[str] = []
    monkeypatch.setattr(st, "toast", lambda text, **_: said.append(text))

    def locked(*_: Any, **__: Any) -> Any:
        raise OperationalError("insert", {}, Exception("database is locked"))

    with monkeypatch.context() as patch:
        patch.setattr(Reviews, "decide", locked)
        assert not decisions.decide_all(TARGETS.values(), "approved")
    assert decisions.decide_all(TARGETS.values(), "approved")
    assert [text.split(":")[0] for text in said] == ["Not saved", "Approved"]


def test_what_is_not_on_the_page_is_not_decided(house: Backend) -> None:
    """An id that the server did not put on the page is ignored."""
    send({"seq": 1, "ids": ["a", "z"], "state": "approved", "revisions": [0, 0]})
    assert states(house)["a"] == "approved"
    assert house.state.reviews.last_event() == 1
