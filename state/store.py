"""The control plane in one object. Safe for several threads and several processes at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from spanfold.state.archives import Archives
from spanfold.state.audit import Audit
from spanfold.state.comments import Sealer
from spanfold.state.copies import CopiesVersion, copies_version, read_copies
from spanfold.state.database import Database, sqlite_url
from spanfold.state.deploys import Deploys
from spanfold.state.keys import Keys
from spanfold.state.leases import Leases
from spanfold.state.price_overrides import PriceOverrides
from spanfold.state.price_sources import PriceSources
from spanfold.state.reviews import Reviews
from spanfold.state.rules import Rules, RuleType
from spanfold.state.tokens import Tokens
from spanfold.state.users import Users


@dataclass(frozen=True, slots=True)
class TenantState:
    """The part of the control plane that belongs to tenants, cut down to some of them; prices hold for all."""

    reviews: Reviews
    leases: Leases
    deploys: Deploys
    prices: PriceOverrides


class StateStore:
    """Reviews, leases, deploys, rules, price overrides, keys, users and the audit log, behind one URL.

    `url`: `sqlite:////path/state.db` or `postgresql+pg8000://...`. Opening creates or migrates the database; raises
    StateTooNew for one that a later release wrote. Without a `sealer` comments are neither taken nor shown.
    """

    def __init__(self, url: str, *, sealer: Sealer | None = None, now: Callable[[], dt.datetime] | None = None) -> None:
        self._database = Database(url, now)
        self.reviews = Reviews(self._database, sealer)
        self.leases = Leases(self._database)
        self.deploys = Deploys(self._database)
        self.rules = Rules(self._database)
        self.prices = PriceOverrides(self._database)
        self.price_sources = PriceSources(self._database)
        self.keys = Keys(self._database)
        self.users = Users(self._database)
        self.tokens = Tokens(self._database)
        self.archives = Archives(self._database)
        self.audit = Audit(self._database)
        self._copied: tuple[CopiesVersion, dict[str, pa.Table]] | None = None

    @classmethod
    def open(cls, data: Path, *, sealer: Sealer | None = None) -> StateStore:
        """The store of a data directory that has no database server: DATA/state.db."""
        return cls(sqlite_url(data / "state.db"), sealer=sealer)

    def within(self, tenants: frozenset[str] | None) -> TenantState:
        """What concerns these tenants only (None = all)."""
        return TenantState(
            self.reviews.within(tenants), self.leases.within(tenants), self.deploys.within(tenants), self.prices
        )

    def close_expired(self) -> None:
        """Close for good what is over its time, before a clock that goes back can make that unseen."""
        self.tokens.close_expired()
        self.keys.close_expired()

    def redaction_rules(self, built_in: Sequence[RuleType]) -> list[RuleType]:
        """The rules in force: the built-in ones as changed and extended here."""
        return self.rules.over(built_in)

    def copies(self) -> dict[str, pa.Table]:
        """The allowlisted tables for the snapshot (`state/copies.py`): reviews, review_events, deploys.

        The same objects again while nothing has changed, so that a publisher can tell by identity.
        """
        version = copies_version(self._database)
        if self._copied is None or self._copied[0] != version:
            self._copied = (version, read_copies(self._database))
        return self._copied[1]

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> StateStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
