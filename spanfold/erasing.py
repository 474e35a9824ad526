"""Erasure of one user, session or trace, wherever it is stored: by the fold process that runs, or here when none does.

Who asks leaves `run/erase` and waits for `run/erased`; both are removed in the end, because they name the subject. The
order lets a crash at any point be made good by doing it again: copies outside the lake first, the lake in one commit,
then what still held the old files. What the receipt tells was counted; what it could not look into it names.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanfold.collector.dead_letters import DeadLetters
from spanfold.collector.errors import CollectorError
from spanfold.collector.journal_erasure import Holds, empty_records
from spanfold.collector.lock import is_held
from spanfold.collector.segments import Position, durable_end
from spanfold.errors import SpanfoldError
from spanfold.exporter.archive_erasure import erase_archives
from spanfold.exporter.durable import read_document, write_durably
from spanfold.exporter.erasure import Erased, check, erase, find
from spanfold.exporter.erasure_subject import Found, Subject
from spanfold.exporter.errors import ExporterError, FileDamaged, LakeLocked
from spanfold.exporter.keys import Keyring
from spanfold.exporter.quarantine import drop, pieces
from spanfold.exporter.redact import pseudonym
from spanfold.settings import Settings
from spanfold.state.store import StateStore
from spanfold.state.targets import Target

if TYPE_CHECKING:
    from spanfold.folding import Folding

_POLL_SECONDS = 0.05
_TRIES = 3
_NAMED = 1000  # message ids that a receipt lists
_WORDLESS = ("lake/keys/", "lake/manifest/")  # hold keyed hashes and names of files


class NotErased(SpanfoldError):
    """The erasure did not end in time; ask again with a larger --timeout: what was done is not lost."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    kind: str  # user | session | trace
    id: str
    tenant: str
    who: str
    dry_run: bool
    drop_quarantine: bool = False  # delete what lies there and may hold anybody's words


# ---- who asks ------------------------------------------------------------------------------------------------------
def ask_to_erase(settings: Settings, request: Request, timeout: float) -> dict[str, Any]:
    """The receipt. Raises NotErased after `timeout` seconds, SpanfoldError with what went wrong."""
    run = settings.data / "run"
    token = uuid.uuid4().hex
    end = time.monotonic() + timeout
    asked = False
    while time.monotonic() < end:
        if not is_held(run / "folder.lock") and not is_held(run / "up.lock"):
            receipt = _erase_here(settings, request)
            if receipt is not None:
                return _told(receipt)
        if not asked:
            write_durably(run / "erase", json.dumps(asdict(request) | {"token": token, "tries": 0}).encode())
            asked = True
        receipt = read_document(run / "erased")
        if receipt.get("token") == token:
            (run / "erased").unlink()
            return _told(receipt)
        time.sleep(_POLL_SECONDS)
    raise NotErased


def _told(receipt: dict[str, Any]) -> dict[str, Any]:
    if "error" in receipt:
        raise SpanfoldError(receipt["error"])
    return {key: value for key, value in receipt.items() if key != "token"}


def _erase_here(settings: Settings, request: Request) -> dict[str, Any] | None:
    """None when somebody began to fold since we looked."""
    from spanfold.fold_process import prepared

    try:
        with prepared(settings) as folding:
            return Eraser(folding, settings).erase(request)
    except LakeLocked:
        return None


# ---- who folds -----------------------------------------------------------------------------------------------------
def erase_if_asked(folding: Folding, settings: Settings) -> None:
    """Answers `spanfold erase`. Fails the request, not the process; one that ends the process is not tried for ever."""
    path = settings.data / "run" / "erase"
    asked = read_document(path)
    if not asked:
        return
    token, tries, begun = asked.pop("token"), asked.pop("tries"), asked.pop("begun", {})
    state = asked | {"token": token, "tries": tries + 1}

    def keep(told: dict[str, Any]) -> None:
        write_durably(path, json.dumps(state | {"begun": told}).encode())

    keep(begun)
    if tries >= _TRIES:
        receipt: dict[str, Any] = {
            "error": f"this erasure was begun {tries} times and not finished: see `spanfold status`, then ask again"
        }
    else:
        try:
            receipt = Eraser(folding, settings).erase(Request(**asked), begun, keep)
        except FileDamaged as error:  # without that file it can be done
            folding.quarantine([error.path])
            return
        except (SpanfoldError, OSError, CollectorError, ExporterError) as error:
            receipt = {"error": str(error) or type(error).__name__}
    write_durably(settings.data / "run" / "erased", json.dumps(receipt | {"token": token}).encode())
    path.unlink()


