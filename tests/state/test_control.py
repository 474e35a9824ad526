"""Leases, deploys, rules, prices, keys, their audit trail, and what leaves for the snapshot."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from spanfold.state.copies import COPIES
from spanfold.state.deploys import Deploy
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.price_overrides import PriceOverride
from spanfold.state.rules import RuleRow
from spanfold.state.store import StateStore
from spanfold.state.targets import Target

SPANS = [Target.span("a" * 32, f"{i:016x}") for i in range(1, 7)]
START = dt.datetime(2026, 4, 18, 12, 0, tzinfo=dt.UTC)  # where the test clock begins
AT = dt.datetime(2026, 4, 18, 14, 5, tzinfo=dt.UTC)
SHA = "3f2a9c1b7d5e8f60123456789abcdef012345678"


def test_two_reviewers_never_get_one_item(store: StateStore, clock: Any) -> None:
    """A leased item goes to nobody else for ten minutes, then it does; the holder renews it by asking again."""
    assert store.leases.take(SPANS, who="ann", limit=2) == SPANS[:2]
    assert store.leases.take(SPANS, who="bob", limit=3) == SPANS[2:5]
    assert store.leases.take(SPANS, who="ann", limit=2) == SPANS[:2]
    assert store.leases.holders(SPANS) == dict.fromkeys(SPANS[:2], "ann") | dict.fromkeys(SPANS[2:5], "bob")
    clock.forward(minutes=9)
    store.leases.take(SPANS[:1], who="ann")
    clock.forward(minutes=2)
    assert store.leases.holders(SPANS) == {SPANS[0]: "ann"}
    assert store.leases.take(SPANS, who="cy", limit=9) == SPANS[1:]
    store.leases.release("cy", SPANS[1:3])
    store.leases.release("ann")
    assert store.leases.holders(SPANS) == dict.fromkeys(SPANS[3:], "cy")


def test_leases_taken_at_once_are_disjoint(store: StateStore) -> None:
    """Six reviewers who open one queue in the same instant share it without overlap."""
    targets = [Target.trace(f"{i:032x}") for i in range(1, 61)]
    taken: dict[str, list[Target]] = {}
    start = threading.Barrier(6)

    def work(who: str) -> None:
        start.wait()
        taken[who] = store.leases.take(targets, who=who, limit=10)

    threads = [threading.Thread(target=work, args=(f"r{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [t for items in taken.values() for t in items]
    assert len(taken) == 6
    assert len(everything) == len(set(everything))


def test_deploy_added_twice_is_one(store: StateStore) -> None:
    """The same deploy again changes nothing; a corrected one replaces it; both are audited (LT-016, LT-017)."""
    deploy = Deploy(completed_at=AT, pr_number=129, title="Summaries on sonnet", commit_sha=SHA.upper(), service="web")
    assert store.deploys.add([deploy, deploy], who="ann") == 1
    assert store.deploys.add([replace(deploy, author="cy")], who="ann") == 1
    assert store.deploys.between() == [replace(deploy, author="cy")]
    assert deploy.commit_sha == SHA
    assert [(c.action, c.subject) for c in store.audit.changes("deploys")] == [
        ("correct", deploy.id),
        ("add", deploy.id),
    ]


def test_deploys_of_a_window_and_of_a_commit(store: StateStore) -> None:
    """Deploys are found by time, start included and end excluded, and by short or full commit sha (LT-023, LT-043)."""
    early = Deploy(id="1", completed_at=AT - dt.timedelta(hours=4), commit_sha="feed1234")
    cause = Deploy(id="2", completed_at=AT, commit_sha=SHA)
    other = Deploy(id="3", completed_at=AT, commit_sha=SHA, tenant="acme")
    nameless = Deploy(id="4", completed_at=AT + dt.timedelta(hours=1))
    store.deploys.add([early, cause, other, nameless], who="ann")
    assert store.deploys.between(tenant="default", since=early.completed_at, until=AT) == [early]
    assert store.deploys.by_sha(SHA[:7], tenant="default") == [cause]
    assert store.deploys.by_sha(SHA.upper()) == [cause, other]
    assert store.deploys.by_sha("feed12345678", tenant="default") == [early]  # a short sha was stored
    assert store.deploys.by_sha("0000") == []
    for wrong in ("", "abc", "%", "zzzz", "a' OR 1=1"):
        with pytest.raises(Invalid):
            store.deploys.by_sha(wrong)


def test_deploy_needs_a_zone() -> None:
    """A time without zone is refused: a day off by hours would blame the wrong deploy."""
    with pytest.raises(Invalid, match="no zone"):
        Deploy(completed_at=AT.replace(tzinfo=None))


def test_rules_are_put_replaced_and_removed(store: StateStore, clock: Any) -> None:
    """Rules are rows by name, every change is audited with what was before."""
    rule = RuleRow(name="ticket", pattern="T-[0-9]+", replacement="[TICKET]")
    assert store.rules.changed_at() is None
    store.rules.put(rule, who="ann")
    store.rules.put(replace(rule, enabled=False), who="bob")
    assert store.rules.all() == [replace(rule, enabled=False)]
    changed = clock.forward(seconds=5)
    store.rules.remove("ticket", who="cy")
    assert (store.rules.all(), store.rules.changed_at()) == ([], changed)
    trail = store.audit.changes("rules")
    assert [(c.who, c.action) for c in trail] == [("cy", "remove"), ("bob", "replace"), ("ann", "add")]
    assert (trail[1].was or {})["enabled"] is True
    assert (trail[1].became or {})["enabled"] is False
    with pytest.raises(NotFound, match="'ticket'"):
        store.rules.remove("ticket", who="cy")


@dataclass(frozen=True, slots=True)
class Rule:
    """Stands for the redactor's own rule type."""

    name: str
    pattern: str
    detector: str | None
    replacement: str
    enabled: bool


