"""Decisions: one transaction with their trail, conflicts seen, undone, never doubled."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanfold.state.comments import CommentSealer
from spanfold.state.errors import CommentDamaged, CommentsLocked, Invalid, NotFound
from spanfold.state.reviews import Review, RevisionConflict
from spanfold.state.store import StateStore
from spanfold.state.tables import STATES, review_events
from spanfold.state.targets import Target

TRACE = Target.trace("a" * 32)
SPAN = Target.span("a" * 32, "b" * 16)
MESSAGE = Target.message("c" * 32)


def test_first_decision_leaves_unreviewed(store: StateStore, clock: Callable[[], dt.datetime]) -> None:
    """A target starts unreviewed and takes the state that a reviewer gives it (TB-050)."""
    assert store.reviews.get([SPAN]) == {SPAN: Review(SPAN, "unreviewed", 0)}
    decision = store.reviews.decide([SPAN], "approved", who="ann")
    assert decision.reviews == (Review(SPAN, "approved", 1, clock(), "ann"),)
    assert store.reviews.get([SPAN, TRACE]) == {SPAN: decision.reviews[0], TRACE: Review(TRACE)}


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_any_transition(store: StateStore, before: str, after: str) -> None:
    """Every state can be changed to every state, and each change is a line of the trail (TB-050, TB-051)."""
    store.reviews.decide([MESSAGE], before, who="ann")
    store.reviews.decide([MESSAGE], after, who="bob")
    events = store.reviews.history(MESSAGE)
    assert [(e.from_state, e.to_state, e.who, e.revision) for e in events] == [
        ("unreviewed", before, "ann", 1),
        (before, after, "bob", 2),
    ]


def test_trail_says_who_when_from_to_and_why(store: StateStore, clock: Callable[[], dt.datetime]) -> None:
    """Each decision is kept with person, time, both states and its comment (TB-051)."""
    store.reviews.decide([SPAN], "flagged", who="ann", comment="Wrong currency – see ¶ 2", batch_id="b1")
    (event,) = store.reviews.history(SPAN)
    assert (event.target, event.decided_at, event.who) == (SPAN, clock(), "ann")
    assert (event.from_state, event.to_state, event.batch_id) == ("unreviewed", "flagged", "b1")
    assert (event.comment, event.has_comment, event.undo_of) == ("Wrong currency – see ¶ 2", True, None)


def test_comment_is_stored_encrypted(url: str, key_of: Callable[[str], bytes]) -> None:
    """Neither the database nor a reader without the key sees a comment's words (TB-052)."""
    with StateStore(url, sealer=CommentSealer(key_of)) as store:
        store.reviews.decide([SPAN], "rejected", who="ann", comment="canary-7731")
        with store._database.read() as connection:
            stored = connection.execute(sa.select(review_events.c.comment)).scalar_one()
        assert b"canary" not in bytes(stored)
    with StateStore(url) as locked:
        (event,) = locked.reviews.history(SPAN)
        assert (event.comment, event.has_comment) == (None, True)
        with pytest.raises(CommentsLocked):
            locked.reviews.decide([SPAN], "approved", who="ann", comment="no key")
        assert locked.reviews.get([SPAN])[SPAN].state == "rejected"


def test_sealed_comment_opens_only_where_it_was_written(key_of: Callable[[str], bytes]) -> None:
    """A sealed comment does not open under another tenant, another act, another key, or changed."""
    sealer = CommentSealer(key_of)
    sealed = sealer.seal("t1", "act", "words")
    assert sealer.open("t1", "act", sealed) == "words"
    wrong = [("t2", "act", sealed), ("t1", "other", sealed), ("t1", "act", sealed[:-1] + bytes([sealed[-1] ^ 1]))]
    for tenant, act, data in [*wrong, ("t1", "act", b"\x07" + sealed[1:]), ("t1", "act", b"")]:
        with pytest.raises(CommentDamaged):
            sealer.open(tenant, act, data)


def test_bulk_decision_is_one_act(store: StateStore) -> None:
    """Many targets get one state in one transaction, each with a line of the trail (TB-061)."""
    targets = [Target.span(f"{i:032x}", f"{i:016x}") for i in range(1, 1202)]
    decision = store.reviews.decide([*targets, targets[0]], "approved", who="ann", comment="clean")
    assert len(decision.reviews) == 1201
    assert store.reviews.counts() == {"unreviewed": 0, "approved": 1201, "flagged": 0, "rejected": 0}
    events = store.reviews.events(limit=5000)
    assert {e.batch_id for e in events} == {decision.batch_id}
    assert {e.target for e in events} == set(targets)
    assert {e.comment for e in events} == {"clean"}


