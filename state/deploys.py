"""Deploy events: what was rolled out when, the pivots of attribution. Added twice, a deploy is one deploy."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from spanfold.state import audit
from spanfold.state.database import Database
from spanfold.state.errors import Invalid, NotFound
from spanfold.state.tables import deploys

_SHA = re.compile(r"[0-9a-f]{4,64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """One rollout. Without an id it gets one made of what it is, so that adding it again finds it."""

    completed_at: dt.datetime
    id: str = ""
    tenant: str = "default"
    pr_number: int | None = None
    title: str | None = None
    commit_sha: str | None = None  # lower-case hex, short or full
    author: str | None = None
    service: str | None = None
    environment: str | None = None
    version: str | None = None
    source: str = "cli"

    def __post_init__(self) -> None:
        if self.completed_at.tzinfo is None:
            raise Invalid(f"the time {self.completed_at} of a deploy has no zone: write it like 2026-04-18T14:05:00Z")
        if self.commit_sha is not None:
            object.__setattr__(self, "commit_sha", self.commit_sha.lower())
            if not _SHA.match(self.commit_sha):
                raise Invalid(f"{self.commit_sha[:80]!r} is not a commit sha of at least 4 hex digits")
        if not self.id:
            object.__setattr__(self, "id", self._made_id())

    def _made_id(self) -> str:
        parts = (self.service, self.environment, self.version, self.commit_sha, self.completed_at.isoformat())
        return "d_" + hashlib.sha256("\x00".join(p or "" for p in parts).encode()).hexdigest()[:16]


class Deploys:
    """The deploys of a store."""

    def __init__(self, database: Database, tenants: frozenset[str] | None = None) -> None:
        self._database = database
        self._tenants = tenants  # there are no others; None = all

    def within(self, tenants: frozenset[str] | None) -> Deploys:
        """The same, but only these tenants exist."""
        return Deploys(self._database, tenants)

    def add(self, events: Iterable[Deploy], *, who: str) -> int:
        """Add new deploys and correct known ones (same tenant and id); how many were new or changed."""
        changed, events = 0, list(events)
        if self._tenants is not None and any(event.tenant not in self._tenants for event in events):
            raise NotFound("there is no such tenant")
        with self._database.write() as connection:
            for event in events:
                row = asdict(event)
                same = (deploys.c.tenant == event.tenant) & (deploys.c.id == event.id)
                known = connection.execute(sa.select(deploys).where(same)).mappings().first()
                if known is not None and dict(known) == row:
                    continue
                insert = self._database.insert(deploys)
                updated = {name: insert.excluded[name] for name in row if name not in ("tenant", "id")}
                connection.execute(insert.on_conflict_do_update(index_elements=["tenant", "id"], set_=updated), row)
                was, action = (None, "add") if known is None else (dict(known), "correct")
                audit.record(connection, self._database.now(), who, "deploys", action, event.id, was, row)
                changed += 1
        return changed

    def between(
        self,
        *,
        tenant: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        limit: int | None = None,
    ) -> list[Deploy]:
        """Deploys completed in [since, until), newest first."""
        query = sa.select(deploys).order_by(deploys.c.completed_at.desc(), deploys.c.id).limit(limit)
        if tenant is not None:
            query = query.where(deploys.c.tenant == tenant)
        if since is not None:
            query = query.where(deploys.c.completed_at >= since)
        if until is not None:
            query = query.where(deploys.c.completed_at < until)
        return self._fetch(query)

    def by_sha(self, sha: str, *, tenant: str | None = None) -> list[Deploy]:
        """Deploys of a commit, newest first; `sha` and the stored one may each be short."""
        sha = sha.lower()
        if not _SHA.match(sha):
            raise Invalid(f"{sha[:80]!r} is not a commit sha of at least 4 hex digits")
        stored = deploys.c.commit_sha
        matches = stored.startswith(sha) | (sa.literal(sha).startswith(stored) & stored.is_not(None))
        query = sa.select(deploys).where(matches).order_by(deploys.c.completed_at.desc(), deploys.c.id)
        return self._fetch(query if tenant is None else query.where(deploys.c.tenant == tenant))

    def _fetch(self, query: sa.Select[tuple[object, ...]]) -> list[Deploy]:
        if self._tenants is not None:
            query = query.where(deploys.c.tenant.in_(sorted(self._tenants)))
        with self._database.read() as connection:
            return [Deploy(**row) for row in connection.execute(query).mappings()]
