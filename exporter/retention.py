"""Retention: days that are over their time stop counting. A day is dropped whole; no other day needs its files.

The day that counts as today is the earlier of the clock's and of the newest day stored: neither a clock that jumped a
year ahead nor a sender that dates its spans into the future can make the lake forget itself (F18, F19).
"""

from __future__ import annotations

import datetime as dt

from spanfold.exporter.manifest import FileEntry, Manifest


def expired(manifest: Manifest, keep_days: int, today: dt.date) -> list[FileEntry]:
    """Files of days more than `keep_days` before today. The day of unbelievable times, 1970-01-01, never expires."""
    days = [dt.date.fromisoformat(day) for day in {f.date for f in manifest.files_of("spans")}]
    believable = [day for day in days if day.year > 1970]
    if not believable:
        return []
    cutoff = min(today, max(believable)) - dt.timedelta(days=keep_days)
    return [f for f in manifest.files if 1970 < int(f.date[:4]) and dt.date.fromisoformat(f.date) < cutoff]
