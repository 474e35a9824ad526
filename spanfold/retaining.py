"""Keeps to the retention that is set, as part of the fold process: at most one day a look is packed anew.

Many days at once are held until a person says so (`spanfold retain --all`) where days are missing before today: clocks
that jumped ahead must not empty the lake. What is to be archived is written and synced before it goes.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from spanfold.exporter.archive_erasure import marked
from spanfold.exporter.durable import sync_dirs, write_durably
from spanfold.exporter.erasure import Erased, repack_without
from spanfold.exporter.errors import ArchiveAway, ExporterError, FileDamaged
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import read_rows
from spanfold.exporter.retention import DayExpiry, believed_today, expired, expiry_of, is_too_much
from spanfold.exporter.retention_tiers import Tier, read_tiers
from spanfold.settings import Settings
from spanfold.state.store import StateStore

if TYPE_CHECKING:
    from spanfold.folding import Folding

_DAYS_A_LOOK = 20  # whose columns are read to see what of them goes
_ASK = ": if that is right, `spanfold retain --all` does it"
_BESIDE = ("facts", "suppressed", "links", "rollup")  # tables of a day that hold no words


class Retention:
    """One per fold process, on its thread."""

    def __init__(self, folding: Folding, settings: Settings) -> None:
        self._folding, self._settings = folding, settings
        self._mode = settings.content if settings.content != "none" else "encrypted"
        self._tiers = [*read_tiers(settings.retention_rules), Tier("*", "*", settings.content_days, None)]
        limits = [n for tier in self._tiers for n in (tier.words, tier.everything) if n is not None]
        self._limits = limits
        self._failed: set[dt.date] = set()
        self._noted = settings.data / "run" / "retained.json"
        # day -> (manifest version at which nothing of it was left to go, how many limits it was past then)
        self._done: dict[str, tuple[int, int]] = self._read_done()

    def look(self) -> None:
        """What is due now; everything at once when a person has asked for it."""
        request = self._folding.requests.get("retain")
        self.work(confirmed=request is not None)
        if request is not None:
            self._folding.answer("retain", request)

    def work(self, *, confirmed: bool) -> None:
        lake = self._folding.lake
        today = believed_today(lake.manifest, dt.datetime.now(dt.UTC).date())
        if today is None or (not self._limits and self._settings.retention_days is None):
            return
        held = [self._drop_days(today, confirmed=confirmed), self._thin_days(today, confirmed=confirmed)]
        told = "; ".join(text for text in held if text)
        if told or not self._failed:
            self._folding.retention_held = told or None

    # ---- whole days ------------------------------------------------------------------------------------------------
    def _drop_days(self, today: dt.date, *, confirmed: bool) -> str | None:
        keep = self._settings.retention_days
        if keep is None:
            return None
        lake = self._folding.lake
        gone = expired(lake.manifest, keep, today)
        days = {f.date for f in gone}
        if is_too_much(days, lake.manifest) and not confirmed:
            stored = len(lake.manifest.dates("spans"))
            return f"retention_days = {keep} would drop {len(days)} of {stored} days at once{_ASK}"
        if gone:
            self._folding.settle()
            lake.commit([], removed=[f.path for f in gone], counters={"expired_files": len(gone)})
            self._folding.forget_words()
        return None

    # ---- parts of days -----------------------------------------------------------------------------------------------
    def _thin_days(self, today: dt.date, *, confirmed: bool) -> str | None:
        """The words, or everything, of some owners of a day."""
        due = self._due(today)
        going: dict[dt.date, DayExpiry] = {}
        for day in due if confirmed else due[:_DAYS_A_LOOK]:
            with contextlib.suppress(FileDamaged):  # it is set aside by those who look after files
                expiry = expiry_of(self._folding.lake, day, self._tiers, today)
                if expiry is None:
                    self._is_done(day, today)
                else:
                    going[day] = expiry
        if is_too_much([str(day) for day in going], self._folding.lake.manifest) and not confirmed:
            return f"content_days and retention_rules would thin {len(going)} days or more at once{_ASK}"
        problems = [self._try(day, going[day], today) for day in (list(going) if confirmed else list(going)[:1])]
        return "; ".join(problem for problem in problems if problem) or None

    def _try(self, day: dt.date, expiry: DayExpiry, today: dt.date) -> str | None:
        """Thins a day; what forbids it is told, and it is tried again when the process starts anew."""
        try:
            self._thin(day, expiry, today)
        except FileDamaged as error:
            self._folding.quarantine([error.path])
        except ArchiveAway as error:  # tried again at the next look
            return f"the words of {day} cannot go: {error}"
        except (ExporterError, OSError) as error:
            self._failed.add(day)
            return f"the words of {day} cannot go: {error}"
        return None

    def _due(self, today: dt.date) -> list[dt.date]:
        """Days past a limit at which, or with files at which, nobody looked yet; oldest first."""
        newest: dict[str, int] = {}
        for file in self._folding.lake.manifest.files:
            newest[file.date] = max(newest.get(file.date, 0), file.created)
        days = [(dt.date.fromisoformat(day), created) for day, created in sorted(newest.items())]
        believable = [(day, created) for day, created in days if day.year > 1970]
        return [day for day, created in believable if day not in self._failed and self._is_due(day, created, today)]

    def _is_due(self, day: dt.date, created: int, today: dt.date) -> bool:
        passed = self._passed(day, today)
        version, passed_then = self._done.get(day.isoformat(), (-1, 0))
        return passed > 0 and (created > version or passed != passed_then)

    def _passed(self, day: dt.date, today: dt.date) -> int:
        """How many limits a day is past."""
        return sum((today - day).days > limit for limit in self._limits)

    def _thin(self, day: dt.date, expiry: DayExpiry, today: dt.date) -> None:
        lake = self._folding.lake
        self._folding.settle()
        if self._settings.archive is not None:
            self._archive(self._settings.archive, day, expiry)
        out = Erased()
        repack_without(lake, Keyring.open(self._settings.data), self._mode, day, expiry, out)
        for table in _BESIDE:
            for file in lake.manifest.files_of(table, day.isoformat()):
                rows = read_rows(lake.data, file)
                left = expiry.scrubbed(table, rows)
                if left is not rows:
                    out.removed.append(file.path)
                    if left.num_rows:
                        out.added.append(lake.write(table, day, left, level=file.level))
        lake.commit(out.added, removed=out.removed, counters={"thinned_days": 1})
        self._folding.forget_words()
        self._is_done(day, today)

    def _archive(self, folder: Path, day: dt.date, expiry: DayExpiry) -> None:
        """The call records whose words go, words included, as one Parquet file; durable when this returns."""
        from spanfold import exports
        from spanfold.reading import open_reader

        self._folding.publish()
        owners = " OR ".join(
            f"(tenant = {_quoted(tenant)} AND project IS NOT DISTINCT FROM {_quoted(project)})"
            for tenant, project in sorted(expiry.words, key=repr)
        )
        folder = folder.resolve()
        with StateStore.open(self._settings.data) as state:  # before anything lies there
            state.archives.note(str(folder), marked(folder, state.archives.all().get(str(folder))))
        directory = folder / f"date={day.isoformat()}"
        directory.mkdir(exist_ok=True, mode=0o700)
        target = directory / f"calls-{self._folding.lake.manifest.version:08d}.parquet"
        temporary = target.with_suffix(".tmp")
        reader = open_reader(self._settings.data)
        with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as sink:
            where = f"date = DATE '{day.isoformat()}' AND ({owners})"
            exports.export_calls(reader, "parquet", sink, where=where, content=True)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.rename(target)
        sync_dirs([directory, folder])

    def _is_done(self, day: dt.date, today: dt.date) -> None:
        self._done[day.isoformat()] = (self._folding.lake.manifest.version, self._passed(day, today))
        body = {"rules": repr(self._tiers), "days": self._done}
        write_durably(self._noted, orjson.dumps(body), sync_directory=False)

    def _read_done(self) -> dict[str, tuple[int, int]]:
        """What was noted under the same rules."""
        try:
            noted = orjson.loads(self._noted.read_bytes())
            if noted["rules"] != repr(self._tiers):
                return {}
            return {day: (int(version), int(passed)) for day, (version, passed) in noted["days"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}


def _quoted(value: str | None) -> str:
    return "NULL" if value is None else "'" + value.replace("'", "''") + "'"
