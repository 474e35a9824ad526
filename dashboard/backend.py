"""What the pages read and write: one backend a process, installed by whoever starts the server (or by a test).

Where people sign in, `backend()` is cut down to what the caller of the running session may see, at every call: pages,
callbacks and fragments alike meet a revoked session or a changed role within seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from spanfold.analytics.explaining import DIALECTS, Dialects
from spanfold.analytics.queries import Reader
from spanfold.dashboard.waiting import awaited
from spanfold.state.access import ADMIN, ANY_TENANT, REVIEW, AccessRefused, Caller, local_caller
from spanfold.state.reviews import Reviews
from spanfold.state.store import StateStore, TenantState


def utc_now() -> dt.datetime:
    """Now in UTC, without zone, as stored times are."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


class SessionGate(Protocol):
    """Who looks at the running session, and what the policy lets them do (the roof's business)."""

    def caller(self) -> Caller:
        """Raises an error for people where nobody is signed in."""

    def sees(self, caller: Caller) -> tuple[frozenset[str] | None, bool]:
        """The tenants that may be read (None = all), and whether their content may be."""

    def allows(self, caller: Caller, action: str, tenant: str) -> bool:
        """What the policy says."""


class RuleKeeper(Protocol):
    """Redaction rules, checked by what runs them (the roof's business). Raises StateError for what is refused."""

    def listed(self, state: StateStore) -> list[dict[str, Any]]:
        """name, enabled, origin (built in | changed | own), pattern, detector, replacement; in order of priority."""

    def add(self, state: StateStore, name: str, pattern: str, detector: str | None, replacement: str, who: str) -> None:
        """Adds a rule or replaces the one of this name."""

    def switch(self, state: StateStore, name: str, *, enabled: bool, who: str) -> None:
        """Switches a rule on or off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The read surface, the control plane, and what a person who has sent nothing yet needs to know."""

    data: Path
    reader: Reader
    state: StateStore
    reviewer: str  # who decides, until there is a login
    listening: Callable[[], tuple[str, str]]  # where OTLP is taken: gRPC, HTTP; host:port
    status: Callable[[], Mapping[str, Any]]  # what `spanfold status --json` says
    now: Callable[[], dt.datetime] = field(default=utc_now)
    dialects: Callable[[], Dialects] = field(default=lambda: DIALECTS)  # the tables in force
    rules: RuleKeeper | None = None  # None: rules are not edited here
    gate: SessionGate | None = None  # None: nobody signs in
    caller: Caller = field(default_factory=lambda: local_caller("local"))
    tenants: frozenset[str] | None = None  # that are seen here; None = all

    @property
    def scope(self) -> str:
        """What an answer depends on beside the snapshot and the question: part of every cache key."""
        tenants = None if self.tenants is None else sorted(self.tenants)
        return repr((str(self.data), tenants, self.reader.content))

    @property
    def tenant_state(self) -> TenantState:
        """Reviews, leases and deploys of the tenants that are seen here."""
        return self.state.within(self.tenants)

    @property
    def deciding(self) -> Reviews:
        """The reviews of the tenants in which the caller may decide."""
        if self.tenants is None:
            return self.state.reviews
        return self.state.reviews.within(frozenset(name for name in self.tenants if self.may(REVIEW, name)))

    @property
    def administers(self) -> bool:
        """May the caller change who may do what? Only who sees all tenants: users and keys belong to no one of them."""
        return self.tenants is None and self.may(ADMIN)

    def may(self, action: str, tenant: str = ANY_TENANT) -> bool:
        """May the caller do this, in this tenant or (without one) in some tenant that is seen here?"""
        if self.gate is None:
            return True
        asked = [tenant] if tenant != ANY_TENANT or self.tenants is None else sorted(self.tenants)
        return any(self.gate.allows(self.caller, action, name) for name in asked)

    def of_session(self) -> Backend:
        """Cut down to the caller of the running session, with queries that end when its page is left. Raises what the
        gate raises where there is no caller."""
        waits = awaited()
        reader = self.reader if waits is None else self.reader.while_awaited(waits)
        if self.gate is None:
            return self if waits is None else replace(self, reader=reader)
        caller = self.gate.caller()
        tenants, content = self.gate.sees(caller)
        return replace(
            self, caller=caller, reviewer=caller.name, tenants=tenants, reader=reader.within(tenants, content=content)
        )


_installed: list[Backend] = []


def install(backend: Backend) -> None:
    """Make this the backend of every session of this process."""
    _installed[:] = [backend]


def installed() -> Backend:
    """The backend of the whole process: for what runs for nobody in particular."""
    if not _installed:
        raise RuntimeError("no backend is installed: start the dashboard with `spanfold dashboard`")
    return _installed[0]


def backend() -> Backend:
    """The installed backend as the running session may see it."""
    return installed().of_session()


def administration() -> Backend:
    """The backend for what only administrators see and change. Raises AccessRefused for anybody else."""
    house = backend()
    if not house.administers:
        raise AccessRefused(f"{house.caller.name} may not administer: that needs the role admin in all tenants")
    return house
