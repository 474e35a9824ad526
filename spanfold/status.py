"""What is going on in a data directory, from its journal and the small files its processes leave in `run/`.

Changes nothing and needs no key. `accepted` counts items (spans, log records, data points) that are durable in the
journal; `offered` = accepted + rejected (for good) + refused (for now); `folded` counts the accepted ones that the lake
has taken in, duplicates included.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from spanfold.collector.journal import DISK_SHARE, Position
from spanfold.collector.journal_reader import Backlog, backlog
from spanfold.exporter.durable import read_document
from spanfold.exporter.quarantine import pieces

_FULL_BYTES = 16 << 20


def gather(data: Path) -> dict[str, Any]:
    """The status of a data directory, as `spanfold status --json` prints it."""
    collector, folder, up = (read_run_file(data, name) for name in ("collector", "folder", "up"))
    signals = collector.get("signals", {})
    fresh = backlog(data / "journal", _position(collector)) if collector else Backlog()
    waiting = backlog(data / "journal", _position(folder))
    totals = {o: sum(units["items"][o] for units in signals.values()) for o in ("accepted", "rejected", "refused")}
    totals["accepted"] += sum(fresh.items.values())
    age = (time.time_ns() - waiting.oldest_ns) / 1e9 if waiting.oldest_ns is not None else 0.0
    return {
        "offered": sum(totals.values()),
        **totals,
        "journaled": totals["accepted"],
        "folded": max(0, totals["accepted"] - sum(waiting.items.values())),
        "lag": {"items": sum(waiting.items.values()), "bytes": waiting.bytes, "seconds": round(max(0.0, age), 3)},
        "lag_seconds": round(max(0.0, age), 3),
        "snapshot_age_seconds": _snapshot_age(data),
        "signals": signals,
        "processes": _processes(collector, folder, up),
        "errors": problems(data),
        "dead_letters": folder.get("dead_letters", 0),
        "damaged": pieces(data),
        "counters": folder.get("counters", {}),
    }


def problems(data: Path) -> dict[str, dict[str, Any]]:
    """Stage -> how often and what, of the stages with something wrong now. Cheap."""
    return _errors(*(read_run_file(data, name) for name in ("collector", "folder", "up"))) | _disk_error(data)


def read_run_file(data: Path, name: str) -> dict[str, Any]:
    """A status file of `run/`; empty if it is not there or half there."""
    return read_document(data / "run" / f"{name}.json")


def _position(status: dict[str, Any]) -> Position:
    segment, offset = status.get("journal") or (0, 0)
    return Position(segment, offset)


def _snapshot_age(data: Path) -> float | None:
    try:
        return round(max(0.0, time.time() - (data / "spanfold.duckdb").stat().st_mtime), 3)
    except FileNotFoundError:
        return None


def _processes(collector: dict[str, Any], folder: dict[str, Any], up: dict[str, Any]) -> dict[str, Any]:
    """What the supervisor knows of each part; without one, whether each part's own status is of a living process."""
    if up.get("pid") and _alive(up["pid"]):
        return {"up": {"state": "running", "pid": up["pid"]}, **up["children"]}
    found = {}
    for name, status in (("collect", collector), ("fold", folder)):
        running = bool(status.get("pid")) and _alive(status["pid"]) and status.get("state") != "stopped"
        found[name] = {"state": "running" if running else "stopped", "pid": status["pid"] if running else None}
    return found


def _errors(collector: dict[str, Any], folder: dict[str, Any], up: dict[str, Any]) -> dict[str, Any]:
    """Stage -> what is wrong there; only stages with something wrong."""
    errors: dict[str, Any] = {}
    if collector.get("problem"):
        errors["collect"] = {"count": 1, "last": collector["problem"]}
    if refused := folder.get("dialects", {}).get("refused"):
        errors["dialects"] = {"count": len(refused), "last": f"left out: {'; '.join(refused)}"}
    if refused := folder.get("rules", {}).get("refused"):
        errors["redaction"] = {"count": 1, "last": f"{refused}; the rules before stay in force"}
    if held := folder.get("retention_held"):
        errors["retention"] = {"count": 1, "last": held}
    if folder.get("dead_letters"):
        errors["fold"] = {"count": folder["dead_letters"], "last": "records set aside; spanfold dead list"}
    for name, child in (up.get("children") or {}).items():
        if child["state"] in ("backing off", "failed"):
            errors[f"process {name}"] = {"count": child["restarts"], "last": f"ended with {child['last_exit']}"}
    return errors


def _disk_error(data: Path) -> dict[str, Any]:
    """A full disk, looked at here: on one, no process can write down what is wrong."""
    try:
        disk = os.statvfs(data)
    except FileNotFoundError:
        return {}
    free = disk.f_bavail * disk.f_frsize
    if free >= min(_FULL_BYTES, disk.f_blocks * disk.f_frsize * DISK_SHARE):
        return {}
    return {"disk": {"count": 1, "last": f"only {free:,} bytes are free: what others wrote to run/ may be old"}}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