def test_rules_in_force_are_the_built_in_ones_as_edited(store: StateStore) -> None:
    """A row replaces the built-in rule of its name in its place; rows of new names follow."""
    email, card = Rule("email", "@", "mail", "[EMAIL]", True), Rule("card", "[0-9]+", "luhn", "[CARD]", True)
    store.rules.put(RuleRow(name="ticket", pattern="T-[0-9]+", replacement="[TICKET]"), who="ann")
    store.rules.put(RuleRow(name="email", pattern="@", detector="mail", replacement="[E]", enabled=False), who="ann")
    assert store.redaction_rules([email, card]) == [
        Rule("email", "@", "mail", "[E]", False),
        card,
        Rule("ticket", "T-[0-9]+", None, "[TICKET]", True),
    ]


def test_prices_are_bitemporal(store: StateStore, clock: Any) -> None:
    """A correction counts from when it is known; what was believed before can still be asked; money stays exact."""
    price = PriceOverride(provider="openai", model_pattern="gpt-*", bucket="uncached_input", price=Decimal("0.1"))
    store.prices.add([price], who="ann")
    believed = clock()
    corrected = clock.forward(days=1)
    store.prices.add([replace(price, price=Decimal("0.300000000000000001"))], who="ann")
    withdrawn = clock.forward(days=1)
    store.prices.add([replace(price, price=None)], who="ann")
    assert [o.price for o in store.prices.current(known_at=believed)] == [Decimal("0.1")]
    assert [o.price for o in store.prices.current(known_at=corrected)] == [Decimal("0.300000000000000001")]
    assert store.prices.current(known_at=withdrawn) == store.prices.current() == []
    assert [o.known_from for o in store.prices.rows()] == [believed, corrected, withdrawn]


@pytest.mark.parametrize("wrong", [
    {"price": Decimal(-1)}, {"price": Decimal("NaN")}, {"price": Decimal("Infinity")}, {"currency": "usd"},
    {"currency": "US"}, {"bucket": ""}, {"model_pattern": ""}, {"provider": ""},
])  # fmt: skip
def test_wrong_prices_are_refused(store: StateStore, wrong: dict[str, object]) -> None:
    """A bad row refuses the whole list."""
    good = PriceOverride(provider="openai", model_pattern="*", bucket="text_output", price=Decimal(1))
    with pytest.raises(Invalid):
        store.prices.add([good, replace(good, **wrong)], who="ann")  # type: ignore[arg-type]
    assert store.prices.rows() == []


