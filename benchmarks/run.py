"""Measures Spanfold from the sender's first byte to the snapshot: light spans, heavy spans, heavy spans interleaved.

For each load: `spanfold up` on an empty directory (journal, encryption, redaction and dashboard on), four gRPC
connections from a sender process of its own, then the time until a stock DuckDB counts every span in the published
snapshot. Token sums have to come out exactly, or the run fails. Bodies are generated before the clock runs.

    python benchmarks/run.py                 # 200,000 light, 20,000 heavy, 20,000 heavy interleaved
    python benchmarks/run.py --scale 0.1     # a tenth of it, for a quick look
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from load import Load, Written, write
from product import Failed, Product
from rich.console import Console
from rich.table import Table

LOADS = {
    "light": Load(200_000),
    "heavy": Load(20_000, heavy=True),
    "interleaved": Load(20_000, heavy=True, alive=250),
}
MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One load through the product. Rates count from the sender's first request; per 100k = per 100,000 spans."""

    load: str
    spans: int
    wire_mb: float
    acknowledged_per_s: float
    queryable_per_s: float
    ack_p50_ms: float
    ack_p99_ms: float
    refused: int
    cpu_s_per_100k: float  # of the product, until everything is queryable
    cpu_by_part: dict[str, float]  # CPU seconds of the run
    sender_cpu_s_per_100k: float
    peak_rss_mb: float  # highest sum over the product's processes
    peak_rss_mb_by_part: dict[str, float]  # highest of each
    disk_mb_per_100k: dict[str, float]  # by table, before compaction
    compacted_mb_per_100k: dict[str, float]
    compact_seconds: float


def measure(name: str, load: Load, folder: Path, connections: int, seconds: float) -> Measured:
    """Sends one load to a product of its own. Raises Failed when something is missing or a sum is wrong."""
    bodies = folder / f"{name}.bin"
    written = write(bodies, load)
    data = folder / name / "data"
    data.mkdir(parents=True)
    with Product(data) as product:
        before = product.cpu()
        sent = _send(bodies, product.target, connections)
        counted = product.wait_for("SELECT count(*) FROM spans", written.spans, seconds)
        cpu = product.cpu(since=before)
        product.run("flush")
        _check(product, written)
        disk = product.disk()
        began = time.monotonic()
        product.run("compact", "--all")
        compact_seconds = time.monotonic() - began
        compacted = product.disk()
        per = written.spans / 100_000
        return Measured(
            load=name,
            spans=written.spans,
            wire_mb=written.bytes / MEGA,
            acknowledged_per_s=sent["spans_per_second"],
            queryable_per_s=written.spans / (counted - sent["began"]),
            ack_p50_ms=sent["ack_p50_ms"],
            ack_p99_ms=sent["ack_p99_ms"],
            refused=sent["refused"],
            cpu_s_per_100k=sum(cpu.values()) / per,
            cpu_by_part=cpu,
            sender_cpu_s_per_100k=sent["cpu_seconds"] / per,
            peak_rss_mb=product.resident_peak / MEGA,
            peak_rss_mb_by_part={part: size / MEGA for part, size in product.resident_peaks.items()},
            disk_mb_per_100k=_per(disk, per),
            compacted_mb_per_100k=_per(compacted, per),
            compact_seconds=compact_seconds,
        )


def _send(bodies: Path, target: str, connections: int) -> dict[str, Any]:
    sender = Path(__file__).with_name("sender.py")
    command = [sys.executable, str(sender), str(bodies), target, "--connections", str(connections)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise Failed(f"the sender ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout))


def _check(product: Product, written: Written) -> None:
    """After a flush the sums must be what was sent, to the token."""
    sums = "count(*), sum(input_tokens)::BIGINT, sum(output_tokens)::BIGINT"
    found = product.ask(f"SELECT (SELECT count(*) FROM spans), {sums} FROM calls")
    expected = (written.spans, written.spans // 2, written.input_tokens, written.output_tokens)
    if found != expected:
        raise Failed(f"spans, calls, input and output tokens are {found}; sent were {expected}")


def _per(sizes: Counter[str], per: float) -> dict[str, float]:
    tables = {table: size / MEGA / per for table, size in sorted(sizes.items()) if table != "journal"}
    return {"all tables": sum(tables.values()), **tables}


def _table(measured: list[Measured]) -> Table:
    table = Table(title="Spanfold, sender on the same machine")
    table.add_column("", no_wrap=True)
    for one in measured:
        table.add_column(f"{one.load}\n{one.spans:,}", justify="right")
    rows = {
        "on the wire, MB": [f"{one.wire_mb:.0f}" for one in measured],
        "acknowledged spans/s": [f"{one.acknowledged_per_s:,.0f}" for one in measured],
        "queryable spans/s": [f"{one.queryable_per_s:,.0f}" for one in measured],
        "ack p50 / p99, ms": [f"{one.ack_p50_ms:.1f} / {one.ack_p99_ms:.1f}" for one in measured],
        "refused and sent again": [str(one.refused) for one in measured],
        "CPU s per 100k, product": [f"{one.cpu_s_per_100k:.2f}" for one in measured],
        "CPU s per 100k, sender": [f"{one.sender_cpu_s_per_100k:.2f}" for one in measured],
        "peak RSS, MB": [f"{one.peak_rss_mb:.0f}" for one in measured],
        "disk, MB per 100k": [f"{one.disk_mb_per_100k['all tables']:.1f}" for one in measured],
        "compacted, MB per 100k": [f"{one.compacted_mb_per_100k['all tables']:.1f}" for one in measured],
    }
    for part in sorted({part for one in measured for part in one.cpu_by_part}):
        rows[f"  CPU s of the run, {part}"] = [f"{one.cpu_by_part.get(part, 0):.2f}" for one in measured]
    for part in sorted({part for one in measured for part in one.peak_rss_mb_by_part}):
        rows[f"  peak RSS of {part}, MB"] = [f"{one.peak_rss_mb_by_part.get(part, 0):.0f}" for one in measured]
    for name in sorted({name for one in measured for name in one.compacted_mb_per_100k} - {"all tables"}):
        rows[f"  compacted, {name}"] = [f"{one.compacted_mb_per_100k.get(name, 0):.2f}" for one in measured]
    rows["compaction, s"] = [f"{one.compact_seconds:.1f}" for one in measured]
    for label, values in rows.items():
        table.add_row(label, *values)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=LOADS, action="append", help="this load (may be repeated); otherwise all")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many spans")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=120, help="longest wait for a load to be queryable")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measured = []
    for name in args.only or LOADS:
        load = replace(LOADS[name], spans=int(LOADS[name].spans * args.scale))
        with tempfile.TemporaryDirectory(prefix="spanfold-bench-") as folder:
            try:
                measured.append(measure(name, load, Path(folder), args.connections, args.seconds))
            except Failed as error:
                sys.exit(f"{name}: {error}")
    if args.json:
        print(json.dumps([asdict(one) for one in measured], indent=2))
    else:
        Console().print(_table(measured))


if __name__ == "__main__":
    main()