def test_stale_revision_is_refused_whole(store: StateStore) -> None:
    """A reviewer who saw an older revision is shown the newer decision; no target of the act changes."""
    store.reviews.decide([SPAN], "approved", who="ann", expected=0)
    with pytest.raises(RevisionConflict) as conflict:
        store.reviews.decide([SPAN, TRACE], "rejected", who="bob", expected={SPAN: 0, TRACE: 0})
    assert [(r.target, r.state, r.who) for r in conflict.value.current] == [(SPAN, "approved", "ann")]
    assert store.reviews.get([TRACE])[TRACE] == Review(TRACE)
    assert store.reviews.decide([SPAN], "rejected", who="bob", expected=1).reviews[0].revision == 2


def test_repeated_act_changes_nothing(store: StateStore) -> None:
    """A screen may send an act again after a lost answer: it is stored once and answered as it stands."""
    first = store.reviews.decide([SPAN], "approved", who="ann", batch_id="act-1", expected=0)
    again = store.reviews.decide([SPAN], "approved", who="ann", batch_id="act-1", expected=0)
    assert (again.repeated, again.reviews) == (True, first.reviews)
    assert len(store.reviews.history(SPAN)) == 1


def test_undo_takes_back_the_whole_act(store: StateStore) -> None:
    """Undo gives each target the state it had before the act, as new lines of the trail; undoing the undo redoes."""
    store.reviews.decide([TRACE], "flagged", who="ann")
    act = store.reviews.decide([TRACE, SPAN], "approved", who="ann")
    undone = store.reviews.undo(act.batch_id, who="ann")
    assert {r.target: (r.state, r.revision) for r in undone.reviews} == {
        TRACE: ("flagged", 3),
        SPAN: ("unreviewed", 2),
    }
    events = store.reviews.events()
    assert [e.undo_of for e in events] == [None, None, None, events[1].seq, events[2].seq]
    redone = store.reviews.undo(undone.batch_id, who="ann")
    assert {r.target: r.state for r in redone.reviews} == {TRACE: "approved", SPAN: "approved"}


def test_undo_is_refused_after_a_newer_decision(store: StateStore) -> None:
    """Undo never overwrites what somebody decided later, and not twice; an unknown act is named."""
    act = store.reviews.decide([TRACE, SPAN], "approved", who="ann")
    store.reviews.decide([SPAN], "rejected", who="bob")
    with pytest.raises(RevisionConflict) as conflict:
        store.reviews.undo(act.batch_id, who="ann")
    assert [r.who for r in conflict.value.current] == ["bob"]
    assert store.reviews.get([TRACE])[TRACE].state == "approved"
    with pytest.raises(NotFound, match="no decision 'nothing'"):
        store.reviews.undo("nothing", who="ann")


def test_repeated_undo_changes_nothing(store: StateStore) -> None:
    """An undo that is sent twice under one name is stored once."""
    act = store.reviews.decide([SPAN], "approved", who="ann")
    first = store.reviews.undo(act.batch_id, who="ann", as_batch="u1")
    again = store.reviews.undo(act.batch_id, who="ann", as_batch="u1")
    assert (again.repeated, again.reviews) == (True, first.reviews)
    assert len(store.reviews.history(SPAN)) == 2


@pytest.mark.parametrize("statement", [
    "DELETE FROM review_events",
    "UPDATE review_events SET who = 'nobody'",
    "UPDATE review_events SET comment = 'forged'",
    "DELETE FROM settings_audit",
    "UPDATE settings_audit SET became = NULL",
])  # fmt: skip
def test_trails_are_append_only(store: StateStore, statement: str) -> None:
    """The database itself refuses to change or drop a line of the trails (TB-051)."""
    store.reviews.decide([SPAN], "approved", who="ann", comment="kept")
    store.keys.add("prod", who="ann")
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), store._database.write() as connection:
        connection.exec_driver_sql(statement)
    assert [e.comment for e in store.reviews.history(SPAN)] == ["kept"]


def test_comment_can_be_erased(store: StateStore) -> None:
    """Erasure may empty a comment and nothing else of its line."""
    store.reviews.decide([SPAN], "approved", who="ann", comment="about jane")
    with store._database.write() as connection:
        connection.execute(sa.update(review_events).values(comment=None))
    assert [(e.comment, e.has_comment, e.who) for e in store.reviews.history(SPAN)] == [(None, False, "ann")]


