"""How old is what one sees? Acknowledgement to queryable at a steady rate, on top of a day that is already full.

First stores `--preload` spans of one day, then sends `--rate` spans a second into the same day for `--seconds` and asks
each published snapshot how many of these have arrived. Prints p50, p95 and the longest lag.

    python benchmarks/lag.py --preload 100000      # a quick look; the default of 5,000,000 takes about ten minutes
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from load import DAY, DEFAULT_START, Load, requests, write
from product import Failed, Product
from sender import EXPORT, PAUSE, RETRYABLE

_EVENING = DEFAULT_START + DAY * 23 // 24  # the steady spans start after 23:00, so a query for them reads little
_COUNT = "SELECT count(*) FROM spans WHERE date = DATE '2025-11-05' AND start_time >= TIMESTAMP '2025-11-05 23:00:00'"


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from acknowledgement to the first snapshot that shows the request's last span."""

    stored_before: int
    preload_seconds: float
    spans: int
    rate: float
    acknowledged_per_s: float
    p50: float
    p95: float
    longest: float
    cpu_seconds: dict[str, float]  # of the product while the steady spans arrive, by part


def measure(preload: int, rate: float, seconds: float, folder: Path) -> Lag:
    """Runs it all in `folder`. Raises Failed when spans do not arrive."""
    bodies = folder / "steady.bin"
    steady = write(bodies, Load(int(rate * seconds), seed=11, start=_EVENING, days=1 / 100, request_spans=100))
    data = folder / "data"
    data.mkdir()
    with Product(data) as product:
        stored, took = _preload(product, preload)
        used = product.cpu()
        sender = Path(__file__).with_name("sender.py")
        command = [sys.executable, str(sender), str(bodies), product.target, "--connections", "1", "--rate", str(rate)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            seen = _watch(product, steady.spans, seconds + 60)
            output, _ = process.communicate(timeout=60)
        if process.returncode:
            raise Failed("the sender failed")
        cpu = product.cpu(since=used)
        sent = json.loads(output)
    lags = sorted(_lags(sent["acks"], seen))
    return Lag(
        stored_before=stored,
        preload_seconds=took,
        spans=steady.spans,
        rate=rate,
        acknowledged_per_s=sent["spans_per_second"],
        p50=lags[len(lags) // 2],
        p95=lags[int(len(lags) * 0.95)],
        longest=lags[-1],
        cpu_seconds=cpu,
    )


def _preload(product: Product, spans: int) -> tuple[int, float]:
    """Stores the morning and the day; the bodies are sent as they are generated."""
    began = time.monotonic()
    sent = 0
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(product.target, options=options) as channel:
        export = channel.unary_unary(EXPORT)
        for request in requests(Load(spans, days=22 / 24)):
            while not _accepted(export, request.body):
                time.sleep(PAUSE)
            sent += request.spans
    product.wait_for("SELECT count(*) FROM spans", sent, 600)
    product.run("flush")
    return sent, time.monotonic() - began


def _accepted(export: grpc.UnaryUnaryMultiCallable, body: bytes) -> bool:
    try:
        export(body, timeout=60)
    except grpc.RpcError as error:
        if error.code() not in RETRYABLE:
            raise Failed(f"{error.code()}: {error.details()}") from error
        return False
    return True


def _watch(product: Product, spans: int, seconds: float) -> list[tuple[float, int]]:
    """(Unix time, steady spans visible) of each snapshot, until all are."""
    published = product.data / "spanfold.duckdb"
    seen: list[tuple[float, int]] = []
    stamp, until = 0, time.time() + seconds
    while time.time() < until:
        now = published.stat().st_mtime_ns
        if now != stamp:
            stamp, row = now, product.ask(_COUNT)
            if row:
                seen.append((time.time(), row[0]))
            if row and row[0] >= spans:
                return seen
        time.sleep(0.02)
    raise Failed(f"after {seconds:.0f} s {seen[-1][1] if seen else 0} of {spans} spans are visible")


def _lags(acks: list[dict[str, Any]], seen: list[tuple[float, int]]) -> list[float]:
    lags = []
    shown = iter(seen)
    at, visible = next(shown)
    sent = 0
    for ack in acks:
        sent += ack["spans"]
        while visible < sent:
            at, visible = next(shown)
        lags.append(max(0.0, at - ack["acknowledged"]))
    return lags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preload", type=int, default=5_000_000, help="spans that are stored before")
    parser.add_argument("--rate", type=float, default=2_000, help="spans a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spanfold-lag-") as folder:
        try:
            lag = measure(args.preload, args.rate, args.seconds, Path(folder))
        except Failed as error:
            sys.exit(str(error))
    if args.json:
        print(json.dumps(asdict(lag), indent=2))
    else:
        print(f"{lag.stored_before:,} spans of the day stored before ({lag.preload_seconds:.0f} s)")
        print(f"{lag.spans:,} spans at {lag.rate:,.0f} a second, acknowledged at {lag.acknowledged_per_s:,.0f}")
        print(f"acknowledged to queryable: p50 {lag.p50:.2f} s, p95 {lag.p95:.2f} s, longest {lag.longest:.2f} s")


if __name__ == "__main__":
    main()
