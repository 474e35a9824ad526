"""Retention: days that are over their time stop counting, whole or by tier. No other day needs a day's files.

The day that counts as today is the earlier of the clock's and of the newest day stored: neither a clock that jumped a
year ahead nor a sender that dates its spans into the future can make the lake forget itself (F18, F19). Where both are
wrong at once, `is_too_much` stops what no ordinary day does: many days going together after a gap wait for a person.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from spanfold.exporter.lake import Lake, read_rows
from spanfold.exporter.manifest import FileEntry, Manifest
from spanfold.exporter.retention_tiers import Tier, expires
from spanfold.semconv.schema import TABLES

AT_ONCE = 3  # days that may go together unasked, or
SHARE_AT_ONCE = 0.1  # this part of the days stored, if that is more
GAP_DAYS = 7  # without a span, behind which today is not believed that easily
_OWNED = ("spans", "logs", "metrics", "rollup")  # tables with the columns tenant and project
_PRIVATE = ("private_block", "private_offset", "private_length")

Owner = tuple[str, str | None]  # tenant, project


def believed_today(manifest: Manifest, today: dt.date) -> dt.date | None:
    """The earlier of the clock's day and the newest stored; None while nothing believable is stored."""
    days = [dt.date.fromisoformat(day) for day in {f.date for f in manifest.files_of("spans")}]
    believable = [day for day in days if day.year > 1970]
    return min(today, max(believable)) if believable else None


def expired(manifest: Manifest, keep_days: int, today: dt.date) -> list[FileEntry]:
    """Files of days more than `keep_days` before today. The day of unbelievable times, 1970-01-01, never expires."""
    believed = believed_today(manifest, today)
    if believed is None:
        return []
    cutoff = believed - dt.timedelta(days=keep_days)
    return [f for f in manifest.files if 1970 < int(f.date[:4]) and dt.date.fromisoformat(f.date) < cutoff]


def is_too_much(going: Collection[str], manifest: Manifest) -> bool:
    """Whether so many days go as never do on ordinary days, and today may be wrong: after what goes, days are missing
    between the days stored, as they are when clocks and senders jump ahead."""
    days = [dt.date.fromisoformat(day) for day in manifest.dates("spans") if day > "1970-01-01"]
    if not going or len(going) <= max(AT_ONCE, SHARE_AT_ONCE * len(days)):
        return False
    after = [day for day in days if day.isoformat() >= max(going)]
    return any((later - day).days > GAP_DAYS for day, later in pairwise(after))


@dataclass(slots=True)
class DayExpiry:
    """What of one day goes: the words of some owners, everything of others. Rewrites tables as an erasure does."""

    words: set[Owner]
    everything: set[Owner]
    _spans: dict[bool, pa.Array] = field(default_factory=dict)  # keys of spans: (False) words go, (True) everything

    def read_spans(self, parts: Sequence[pa.Table]) -> None:
        """Which spans are whose: contexts and decisions know only ids."""
        rows = pa.concat_tables(parts) if parts else None
        for whole, owners in ((False, self.words), (True, self.everything)):
            keys = _keys(rows.filter(_owned(rows, owners))) if rows is not None else pa.array([], pa.string())
            self._spans[whole] = pc.unique(keys)

    def rows_of(self, table: str, rows: pa.Table) -> pa.ChunkedArray:
        """Rows whose words go."""
        if table in _OWNED:
            return _owned(rows, self.words)
        return pc.is_in(_keys(rows), self._spans[False])

    def scrubbed(self, table: str, rows: pa.Table) -> pa.Table:
        """The rows that stay, without their words where those go; the same object when nothing changes."""
        whole = _owned(rows, self.everything) if table in _OWNED else pc.is_in(_keys(rows), self._spans[True])
        left = rows.filter(pc.invert(whole)) if pc.any(whole).as_py() else rows
        if table not in ("spans", "logs", "metrics"):
            return left
        mine = pc.and_(self.rows_of(table, left), pc.is_valid(left["private_block"]))
        if not pc.any(mine).as_py():
            return left
        for column in _PRIVATE:
            at = left.schema.get_field_index(column)
            left = left.set_column(at, column, pc.if_else(mine, pa.scalar(None, left[column].type), left[column]))
        return left


def expiry_of(lake: Lake, day: dt.date, tiers: Sequence[Tier], today: dt.date) -> DayExpiry | None:
    """What goes of a day now; None when nothing of it is left to go."""
    parts = {table: list(_read(lake, table, day)) for table in _OWNED}
    owners = {owner for rows in (r for t in parts.values() for r in t) for owner in _owners(rows)}
    age = (today - day).days
    found = {owner: expires(tiers, *owner, age) for owner in owners}
    expiry = DayExpiry({o for o, (words, _) in found.items() if words}, {o for o, (_, whole) in found.items() if whole})
    if not expiry.words:
        return None
    expiry.read_spans(parts["spans"])
    if expiry.everything:
        return expiry
    said = any(pc.any(expiry.rows_of("contexts", rows)).as_py() for rows in _read(lake, "contexts", day))
    private = any(
        expiry.scrubbed(table, rows) is not rows for table in ("spans", "logs", "metrics") for rows in parts[table]
    )
    return expiry if said or private else None


def _read(lake: Lake, table: str, day: dt.date) -> list[pa.Table]:
    names = [n for n in ("tenant", "project", "trace_id", "span_id", *_PRIVATE) if n in TABLES[table].names]
    return [read_rows(lake.data, file, names) for file in lake.manifest.files_of(table, day.isoformat())]


def _owners(rows: pa.Table) -> set[Owner]:
    distinct = rows.select(["tenant", "project"]).group_by(["tenant", "project"]).aggregate([])
    return set(zip(distinct["tenant"].to_pylist(), distinct["project"].to_pylist(), strict=True))


def _owned(rows: pa.Table, owners: set[Owner]) -> pa.ChunkedArray:
    """One boolean a row; no project is a project of its own."""
    keys = pc.binary_join_element_wise(rows["tenant"], pc.fill_null(rows["project"], "\0"), "\0")
    wanted = pa.array(sorted("\0".join((t, "\0" if p is None else p)) for t, p in owners), pa.string())
    return pc.is_in(keys, wanted)


def _keys(rows: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(rows["tenant"], rows["trace_id"], rows["span_id"], "/")
