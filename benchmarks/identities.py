"""Measures what it costs to know every span: disk, memory and time of the runs of identities.

python benchmarks/identities.py                 # 10,000,000 spans in commits of 100,000
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from spanfold.exporter.identity import Identities, IdentityRuns

COMMIT, ASKED = 100_000, 10_000


def random_identities(rng: np.random.Generator, count: int) -> Identities:
    low, high, digest = (rng.integers(1, 1 << 63, count, np.uint64) for _ in range(3))
    return Identities(low, high, digest)


def anonymous_mebibytes() -> float:
    """Memory of this process that is no mapped file."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=10_000_000)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        runs, began, slowest, sample = IdentityRuns(data, []), time.monotonic(), 0.0, None
        for commit in range(options.spans // COMMIT):
            fresh = random_identities(rng, COMMIT)
            sample = fresh.take(slice(0, ASKED // 2)) if commit == 0 else sample
            started = time.monotonic()
            runs, gone = runs.add(fresh, f"spans-{commit:08d}")
            for path in gone:
                (data / path).unlink()
            slowest = max(slowest, time.monotonic() - started)
        written = time.monotonic() - began
        paths, runs = runs.paths, IdentityRuns(data, [])  # forgets those in memory
        before = anonymous_mebibytes()
        runs = IdentityRuns(data, paths)  # as after a restart: mapped
        started = time.monotonic()
        assert sample is not None
        known, _ = runs.find(Identities.concat([sample, random_identities(rng, ASKED - ASKED // 2)]))
        looked, more = time.monotonic() - started, anonymous_mebibytes() - before
        size = sum((data / path).stat().st_size for path in runs.paths)
    assert known.sum() == ASKED // 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(runs):,} identities in {len(runs.paths)} runs, {size / 2**20:,.0f} MiB on disk")
    print(f"written in {written:.1f} s, the slowest commit {slowest:.2f} s")
    print(f"{ASKED:,} looked up in {looked * 1000:.0f} ms")
    print(f"memory: {more:,.1f} MiB to open them and look up, {peak:,.0f} MiB at most while they were written")


if __name__ == "__main__":
    main()
