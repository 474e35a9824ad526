"""Measures how soon a collector takes spans again, with a large journal and a tail that a crash tore.

python benchmarks/restart.py                    # 1 GiB; fails where the median of five starts takes over 8 s
python benchmarks/restart.py --mebibytes 64 --starts 2
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spanfold.collector.journal import Journal
from spanfold.collector.segments import JournalRecord, segment_numbers, segment_path
from spanfold.exporter.keys import Keyring

BODY_BYTES = 256 << 10
LIMIT_SECONDS = 8.0


def fill(data: Path, mebibytes: int) -> None:
    """A journal of records that nobody has folded."""
    journal = Journal(data / "journal", Keyring.open(data))
    body = os.urandom(BODY_BYTES)
    for _ in range((mebibytes << 20) // BODY_BYTES):
        journal.append(JournalRecord("traces", "default", None, time.time_ns(), body, items=100))
    journal.close()


def tear(data: Path) -> None:
    """Cuts the last record in half."""
    newest = [n for n in segment_numbers(data / "journal") if segment_path(data / "journal", n).stat().st_size][-1]
    path = segment_path(data / "journal", newest)
    os.truncate(path, path.stat().st_size - BODY_BYTES // 2)


def start(data: Path) -> float:
    """Seconds from the start of the process to the first 200 of /healthz; the process is killed then."""
    began = time.monotonic()
    command = [sys.executable, "-m", "spanfold.cli", "collect", "--grpc-port=0", "--http-port=0", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
        took = time.monotonic() - began
        process.send_signal(signal.SIGKILL)
    if status != 200:
        raise SystemExit(f"the collector answers {status}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        fill(data, options.mebibytes)
        tear(data)
        took = [start(data) for _ in range(options.starts)]
    print(
        f"accepting after {', '.join(f'{seconds:.2f}' for seconds in took)} s with {options.mebibytes} MiB of journal"
    )
    sys.exit(statistics.median(took) > LIMIT_SECONDS)


if __name__ == "__main__":
    main()
