"""What a command asks of the running fold process, and waits for: flush, compact, quarantine.

Where none runs it does it itself.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from spanfold.collector.lock import is_held
from spanfold.collector.segments import durable_end
from spanfold.errors import NotCompacted, NotFlushed, NotRetained, NotSetAside
from spanfold.settings import Settings
from spanfold.status import read_run_file

_POLL_SECONDS = 0.02


def flush(settings: Settings, timeout: float) -> None:
    """Asks the running folder, or folds here when none runs. Raises NotFlushed after `timeout` seconds."""
    position = durable_end(settings.data / "journal")
    request: dict[str, object] = {"token": uuid.uuid4().hex, "position": list(position)}
    path = settings.data / "run" / "flush"
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if _nobody_folds(settings.data) and _fold_here(settings):
            return
        done = read_run_file(settings.data, "folder").get("flushed")
        if done == request["token"]:
            return
        if _token(path) in (None, done):  # the flush before ours had its turn
            ask(path, request)
        time.sleep(_POLL_SECONDS)
    raise NotFlushed(f"not everything was in the snapshot after {timeout:g} s: spanfold status shows how far it is")


def compact(settings: Settings, timeout: float) -> None:
    """Compacts everything, in the running folder or here. Raises NotCompacted after `timeout` seconds."""
    token = uuid.uuid4().hex
    end = time.monotonic() + timeout
    asked = False
    while time.monotonic() < end:
        if _nobody_folds(settings.data) and _compact_here(settings):
            return
        if not asked:
            ask(settings.data / "run" / "compact", {"token": token})
            asked = True
        if read_run_file(settings.data, "folder").get("compacted") == token:
            return
        time.sleep(_POLL_SECONDS)
    raise NotCompacted(f"compaction did not end within {timeout:g} s: spanfold status shows whether fold runs")


def retain(settings: Settings, timeout: float) -> None:
    """Lets everything go that is over its time, in the running folder or here. Raises NotRetained after `timeout`
    seconds."""
    token = uuid.uuid4().hex
    end = time.monotonic() + timeout
    asked = False
    while time.monotonic() < end:
        if _nobody_folds(settings.data) and _retain_here(settings):
            return
        if not asked:
            ask(settings.data / "run" / "retain", {"token": token})
            asked = True
        if read_run_file(settings.data, "folder").get("retained") == token:
            return
        time.sleep(_POLL_SECONDS)
    raise NotRetained(f"retention did not end within {timeout:g} s: spanfold status shows whether fold runs")


def _retain_here(settings: Settings) -> bool:
    from spanfold.exporter.errors import LakeLocked
    from spanfold.fold_process import retain_all

    try:
        retain_all(settings)
    except LakeLocked:
        return False
    return True


def quarantine(settings: Settings, paths: Sequence[str], timeout: float) -> None:
    """Has damaged lake files set aside, by the running folder or here. Raises NotSetAside after `timeout` seconds."""
    token = uuid.uuid4().hex
    end = time.monotonic() + timeout
    asked = False
    while time.monotonic() < end:
        if _nobody_folds(settings.data) and _set_aside_here(settings, paths):
            return
        if not asked:
            ask(settings.data / "run" / "quarantine", {"token": token, "paths": list(paths)})
            asked = True
        if read_run_file(settings.data, "folder").get("quarantined") == token:
            return
        time.sleep(_POLL_SECONDS)
    raise NotSetAside(f"what is damaged still counts after {timeout:g} s: spanfold status shows whether fold runs")


def _nobody_folds(data: Path) -> bool:
    """No folder runs, and no supervisor is about to start one again."""
    return not is_held(data / "run" / "folder.lock") and not is_held(data / "run" / "up.lock")


def _fold_here(settings: Settings) -> bool:
    from spanfold.exporter.errors import LakeLocked
    from spanfold.fold_process import fold_to_end

    try:
        fold_to_end(settings)
    except LakeLocked:  # one was started since we looked
        return False
    return True


def _compact_here(settings: Settings) -> bool:
    from spanfold.exporter.errors import LakeLocked
    from spanfold.fold_process import compact_all

    try:
        compact_all(settings)
    except LakeLocked:
        return False
    return True


def _set_aside_here(settings: Settings, paths: Sequence[str]) -> bool:
    from spanfold.exporter.errors import LakeLocked
    from spanfold.fold_process import set_aside

    try:
        set_aside(settings, paths)
    except LakeLocked:
        return False
    return True


def ask(path: Path, request: dict[str, object]) -> None:
    """Leaves a request where a running part looks for it."""
    temporary = path.with_name(f"{path.name}.{request['token']}")
    temporary.write_text(json.dumps(request))
    temporary.rename(path)


def _token(path: Path) -> str | None:
    try:
        token: str = json.loads(path.read_text())["token"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return token
