"""Kill and power-cut loops under retrying clients, and the proof that these loops see what they look for.

The loops are short here; `KILL_CYCLES=200 CUT_CYCLES=100` makes them as long as docs/durability.md reports.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.flow.faults import BROKEN, LOG_FLUSH, Fault, Faults, Kind, Parts, disk, parts
from tests.flow.ledger import Verdict, judge, load
from tests.flow.running import wait_for
from tests.flow.sending import chat, traces

pytestmark = pytest.mark.slow
KILL_CYCLES = int(os.environ.get("KILL_CYCLES", "12"))
CUT_CYCLES = int(os.environ.get("CUT_CYCLES", "12"))


def moment(rng: random.Random) -> float:
    """Seconds to wait: often while processes still start, sometimes long enough for commits and merges."""
    return rng.uniform(0.1, 1.2) if rng.random() < 0.7 else rng.uniform(2.0, 4.0)


def kill_loop(running: Parts, cycles: int, seed: int) -> Verdict:
    """SIGKILL to either process or both at random moments, while three clients send and retry."""
    rng = random.Random(seed)
    with load(running, senders=3, spans=20, pause=0.1) as ledger:
        for _ in range(cycles):
            time.sleep(moment(rng))
            running.kill(*rng.choice([("collect",), ("fold",), ("collect", "fold")]))
            running.start()
    running.flush()
    return judge(running.data, ledger.acknowledged)


def cut_loop(tmp_path: Path, cycles: int, seed: int, kind: Kind | None = None) -> tuple[Verdict, Parts]:
    """The power fails at random moments while three clients send and retry."""
    rng = random.Random(seed)
    with disk(tmp_path, kind) as power, parts(tmp_path, None, power.directory / "data") as running:
        with load(running, senders=3, spans=20, pause=0.1) as ledger:
            for _ in range(cycles):
                time.sleep(moment(rng))
                power.cut(running)
                running.start()
        running.flush()
        verdict = judge(running.data, ledger.acknowledged)
        running.stop()
    return verdict, running


@pytest.mark.timeout(1800)
def test_kills_at_random_moments(tmp_path: Path) -> None:
    """F01: nothing acknowledged is lost, nothing is doubled; spans are taken again within 8 s (P2, P7)."""
    with parts(tmp_path) as running:
        verdict = kill_loop(running, KILL_CYCLES, 1)
    print(f"{KILL_CYCLES} kills: {verdict}, accepting again after {running.slowest_start:.1f} s at most")
    assert verdict.is_good, verdict
    assert verdict.acknowledged > 100
    assert running.slowest_start < 8.0
    assert not list((running.data / "dead-letters").glob("*"))


@pytest.mark.timeout(1800)
def test_power_cuts_at_random_moments(tmp_path: Path) -> None:
    """F03: what was acknowledged is on the disk, whatever was in flight (P1, P2)."""
    verdict, running = cut_loop(tmp_path, CUT_CYCLES, 2)
    print(f"{CUT_CYCLES} power cuts: {verdict}, accepting again after {running.slowest_start:.1f} s at most")
    assert verdict.is_good, verdict
    assert verdict.acknowledged > 100


OTHER_DISKS = {
    "ext4 that writes names before data": Kind(options="loop,data=writeback"),
    "ext4 whose log is written out": Kind(flag=LOG_FLUSH),
    "XFS": Kind(make=("mkfs.xfs", "-q")),
}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", OTHER_DISKS)
def test_power_cuts_on_other_disks(tmp_path: Path, kind: str) -> None:
    """F04: file systems that keep other orders between names, data and log lose nothing either."""
    verdict, _ = cut_loop(tmp_path, max(2, CUT_CYCLES // 6), 5, OTHER_DISKS[kind])
    print(f"{max(2, CUT_CYCLES // 6)} power cuts on {kind}: {verdict}")
    assert verdict.is_good, verdict
    assert verdict.acknowledged > 30


def test_power_cuts_while_a_backlog_is_folded(tmp_path: Path) -> None:
    """F28: the power fails again and again before the journal is folded; then all of it is there once."""
    with disk(tmp_path) as power, parts(tmp_path, None, power.directory / "data") as running:
        running.kill("fold")
        with load(running, senders=2, spans=20, pause=0.0) as ledger:
            wait_for(lambda: len(ledger.acknowledged) >= 2_000, 60, "a backlog")
        for seconds in (0.0, 1.0, 1.7, 2.4, 3.1):
            power.cut(running)
            running.start(wait=False)
            time.sleep(seconds)
        running.flush()
        verdict = judge(running.data, ledger.acknowledged)
        running.stop()
    assert verdict.is_good, verdict


# ---- the harness itself ----------------------------------------------------------------------------------------------
def test_without_syncs_a_power_cut_is_seen_to_lose_spans(tmp_path: Path) -> None:
    """Mutation: a store that never syncs turns the power-cut loop red, or does not even start again."""
    with (
        disk(tmp_path) as power,
        parts(tmp_path, Faults(tmp_path / "plugin", BROKEN["no sync"]), power.directory / "data") as running,
    ):
        with load(running, senders=3, spans=20, pause=0.02) as ledger:
            wait_for(lambda: len(ledger.acknowledged) > 500, 60, "spans")
            power.cut(running)
            acknowledged = list(ledger.acknowledged)
            running.environ.pop("PYTHONPATH")
            ledger._product = refusing()
            ledger._stop.set()
        try:
            running.start()
            running.flush()
        except AssertionError:
            return  # not even its keys are left
        assert judge(running.data, acknowledged).lost > 0


class refusing:
    """Takes everything, so that senders whose product is gone come to an end."""

    def post(self, body: bytes, content_type: str) -> tuple[int, None, bytes]:
        return 200, None, b""


def test_an_answer_before_the_write_is_seen_to_lose_spans(tmp_path: Path) -> None:
    """Mutation: a collector that answers first turns the kill loop red."""
    faults = Faults(tmp_path / "plugin", BROKEN["acknowledged before it is written"])
    with parts(tmp_path, faults) as running:
        verdict = kill_loop(running, 4, 3)
    assert verdict.lost > 0


def test_missing_deduplication_is_seen_to_double_spans(tmp_path: Path) -> None:
    """Mutation: a folder that finds no identity turns a lost answer (F05) red."""
    spans = [chat(1, number, tokens=(number, 1)) for number in range(1, 101)]
    sent = [(span.trace_id.hex(), span.span_id.hex(), number) for number, span in enumerate(spans, 1)]
    with parts(tmp_path, Faults(tmp_path / "plugin", BROKEN["no deduplication"])) as running:
        for size in (100, 30):
            for first in range(0, 100, size):
                assert running.post(traces(spans[first : first + size]))[0] == 200
            running.flush()
        verdict = judge(running.data, sent)
    assert (verdict.lost, verdict.doubled) == (0, 100)


def test_publishing_in_two_steps_is_seen_to_lose_spans(tmp_path: Path) -> None:
    """Mutation: a folder that states its journal position before its files count turns a kill in between red."""
    faults = Faults(tmp_path / "plugin", BROKEN["published in two steps"])
    with parts(tmp_path, faults) as running, load(running, senders=2, spans=20) as ledger:
        wait_for(lambda: running.status()["folded"] > 0, 60, "the first fold")
        faults.arm(Fault("fold", "rename", r"manifest/current$", "after"))
        wait_for(lambda: faults.fired and not running.runs("fold"), 60, "the kill")
        running.start()
        ledger.end()
        running.flush()
        verdict = judge(running.data, ledger.acknowledged)
    assert verdict.lost > 0
