"""Decisions on many traces at once: said, asked about when large, taken back as one."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from spanfold.dashboard import bulk
from spanfold.dashboard.backend import Backend
from spanfold.state.reviews import ReviewEvent
from spanfold.state.targets import Target
from tests.dashboard import story
from tests.dashboard.conftest import open_page, parts, texts


def keys(app: AppTest) -> list[str]:
    return [str(button.key) for button in app.button]


def pick_all(**query: Any) -> AppTest:
    """The traces of a filter, all picked: one row first, which brings the bar."""
    app = open_page("traces", range="6h", **query)
    ids = [row["id"] for row in parts(app, "grid")[0]["rows"]]
    app.session_state["bulk-traces"]["picks"][ids[0]] = bulk.Pick(Target.trace(ids[0]), 0)
    app.run()
    return app.button(key="pick-all").click().run()


def asks(app: AppTest) -> bool:
    """Does the grid take Enter and Esc for an answer?"""
    return bool(parts(app, "grid")[0]["asking"])


def trail(house: Backend) -> list[ReviewEvent]:
    return house.state.reviews.events(limit=10_000)


def test_a_bulk_decision_is_said_and_taken_back(own_house: Backend) -> None:
    """What was stored stands in the bar, the picks are gone, and Undo is one act of further entries (TB-061)."""
    earlier = Target.trace(story.hex_trace(story.CHAT))
    own_house.state.reviews.decide([earlier], "flagged", who="bob")
    app = pick_all(service=["support"])
    app.button(key="bulk-rejected").click().run()
    app.button(key="bulk-store").click().run()
    assert "4 traces rejected" in texts(app)
    assert "pick-none" not in keys(app)
    assert parts(app, "grid")[0]["picked"] == []
    stored = trail(own_house)[1:]
    app.button(key="bulk-undo").click().run()
    undone = trail(own_house)[5:]
    assert sorted(event.undo_of or 0 for event in undone) == [event.seq for event in stored]
    assert len({event.batch_id for event in undone}) == 1
    assert own_house.state.reviews.counts() == {"unreviewed": 3, "approved": 0, "flagged": 1, "rejected": 0}
    assert "bulk-undo" not in keys(app)
    assert "rejected" not in texts(app)


@pytest.mark.parametrize("answer", ["bulk-store", "bulk-drop"])
def test_everything_is_asked_about_once(own_house: Backend, answer: str) -> None:
    """More than fifty at once is a question with its number; Cancel keeps picks and comment, nothing is stored."""
    app = pick_all(service=["shop"])
    app.text_input(key="bulk-comment").input("all of it").run()
    app.button(key="bulk-rejected").click().run()
    assert "Reject 60 traces at once?" in texts(app)
    assert asks(app)
    assert trail(own_house) == []
    app.button(key=answer).click().run()
    assert not asks(app)
    if answer == "bulk-drop":
        assert trail(own_house) == []
        assert "60 picked" in texts(app)
        assert app.text_input(key="bulk-comment").value == "all of it"
    else:
        assert {(event.to_state, event.comment) for event in trail(own_house)} == {("rejected", "all of it")}
        assert len(trail(own_house)) == 60


def test_a_few_are_not_asked_about(own_house: Backend) -> None:
    """Rows picked by hand are decided with one press."""
    app = open_page("traces", range="6h", service=["shop"])
    picked = [row["id"] for row in parts(app, "grid")[0]["rows"]][:3]
    app.session_state["bulk-traces"]["picks"].update({i: bulk.Pick(Target.trace(i), 0) for i in picked})
    app.run()
    app.button(key="bulk-approved").click().run()
    assert "3 traces approved" in texts(app)
    assert sorted(event.target.trace_id or "" for event in trail(own_house)) == sorted(picked)


def test_somebody_was_faster_than_a_bulk(own_house: Backend) -> None:
    """Nothing of the act is stored, who was faster is named, and deciding again replaces it."""
    app = pick_all(service=["support"])
    own_house.state.reviews.decide([Target.trace(story.hex_trace(story.CHAT))], "flagged", who="bob")
    app.button(key="bulk-rejected").click().run()
    app.button(key="bulk-store").click().run()
    assert app.toast[0].value.startswith("Nothing was stored: bob decided 1 of these 4 traces")
    assert [event.who for event in trail(own_house)] == ["bob"]
    app.button(key="bulk-rejected").click().run()
    app.button(key="bulk-store").click().run()
    assert len(trail(own_house)) == 5


def test_an_act_decided_on_again_is_not_taken_back(own_house: Backend) -> None:
    """Undo is all or nothing: it never replaces what somebody decided since."""
    app = pick_all(service=["support"])
    app.button(key="bulk-rejected").click().run()
    app.button(key="bulk-store").click().run()
    own_house.state.reviews.decide([Target.trace(story.hex_trace(story.CHAT))], "flagged", who="bob")
    app.button(key="bulk-undo").click().run()
    assert app.toast[0].value == "Not taken back: 1 of 4 traces got another decision since."
    assert own_house.state.reviews.counts() == {"unreviewed": 0, "approved": 0, "flagged": 1, "rejected": 3}


def test_own_decisions_since_picking_are_no_conflict(own_house: Backend) -> None:
    """What the person decided elsewhere after picking does not stop the act."""
    app = pick_all(service=["support"])
    own_house.state.reviews.decide([Target.trace(story.hex_trace(story.CHAT))], "flagged", who="tester")
    app.button(key="bulk-rejected").click().run()
    app.button(key="bulk-store").click().run()
    assert "4 traces rejected" in texts(app)
    assert own_house.state.reviews.counts()["rejected"] == 4
