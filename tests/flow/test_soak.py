"""F30: kills, power cuts, full disks and clocks that jump, one after the other in an order that a seed decides.

`SOAK_SECONDS=7200 python -m pytest -m slow tests/flow/test_soak.py -s` is the long run of docs/durability.md; CI runs
some seconds of it. The seed is printed; `SOAK_SEED` repeats an order.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.flow.faults import Disk, Faults, Parts, disk, parts
from tests.flow.ledger import judge, load
from tests.flow.running import wait_for
from tests.flow.test_conditions import CLOCK

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
FAULTS = ("kill", "kill", "cut", "full disk", "clock")


def one_fault(fault: str, rng: random.Random, power: Disk, running: Parts, clock: Path) -> None:
    if fault == "kill":
        running.kill(*rng.choice([("collect",), ("fold",), ("collect", "fold")]))
    elif fault == "cut":
        power.cut(running)
    elif fault == "clock":
        clock.write_text(str(rng.choice([-2 * 86_400, 365 * 86_400, 3600, 0])))
    else:
        filler = power.directory / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(power.directory).free - (1 << 20)))
        time.sleep(rng.uniform(0.5, 3.0))
        filler.unlink()


@pytest.mark.timeout(SECONDS + 600)
def test_soak(tmp_path: Path) -> None:
    """Three clients send and retry all the while: nothing acknowledged is lost, nothing is doubled or made up, no
    record is set aside, and at the end everything is folded."""
    seed = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 1_000_000)))
    rng, plugin, done = random.Random(seed), Faults(tmp_path / "plugin", CLOCK), Counter[str]()
    with disk(tmp_path) as power, parts(tmp_path, plugin, power.directory / "data") as running:
        end = time.monotonic() + SECONDS
        with load(running, senders=3, spans=20, pause=0.3) as ledger:
            while time.monotonic() < end:
                fault = rng.choice(FAULTS)
                print(f"seed {seed}: {fault}", flush=True)
                one_fault(fault, rng, power, running, plugin.directory / "seconds")
                done[fault] += 1
                running.start(wait=False)
                time.sleep(rng.uniform(0.5, 4.0))
            running.start()
            count = len(ledger.acknowledged)
            wait_for(lambda: len(ledger.acknowledged) > count, 60, "an OK at the end")
        running.flush()
        verdict = judge(running.data, ledger.acknowledged)
        letters = [path.name for path in (running.data / "dead-letters").glob("*")]
        running.stop()
    print(f"seed {seed}, {SECONDS:g} s, {dict(done)}: {verdict}")
    assert verdict.is_good, (seed, verdict)
    assert letters == []
