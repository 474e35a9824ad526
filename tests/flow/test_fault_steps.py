"""A process dies, or the disk answers with an error, at each step of the write path: nothing acknowledged is lost,
nothing is doubled, and nobody has to lift a hand (P2, P4, P5)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.flow.faults import Fault, Faults, Parts, parts
from tests.flow.ledger import judge, load
from tests.flow.running import wait_for
from tests.flow.sending import NOON, SECOND, chat, traces

pytestmark = pytest.mark.slow
DAY = 86_400 * SECOND
SEGMENT, PARQUET, MERGED = r"journal/\d+\.seg$", r"lake/.*/\d{8}-\d{4}\.", r"lake/.*/m[0-9a-f]{32}\.parquet$"
NUMBERED, CURRENT = r"manifest/\d+\.json$", r"manifest/current$"
NO_WINDOW = {"SPANFOLD_JOURNAL_WINDOW_SECONDS": "0", "SPANFOLD_JOURNAL_WINDOW_BYTES": "0"}

STEPS = {
    "a new segment is there, without room": Fault("collect", "posix_fallocate", "", "before"),
    "a new segment has room, its name is not safe": Fault("collect", "posix_fallocate", "", "after"),
    "before a record is written": Fault("collect", "pwritev", SEGMENT, "before", skip=5),
    "a record is written, not synced": Fault("collect", "pwritev", SEGMENT, "after", skip=5),
    "a record is synced, not acknowledged": Fault("collect", "fdatasync", SEGMENT, "after", skip=5),
    "before a file of the lake is synced": Fault("fold", "fsync", PARQUET, "before"),
    "a file is synced, not renamed": Fault("fold", "rename", PARQUET, "before"),
    "one file is renamed, others are not": Fault("fold", "rename", PARQUET, "after"),
    "before a run of identities is renamed": Fault("fold", "rename", r"lake/keys/", "before"),
    "a run of identities is renamed": Fault("fold", "rename", r"lake/keys/", "after"),
    "before the manifest is renamed": Fault("fold", "rename", NUMBERED, "before"),
    "the manifest is renamed, not current": Fault("fold", "rename", NUMBERED, "after"),
    "before the manifest is current": Fault("fold", "rename", CURRENT, "before"),
    "the manifest is current, its directory not synced": Fault("fold", "rename", CURRENT, "after"),
    "before the snapshot is there": Fault("fold", "rename", r"snapshots/v", "before"),
    "the snapshot is there, not current": Fault("fold", "link", r"spanfold\.duckdb", "before"),
    "before the snapshot is current": Fault("fold", "rename", r"/spanfold\.duckdb$", "before"),
    "before a merged file is renamed": Fault("fold", "rename", MERGED, "before"),
    "a merged file is renamed": Fault("fold", "rename", MERGED, "after"),
    "before a folded segment is removed": Fault("fold", "unlink", SEGMENT, "before"),
    "a folded segment is removed, others are not": Fault("fold", "unlink", SEGMENT, "after"),
}


@pytest.mark.timeout(600)
def test_a_kill_at_each_step(tmp_path: Path) -> None:
    """F02: one after the other on one data directory, under two retrying clients, the journal forgotten as soon as it
    is folded; what is stored is compared with what was acknowledged after every step."""
    faults, acknowledged, began = Faults(tmp_path / "plugin"), [], time.monotonic()
    with parts(tmp_path, faults, **NO_WINDOW) as running:
        for step, fault in STEPS.items():
            with load(running, senders=2, spans=10, pause=0.1, first=len(acknowledged)) as ledger:
                faults.arm(fault)
                if fault.call in ("posix_fallocate", "unlink"):  # where there is a next segment
                    running.kill("collect")
                    running.start(wait=False)
                wait_for(lambda fault=fault: faults.fired and not running.runs(fault.verb), 60, step)
                running.start()
            acknowledged += ledger.acknowledged
            running.flush()
            verdict = judge(running.data, acknowledged)
            assert verdict.is_good, (step, verdict)
            print(f"{time.monotonic() - began:6.1f} s  {step}: {verdict}")
    assert not list((running.data / "dead-letters").glob("*"))
    assert not list((running.data / "quarantine").glob("*"))


ERRORS = {
    "F06: the sync of the journal fails once": Fault("collect", "fdatasync", SEGMENT, does="EIO", skip=5),
    "F07: a record is written in part, then the disk is full": Fault(
        "collect", "pwritev", SEGMENT, does="short", skip=5
    ),
    "F07: a record cannot be written": Fault("collect", "pwritev", SEGMENT, does="EIO", skip=5),
    "F07: the disk is full at a record": Fault("collect", "pwritev", SEGMENT, does="ENOSPC", skip=5),
    "F07: the disk is full at a new segment": Fault("collect", "posix_fallocate", "", does="ENOSPC"),
    "F08: a file of the lake cannot be synced": Fault("fold", "fsync", PARQUET, does="EIO"),
    "F08: the disk is full at a run of identities": Fault("fold", "rename", r"lake/keys/", does="ENOSPC"),
    "F08: the disk is full at the manifest": Fault("fold", "rename", NUMBERED, does="ENOSPC"),
    "F08: the manifest cannot be made current": Fault("fold", "rename", CURRENT, does="EIO"),
    "F08: the disk is full at the snapshot": Fault("fold", "rename", r"snapshots/v", does="ENOSPC"),
    "F08: the disk is full at a merge": Fault("fold", "rename", MERGED, does="ENOSPC"),
}


@pytest.mark.timeout(400)
def test_an_error_of_the_disk_at_each_step(tmp_path: Path) -> None:
    """F06, F07, F08: the collector answers 503 and goes on in a new segment; the folder ends, is started again and goes
    on from the last manifest. Nothing is lost, doubled or set aside."""
    faults, acknowledged, refused = Faults(tmp_path / "plugin"), [], 0
    with parts(tmp_path, faults) as running:
        for step, fault in ERRORS.items():
            with load(running, senders=2, spans=10, pause=0.1, first=len(acknowledged)) as ledger:
                faults.arm(fault)
                if fault.call == "posix_fallocate":
                    running.kill("collect")
                    running.start(wait=False)
                wait_for(lambda: faults.fired, 60, step)
                if fault.verb == "fold":
                    goes_on(running)
                else:
                    count = len(ledger.acknowledged)
                    wait_for(lambda count=count: len(ledger.acknowledged) > count, 20, "the next OK")
            acknowledged += ledger.acknowledged
            refused += ledger.answered[503]
            assert running.runs("collect"), step
            running.flush()
            verdict = judge(running.data, acknowledged)
            assert verdict.is_good, (step, verdict)
    assert refused > 0
    assert not list((running.data / "dead-letters").glob("*"))
    assert not list((running.data / "quarantine").glob("*"))


def goes_on(running: Parts) -> None:
    """The folder takes in what came later, started again if it ended."""
    folded, end = running.status()["folded"], time.monotonic() + 60
    while running.status()["folded"] <= folded:
        running.start()
        assert time.monotonic() < end, "it does not fold"
        time.sleep(0.05)


def test_a_kill_while_days_are_dropped(tmp_path: Path) -> None:
    """F02: the day that is over its time is there whole or not at all; the next start drops it. The other day stays."""
    faults = Faults(tmp_path / "plugin")
    old = [chat(1, number) for number in range(1, 21)]
    young = [chat(2, number, tokens=(number, 1), start=NOON + 60 * DAY) for number in range(1, 21)]
    with parts(tmp_path, faults, SPANFOLD_RETENTION_DAYS="30") as running:
        assert running.post(traces(old))[0] == running.post(traces(young))[0] == 200
        running.flush()
        faults.arm(Fault("fold", "rename", CURRENT))
        wait_for(lambda: faults.fired and not running.runs("fold"), 30, "retention")
        sent = [(span.trace_id.hex(), span.span_id.hex(), number) for number, span in enumerate(young, 1)]
        assert judge(running.data, sent).strange == 20
        running.start()
        wait_for(lambda: judge(running.data, sent).is_good, 30, "retention after the kill")