class Eraser:
    """Does one request, on the thread that folds."""

    def __init__(self, folding: Folding, settings: Settings) -> None:
        self._folding, self._data, self._archive = folding, settings.data, settings.archive
        self._mode = settings.content if settings.content != "none" else "encrypted"
        self._keyring = Keyring.open(settings.data)

    def erase(
        self,
        request: Request,
        begun: Mapping[str, Any] | None = None,
        keep: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """The receipt: what was found, taken away, kept because others share it, and what could not be looked into.
        `begun`: what a process told that ended in the middle; `keep` is given that before the lake is changed."""
        began = time.monotonic()
        self._fold_everything(replayable=request.dry_run)
        found = find(self._folding.lake, self._subject(request))
        erased = erase(self._folding.lake, self._keyring, self._mode, found, dry_run=request.dry_run)
        receipt = _receipt(request, found, erased)
        copies = self._erase_copies(request, found, erased)
        receipt |= copies | dict(begun or {})
        if not request.dry_run:
            if keep is not None:
                keep(receipt)
            receipt |= self._commit(found, erased, receipt["days_packed_anew"])
        receipt |= {"not_searched": [] if request.dry_run and request.drop_quarantine else self._doubtful()}
        self._note(request, found, receipt)
        return receipt | {"seconds": round(time.monotonic() - began, 3)}

    def _subject(self, request: Request) -> Subject:
        names = {request.id}
        if request.kind != "trace":
            names.add(pseudonym(self._keyring.hash_key(request.tenant, "identifier"), request.id))
        return Subject(request.kind, request.tenant, frozenset(names))

    def _fold_everything(self, *, replayable: bool) -> None:
        """Folds what was accepted up to now; unless it is to stay `replayable`, no manifest reads it again."""
        until = durable_end(self._data / "journal")
        while self._folding.step(flush=True) or self._folding.position < until:
            if self._folding.position >= until:
                break
        self._folding.settle()
        lake = self._folding.lake
        for _ in range(0 if replayable else 2):  # the manifest before the newest stands in for it when it is damaged
            lake.commit([], journal=lake.manifest.journal)

    # ---- outside the lake ------------------------------------------------------------------------------------------
    def _erase_copies(self, request: Request, found: Found, erased: Erased) -> dict[str, Any]:
        names = set() if request.kind == "trace" else {request.id}
        holds = Holds(request.tenant, found.traces.to_pylist(), names)
        folded = Position(*self._folding.lake.manifest.journal)
        emptied = empty_records(self._data / "journal", self._keyring, folded, holds, dry_run=request.dry_run)
        letters = self._drop_letters(holds, dry_run=request.dry_run)
        with StateStore.open(self._data) as state:
            comments = state.reviews.erase_comments(
                _concerns(found, erased), tenant=request.tenant, dry_run=request.dry_run
            )
            lines = state.audit.naming({request.id})
            folders: dict[Path, str | None] = {Path(path): mark for path, mark in state.archives.all().items()}
        if self._archive is not None:
            folders.setdefault(self._archive.resolve(), None)
        archived = erase_archives(folders, found, dry_run=request.dry_run)
        dropped = self._doubtful() if request.drop_quarantine else []
        if not request.dry_run:
            for path in dropped:
                drop(self._data, path)
        return {
            "journal_records_emptied": emptied, "dead_letters_dropped": letters, "comments_erased": comments,
            "audit_lines_kept": lines, "archive_rows_removed": archived.rows, "archive_files": archived.files,
            "archive_folders": archived.folders, "archive_left": archived.left, "quarantine_dropped": dropped,
        }  # fmt: skip

    def _drop_letters(self, holds: Holds, *, dry_run: bool) -> list[str]:
        letters = DeadLetters(self._data, self._keyring)
        dropped = []
        for name in letters.names():
            with contextlib.suppress(CollectorError):
                if holds(letters.record(name)):
                    dropped.append(name)
        if not dry_run:
            for name in dropped:
                letters.drop(name)
        return dropped

    # ---- the lake ----------------------------------------------------------------------------------------------------
    def _commit(self, found: Found, erased: Erased, days: list[str]) -> dict[str, Any]:
        lake = self._folding.lake
        if erased.removed:
            lake.commit(erased.added, removed=erased.removed, counters={"erasures": 1})
            self._folding.forget()
            self._folding.publish()
        files = lake.forget_removed()
        self._folding.publish(again=True)
        snapshots = self._drop_snapshots()
        checked = check(lake, found, days)
        verified = {
            "files": checked.files, "bytes": checked.bytes, "files_with_something_left": checked.left,
            "blocks_with_unreferenced_bytes": checked.unreferenced, "rows_of_others_that_name_it": checked.mentions,
        }  # fmt: skip
        return {"files_deleted": files, "snapshots_deleted": snapshots, "verified": verified}

    def _drop_snapshots(self) -> int:
        """Every version but the newest: they show files that are gone."""
        newest, count = self._folding.published_as, 0
        for path in (self._data / "snapshots").glob("v*.duckdb"):
            if path.name != newest:
                path.unlink(missing_ok=True)
                count += 1
        return count

    def _doubtful(self) -> list[str]:
        """Damaged pieces set aside that may hold words: whose they are nobody can say."""
        known = pieces(self._data)
        return [piece["path"] for piece in known if not str(piece.get("was") or "").startswith(_WORDLESS)]

    def _note(self, request: Request, found: Found, receipt: dict[str, Any]) -> None:
        """The audit line names the subject by a keyed hash: it proves the erasure and gives nothing back."""
        shown = pseudonym(self._keyring.hash_key(request.tenant, "identifier"), request.id)
        counts = {name: receipt[name] for name in ("traces", "rows", "messages_erased", "journal_records_emptied")}
        action = "erase (dry run)" if request.dry_run else "erase"
        with StateStore.open(self._data) as state:
            state.audit.note(
                request.who, "privacy", action, f"{request.kind} {shown}", {"tenant": request.tenant} | counts
            )


def _concerns(found: Found, erased: Erased) -> Any:
    traces, others = set(found.traces.to_pylist()), set(found.others.to_pylist())
    messages = {message.hex() for message in erased.gone}

    def concerns(target: Target) -> bool:
        if target.kind == "message":
            return target.message_id in messages
        return target.trace_id in traces and target.trace_id + target.span_id not in others

    return concerns


def _receipt(request: Request, found: Found, erased: Erased) -> dict[str, Any]:
    shared = sorted(message.hex() for message in erased.shared)
    return {
        "kind": request.kind, "tenant": request.tenant, "dry_run": request.dry_run, "traces": len(found.traces),
        "rows": erased.rows, "days_packed_anew": erased.days, "messages_erased": len(erased.gone),
        "messages_shared": len(shared), "shared_message_ids": shared[:_NAMED],
    }  # fmt: skip