def test_twelve_writers_lose_no_decision(store: StateStore) -> None:
    """Decisions made at once are all stored: the revision counts them, and overlapping acts do not deadlock."""
    targets = [Target.span("d" * 32, f"{i:016x}") for i in range(1, 6)]
    errors: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for turn in range(5):
                store.reviews.decide(targets[:: 1 if n % 2 else -1], STATES[1 + turn % 3], who=f"r{n}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {r.revision for r in store.reviews.get(targets).values()} == {60}
    for target in targets:
        events = store.reviews.history(target)
        assert [e.revision for e in events] == list(range(1, 61))
        assert all(a.to_state == b.from_state for a, b in itertools.pairwise(events))


def test_one_of_two_simultaneous_reviewers_wins(store: StateStore) -> None:
    """Of two reviewers who both saw revision 0, exactly one decides and the other is told."""
    outcomes: list[str] = []
    start = threading.Barrier(2)

    def work(who: str) -> None:
        start.wait()
        try:
            store.reviews.decide([SPAN], "approved", who=who, expected=0)
            outcomes.append("stored")
        except RevisionConflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=work, args=(who,)) for who in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "stored"]


def test_lists_follow_tenant_kind_and_state(store: StateStore, clock: Any) -> None:
    """The lists of one tenant never show another's targets; the latest decision comes first."""
    other = replace(SPAN, tenant="acme")
    for target, state in ((TRACE, "flagged"), (SPAN, "approved"), (other, "flagged")):
        clock.forward(seconds=1)
        store.reviews.decide([target], state, who="ann")
    assert [r.target for r in store.reviews.decided()] == [other, SPAN, TRACE]
    assert [r.target for r in store.reviews.decided(tenant="default")] == [SPAN, TRACE]
    assert [r.target for r in store.reviews.decided(tenant="default", states=["flagged"])] == [TRACE]
    assert [r.target for r in store.reviews.decided(kind="span", limit=1, offset=1)] == [SPAN]
    assert store.reviews.counts(tenant="acme")["flagged"] == 1
    assert [e.target for e in store.reviews.events(tenant="acme")] == [other]
    assert store.reviews.last_event() == store.reviews.events()[-1].seq


@pytest.mark.parametrize("wrong", [
    ("", "span", "a" * 32, "b" * 16, ""), ("t", "span", "a" * 32, "", ""), ("t", "trace", "a" * 32, "b" * 16, ""),
    ("t", "message", "a" * 32, "", ""), ("t", "chat", "a" * 32, "", ""), ("t", "trace", "A" * 32, "", ""),
    ("t", "trace", "a" * 33, "", ""), ("t", "trace", "x'; DROP TABLE reviews", "", ""), ("t", "trace", "ab\n", "", ""),
])  # fmt: skip
def test_wrong_targets_are_refused(wrong: tuple[str, ...]) -> None:
    """A target is a trace, a span or a message with ids in lower-case hex."""
    with pytest.raises(Invalid):
        Target(*wrong)


def test_wrong_decisions_are_refused(store: StateStore) -> None:
    """An unknown state, no target and no name are refused before anything is stored."""
    for targets, state, who in (([SPAN], "seen", "ann"), ([], "approved", "ann"), ([SPAN], "approved", "")):
        with pytest.raises(Invalid):
            store.reviews.decide(targets, state, who=who)
    assert store.reviews.decided() == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=st.lists(st.tuples(st.sets(st.integers(1, 4), min_size=1), st.sampled_from(STATES), st.booleans()), max_size=6)
)
def test_replaying_the_trail_gives_the_states(store: StateStore, acts: list[tuple[set[int], str, bool]]) -> None:
    """Whatever is decided and undone, the trail alone rebuilds every review (state, revision, person)."""
    for numbers, state, take_back in acts:
        act = store.reviews.decide([Target.trace(f"{n:032x}") for n in numbers], state, who="ann")
        if take_back:
            store.reviews.undo(act.batch_id, who="bob")
    replayed: dict[Target, Review] = {}
    for event in store.reviews.events(limit=100_000):
        before = replayed.get(event.target, Review(event.target))
        assert (event.from_state, event.revision) == (before.state, before.revision + 1)
        replayed[event.target] = Review(event.target, event.to_state, event.revision, event.decided_at, event.who)
    assert replayed == {r.target: r for r in store.reviews.decided(limit=1000)}
