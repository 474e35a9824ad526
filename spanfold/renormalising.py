"""`spanfold renormalise`: answered by the fold process that runs, or here when none does.

Who asks leaves `run/renormalise` and waits for `run/renormalised`. The work is done a day at a time
(`renormaliser.py`); between two days the folding goes on. A crash leaves each day as it was or as it will be, and what
is done again changes nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanfold.collector.errors import CollectorError
from spanfold.collector.lock import is_held
from spanfold.errors import SpanfoldError
from spanfold.exporter.durable import read_document, write_durably
from spanfold.exporter.errors import ExporterError, LakeLocked
from spanfold.exporter.manifest import read_current
from spanfold.renormaliser import Renormaliser, Request, Told
from spanfold.settings import Settings

if TYPE_CHECKING:
    from spanfold.folding import Folding

_POLL_SECONDS = 0.05
_TRIES = 3
_NOTE_SECONDS = 1.0


class NotRenormalised(SpanfoldError):
    """It did not end in time."""


# ---- who asks ------------------------------------------------------------------------------------------------------
def spans_of(settings: Settings, request: Request) -> int:
    """How many spans are to be read again."""
    return sum(file.rows for file in request.files(read_current(settings.data)))


def ask_to_renormalise(
    settings: Settings, request: Request, timeout: float, show: Callable[[int], None]
) -> dict[str, Any]:
    """What came of it. `show` is told how many spans are done. Raises NotRenormalised after `timeout` seconds,
    SpanfoldError with what went wrong."""
    run, token, asked = settings.data / "run", uuid.uuid4().hex, False
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if not is_held(run / "folder.lock") and not is_held(run / "up.lock"):
            told = _renormalise_here(settings, request, show)
            if told is not None:
                return told
        if not asked:
            write_durably(run / "renormalise", json.dumps(asdict(request) | {"token": token}).encode())
            asked = True
        answer = read_document(run / "renormalised")
        if answer.pop("token", None) == token:
            (run / "renormalised").unlink()
            if "error" in answer:
                raise SpanfoldError(answer["error"])
            return answer
        begun = read_document(run / "renormalise")
        if begun.get("token") == token:
            show(begun.get("read", 0))
        time.sleep(_POLL_SECONDS)
    raise NotRenormalised(
        f"not every day was read again after {timeout:g} s: what is done stays done, ask for the rest again"
    )


def _renormalise_here(settings: Settings, request: Request, show: Callable[[int], None]) -> dict[str, Any] | None:
    """None when somebody began to fold since we looked."""
    from spanfold.fold_process import prepared

    try:
        with prepared(settings) as folding:
            while folding.step(flush=True):
                continue
            work, told = Renormaliser(folding, settings, request), Told()
            for day in work.days():
                told.add(work.day(day, partial(_show_after, show, told.spans)))
            return told.as_dict()
    except LakeLocked:
        return None


def _show_after(show: Callable[[int], None], before: int, spans: int) -> None:
    show(before + spans)


# ---- who folds -----------------------------------------------------------------------------------------------------
def renormalise_if_asked(folding: Folding, settings: Settings) -> None:
    """One day of what was asked for, noted before and after. Fails the request, not the process; a day that ends the
    process is not tried for ever."""
    path = settings.data / "run" / "renormalise"
    asked = read_document(path)
    if not asked:
        return
    folding.refresh_dialects()
    request = Request(asked["since"], asked["until"], asked["dry_run"])
    work = Renormaliser(folding, settings, request, asked.get("generation"))
    told = _told(asked.get("told", {}))
    day = next((day for day in work.days() if day > asked.get("done", "")), None)
    answer: dict[str, Any] | None = None
    if day is None:
        answer = told.as_dict()
    elif asked.get("tries", 0) >= _TRIES:
        answer = {"error": f"{day} was begun {_TRIES} times and not finished: see `spanfold status`, then ask again"}
    else:
        state = asked | {"told": told.as_dict(), "generation": work.generation}
        state["tries"] = asked.get("tries", 0) + 1
        write_durably(path, json.dumps(state).encode())
        try:
            told.add(work.day(day, _Noted(path, state, told.spans)))
        except (SpanfoldError, OSError, CollectorError, ExporterError) as error:
            answer = {"error": str(error) or type(error).__name__}
        else:
            write_durably(path, json.dumps(state | {"tries": 0, "done": day, "told": told.as_dict()}).encode())
    if answer is not None:
        write_durably(settings.data / "run" / "renormalised", json.dumps(answer | {"token": asked["token"]}).encode())
        path.unlink()


def _told(held: Mapping[str, Any]) -> Told:
    return Told(**(dict(held) | {"columns": Counter(held.get("columns", {}))}))


class _Noted:
    """Notes beside the request, about once a second, how many spans are done: for the bar of who waits."""

    def __init__(self, path: Path, state: dict[str, Any], before: int) -> None:
        self._path, self._state, self._before, self._at = path, state, before, time.monotonic()

    def __call__(self, spans: int) -> None:
        if time.monotonic() - self._at > _NOTE_SECONDS:
            self._at = time.monotonic()
            write_durably(self._path, json.dumps(self._state | {"read": self._before + spans}).encode())
