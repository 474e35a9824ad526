"""What the rule verbs do: the rules in force and where each is from, changes that are checked first, trials on stored
data. A running fold process takes a change over within about a second; who changes a rule waits for that."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanfold.collector.lock import is_held
from spanfold.errors import SpanfoldError
from spanfold.exporter.errors import RuleInvalid
from spanfold.exporter.keys import Keyring
from spanfold.exporter.manifest import read_current
from spanfold.exporter.redact import Redactor
from spanfold.exporter.redaction_rules import BUILT_IN, Rule
from spanfold.exporter.rule_trial import RuleTrial, Trial
from spanfold.state.errors import Invalid
from spanfold.state.rules import RuleRow
from spanfold.state.store import StateStore
from spanfold.status import read_run_file

BASELINE = (
    "a baseline: patterns find what has a shape; names, addresses and free text about people are out of their reach"
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]{0,99}")
_BUILT_IN = {rule.name: rule for rule in BUILT_IN}
_TAKEN_OVER_SECONDS = 10.0


class RuleUnknown(SpanfoldError):
    """There is no rule of this name: `spanfold redact rules` lists them."""


class RuleRefused(SpanfoldError):
    """This cannot be done to this rule."""


def listed(state: StateStore) -> list[tuple[Rule, str]]:
    """Every rule in order of priority and its origin: built in | changed | own."""
    changed = {row.name for row in state.rules.all()}
    return [
        (rule, "own" if rule.name not in _BUILT_IN else "changed" if rule.name in changed else "built in")
        for rule in state.redaction_rules(BUILT_IN)
    ]


def rule_named(state: StateStore, name: str) -> Rule:
    """Raises RuleUnknown."""
    for rule in state.redaction_rules(BUILT_IN):
        if rule.name == name:
            return rule
    raise RuleUnknown(f"there is no redaction rule {name!r}: `spanfold redact rules` lists them")


def put(state: StateStore, rule: Rule, *, who: str) -> None:
    """Adds or replaces. Raises RuleInvalid for what cannot be run, together with the other rules."""
    if not _NAME.fullmatch(rule.name):
        raise RuleRefused(f"{rule.name!r} is no name of a rule: small letters, digits, - and _, at most 100")
    others = [other for other in state.redaction_rules(BUILT_IN) if other.name != rule.name]
    Redactor([dataclasses.replace(rule, enabled=True), *(others if rule.enabled else ())])
    state.rules.put(RuleRow(**dataclasses.asdict(rule)), who=who)


def switch(state: StateStore, name: str, *, enabled: bool, who: str) -> None:
    """Raises RuleUnknown."""
    rule = dataclasses.replace(rule_named(state, name), enabled=enabled)
    if rule == _BUILT_IN.get(name):
        if any(row.name == name for row in state.rules.all()):
            state.rules.remove(name, who=who)
        return
    put(state, rule, who=who)


def remove(state: StateStore, name: str, *, who: str) -> str:
    """Forgets an own rule, or what was changed of a built-in one. Says which. Raises RuleUnknown, RuleRefused."""
    rule_named(state, name)
    if all(row.name != name for row in state.rules.all()):
        raise RuleRefused(f"{name} is built in: `spanfold redact disable {name}` switches it off")
    state.rules.remove(name, who=who)
    return "is as it was built in" if name in _BUILT_IN else "is removed"


def wait_until_taken_over(data: Path, state: StateStore) -> str:
    """Says from when on the present rules count. Raises RuleRefused when the fold process does not take them."""
    if not is_held(data / "run" / "folder.lock") and not is_held(data / "run" / "up.lock"):
        return "in force when `fold` runs"
    wanted = _stamp(state.rules.changed_at())
    end = time.monotonic() + _TAKEN_OVER_SECONDS
    while time.monotonic() < end:
        rules = read_run_file(data, "folder").get("rules", {})
        if rules.get("refused"):
            raise RuleRefused(f"the fold process keeps the rules that it had: {rules['refused']}")
        if rules.get("changed_at") == wanted:
            return "in force"
        time.sleep(0.05)
    return "in force as soon as the fold process has finished what it is at"


def _stamp(changed_at: dt.datetime | None) -> str | None:
    return None if changed_at is None else changed_at.isoformat()


def texts_redacted(state: StateStore, text: str) -> tuple[str, dict[str, int]]:
    """What the rules in force make of a text."""
    return Redactor(state.redaction_rules(BUILT_IN)).text(text)


def trial(data: Path, rule: Rule, *, days: int, examples: int) -> Trial:
    """The rule on what is stored of the last days. Raises RuleInvalid, KeyMissing."""
    keyring = Keyring.open(data, create=False)
    today = dt.datetime.now(dt.UTC).date()
    run = RuleTrial(data, read_current(data), keyring, rule, examples=examples)
    return run.run(today - dt.timedelta(days=days - 1), today + dt.timedelta(days=1))


def trial_rows(found: Trial) -> list[dict[str, Any]]:
    """One row a day, service and place."""
    order: Sequence[tuple[str, str | None, str]] = sorted(found.hits, key=lambda p: (p[0], p[1] or "", p[2]))
    return [
        {"date": day, "service_name": service, "place": place, "texts": found.texts[day, service, place],
         "hits": found.hits[day, service, place]}
        for day, service, place in order
    ]  # fmt: skip


class Keeper:
    """The rules for a screen: what is refused is an error of the control plane, with the same sentence."""

    def listed(self, state: StateStore) -> list[dict[str, Any]]:
        return [dataclasses.asdict(rule) | {"origin": origin} for rule, origin in listed(state)]

    def add(self, state: StateStore, name: str, pattern: str, detector: str | None, replacement: str, who: str) -> None:
        with _refusals():
            put(state, Rule(name, pattern, detector, replacement), who=who)

    def switch(self, state: StateStore, name: str, *, enabled: bool, who: str) -> None:
        with _refusals():
            switch(state, name, enabled=enabled, who=who)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (SpanfoldError, RuleInvalid) as error:
        raise Invalid(str(error)) from error