def test_key_is_shown_once_and_stored_hashed(store: StateStore) -> None:
    """A key opens, its label and tenant come with it, and nothing that is stored or printed holds it (LT-034)."""
    new = store.keys.add("prod-frontend", tenant="acme", who="ann")
    found = store.keys.verify(new.secret)
    assert found == new.info
    assert (new.info.label, new.info.tenant, new.info.prefix) == ("prod-frontend", "acme", new.secret[:9])
    assert len(new.secret) == 35
    assert new.secret not in repr(new) + repr(store.keys.all()) + repr(store.audit.changes())
    for wrong in (new.secret[:-1], new.secret + "0", "", "' OR 1=1--", "\ud800", new.secret.upper()):
        assert store.keys.verify(wrong) is None


def test_revoked_key_is_closed(store: StateStore, clock: Any) -> None:
    """Revoking closes a key at once and for good; an unknown id is named with the way to find the right one."""
    new = store.keys.add("prod", who="ann")
    revoked = store.keys.revoke(new.info.id, who="bob")
    assert (revoked.revoked_at, store.keys.verify(new.secret)) == (START, None)
    clock.forward(days=1)
    assert store.keys.revoke(new.info.id, who="bob").revoked_at == START
    assert [c.action for c in store.audit.changes("keys")] == ["revoke", "add"]
    with pytest.raises(NotFound, match="spanfold keys list"):
        store.keys.revoke("k_0", who="ann")


def test_rotation_overlaps(store: StateStore, clock: Any) -> None:
    """After rotation the new key opens with the same label and tenant, the old one until the overlap ends."""
    old = store.keys.add("prod", tenant="acme", who="ann")
    new = store.keys.rotate(old.info.id, who="ann", overlap=dt.timedelta(hours=1))
    assert (new.info.label, new.info.tenant) == ("prod", "acme")
    assert store.keys.verify(old.secret) is not None
    clock.forward(minutes=60)
    assert store.keys.verify(old.secret) is None
    assert store.keys.verify(new.secret) == new.info
    assert list(store.keys.open_hashes().values()) == [new.info]
    with pytest.raises(Invalid, match="is revoked"):
        store.keys.rotate(old.info.id, who="ann")


def test_copies_are_an_allowlist(store: StateStore) -> None:
    """The snapshot gets reviews, their trail without comments, and deploys: no key, no hash, no comment."""
    secret = store.keys.add("prod", who="ann").secret
    store.reviews.decide([SPANS[0]], "flagged", who="ann", comment="canary-7731", batch_id="b1")
    store.deploys.add([Deploy(id="1", completed_at=AT, title="Release")], who="ann")
    copies = store.copies()
    assert {name: table.schema for name, table in copies.items()} == COPIES
    assert copies["reviews"].to_pylist() == [{
        "tenant": "default", "kind": "span", "trace_id": "a" * 32, "span_id": f"{1:016x}", "message_id": None,
        "state": "flagged", "revision": 1, "updated_at": START.replace(tzinfo=None), "who": "ann",
    }]  # fmt: skip
    (event,) = copies["review_events"].to_pylist()
    assert (event["from_state"], event["to_state"], event["has_comment"]) == ("unreviewed", "flagged", True)
    assert copies["deploys"].column("completed_at").to_pylist() == [AT.replace(tzinfo=None)]
    everything = repr({name: table.to_pylist() for name, table in copies.items()})
    assert "canary" not in everything
    assert secret not in everything


def test_copies_of_an_empty_store_have_all_columns(store: StateStore) -> None:
    """With nothing stored the copies are empty tables of the same shape."""
    assert {name: (table.num_rows, table.schema) for name, table in store.copies().items()} == {
        name: (0, schema) for name, schema in COPIES.items()
    }


def test_copies_are_the_same_objects_until_something_changes(store: StateStore) -> None:
    """A publisher tells by identity that nothing changed; a decision and a corrected deploy give new tables."""
    deploy = Deploy(id="1", completed_at=AT)
    store.deploys.add([deploy], who="ann")
    first = store.copies()
    assert store.copies() is first
    store.reviews.decide([SPANS[0]], "flagged", who="ann")
    second = store.copies()
    assert second["reviews"].num_rows == 1
    store.deploys.add([replace(deploy, title="Corrected")], who="ann")
    assert store.copies()["deploys"].column("title").to_pylist() == ["Corrected"]
    assert store.copies() is not second
