"""The redaction rules that the fold process goes by, taken over while it runs."""

from __future__ import annotations

import time
from typing import Any

from spanfold.exporter.errors import RuleInvalid
from spanfold.exporter.keys import Keyring
from spanfold.exporter.redact import Redactor
from spanfold.exporter.redaction_rules import BUILT_IN
from spanfold.state.store import StateStore

LOOK_SECONDS = 1.0  # between looks for changed rules


class RulesInForce:
    """One redactor a tenant. Rules that cannot be run leave those before in force."""

    def __init__(self, state: StateStore, keyring: Keyring, *, enabled: bool) -> None:
        self._state, self._keyring, self._enabled = state, keyring, enabled
        self._redactors: dict[str, Redactor] = {}
        self._changed, self._looked_at = state.rules.changed_at(), 0.0
        self._rules = state.redaction_rules(BUILT_IN)
        self._refused: str | None = None

    def redactor(self, tenant: str) -> Redactor:
        """The redactor of a tenant; the same object until rules change."""
        if tenant not in self._redactors:
            hash_key = self._keyring.hash_key(tenant, "identifier")
            self._redactors[tenant] = Redactor(self._rules, enabled=self._enabled, hash_key=hash_key)
        return self._redactors[tenant]

    def refresh(self) -> bool:
        """Takes over changed rules, a look a second. Says whether other rules count now."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = time.monotonic()
        changed = self._state.rules.changed_at()
        if changed == self._changed:
            return False
        self._changed = changed
        try:
            Redactor(rules := self._state.redaction_rules(BUILT_IN))
        except RuleInvalid as error:
            self._refused = str(error)
            return False
        self._rules, self._refused = rules, None
        self._redactors.clear()
        return True

    def told(self) -> dict[str, Any]:
        """What the status says of them."""
        return {"changed_at": self._changed.isoformat() if self._changed else None, "refused": self._refused}
