"""Parts of the running product are killed, stopped and poisoned under load: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.flow.ledger import STORED, Ledger, identity, load
from tests.flow.running import PROTOBUF, Running, printed_json, up, wait_for
from tests.flow.sending import chat, logs, traces
from tests.flow.sending import product as in_process

LAG_SECONDS = 3.0  # on a machine that has its CPUs to itself


def assert_nothing_lost_or_doubled(product: Running, ledger: Ledger) -> None:
    """As multisets: every acknowledged span once, in the view, the rollup and the export; nothing else."""
    product.flush()
    sent = sorted(ledger.acknowledged)
    with duckdb.connect(str(product.data / "spanfold.duckdb"), read_only=True) as connection:
        stored = sorted(connection.execute(STORED).fetchall())
        rolled = connection.execute("SELECT sum(calls), sum(input_tokens) FROM rollup_hourly").fetchone()
        (spans,) = connection.execute("SELECT count(*) FROM spans").fetchone() or (0,)
    assert (len(set(sent)), spans) == (len(sent), len(sent))
    assert sent == stored
    assert (len(sent), sum(tokens for *_, tokens in sent)) == rolled


def lag_after(product: Running, seconds: float) -> float:
    """The largest lag in the next seconds, and until it is as small as it usually is."""
    worst, end = 0.0, time.monotonic() + seconds
    while True:
        status = product.status()
        worst = max(worst, status["lag_seconds"])
        if time.monotonic() > end and status["lag_seconds"] < 1.0:
            return worst
        assert time.monotonic() < end + 30, f"it does not catch up: {status}"
        time.sleep(0.05)


def crowding() -> float:
    """How many times longer than on an idle machine a computation takes now: at least 1."""
    wall, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < 0.3:
        pass
    return max(1.0, (time.monotonic() - wall) / 0.3)


@pytest.mark.slow
def test_a_folder_killed_ten_times_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL at random moments (F01), the next process on standby: each time back within 3 s of lag, no request waits
    for it, every acknowledged span is there once, and nothing was set aside for a poison that it was not."""
    rng, crowded = random.Random(7), crowding()
    with up(tmp_path) as product, load(product) as ledger:
        wait_for(lambda: product.status()["folded"] > 0, 30, "the first fold")
        lags = []
        for _ in range(10):
            wait_for(lambda: product.child("fold")["standby"], 30, "the next process")
            time.sleep(rng.uniform(2.0, 3.0))
            product.kill("fold")
            lags.append(lag_after(product, 1.0))
        ledger.end()
        assert_nothing_lost_or_doubled(product, ledger)
        status = product.status()
    crowded = max(crowded, crowding())
    print(f"lags {[round(lag, 2) for lag in lags]} s, everything takes {crowded:.1f} times as long as it should; "
          f"{len(ledger.acknowledged)} spans, slowest answer {ledger.slowest_answer:.2f} s")  # fmt: skip
    assert max(lags) <= LAG_SECONDS * crowded
    assert (status["processes"]["fold"]["restarts"], status["processes"]["collect"]["restarts"]) == (10, 0)
    assert not list((product.data / "dead-letters").glob("*"))
    assert ledger.resent == 0


@pytest.mark.slow
def test_a_collector_killed_under_load_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """SIGKILL six times (F01, F05): senders resend what was not acknowledged, in other batches; every acknowledged
    span is there once, though some were durable before they were resent, and counters survive."""
    rng = random.Random(11)
    with up(tmp_path) as product, load(product, senders=4, pause=0.0) as ledger:
        for _ in range(6):
            time.sleep(rng.uniform(0.2, 1.0))
            product.kill("collect")
            killed = time.monotonic()
            wait_for(product.accepts, 8, "the next collector")
            print(f"accepting again after {time.monotonic() - killed:.2f} s")
        ledger.end()
        assert_nothing_lost_or_doubled(product, ledger)
        status = product.status()
        manifest = json.loads((product.data / "run" / "folder.json").read_text())["counters"]
    print(f"{len(ledger.acknowledged)} spans, {ledger.resent} resent, {manifest['duplicates']} were there before")
    assert ledger.resent > 0
    assert status["processes"]["collect"]["restarts"] == 6
    assert status["accepted"] == len(ledger.acknowledged) + manifest["duplicates"] == status["folded"]


def test_a_stopped_folder_and_lost_answers_cost_nothing(tmp_path: Path) -> None:
    """While the folder stands still (SIGSTOP) every request is answered at once; a sender that never heard its OK
    (F05, F22) sends the same spans again in other batches, over both restarts; all of it is stored once."""
    with up(tmp_path) as product:
        folder = product.signal("fold", signal.SIGSTOP)
        spans = [chat(1, number, tokens=(number, 1)) for number in range(1, 401)]
        slowest = 0.0
        for first in range(0, 400, 40):
            began = time.monotonic()
            product.send(traces(spans[first : first + 40]))
            slowest = max(slowest, time.monotonic() - began)
        assert product.status()["lag"]["items"] == 400
        post_and_leave(product, traces(spans))
        wait_for(lambda: product.status()["accepted"] == 800, 10, "the request that nobody waited for")
        product.kill("collect")
        wait_for(product.accepts, 30, "the next collector")
        for first in range(0, 400, 130):
            product.send(traces(spans[first : first + 130]))
        os.kill(folder, signal.SIGCONT)
        product.flush()
        product.kill("fold")
        product.send(traces(spans[::7]))
        product.flush()
        with duckdb.connect(str(product.data / "spanfold.duckdb"), read_only=True) as connection:
            assert sorted(connection.execute(STORED).fetchall()) == sorted(map(identity, spans))
        assert product.status()["accepted"] == 800 + 400 + 58 == product.status()["folded"]
    assert slowest < 2.0
    assert product.process.returncode == 0


def post_and_leave(product: Running, body: bytes) -> None:
    """Sends a whole request and closes the connection without reading a byte of the answer."""
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", product.http_port), timeout=10) as raw:
        raw.sendall(head.encode() + body)


# ---- poison ----------------------------------------------------------------------------------------------------------
PLUGIN = """
import os, sys
if "fold" in sys.orig_argv:
    from spanfold.collector import decode
    real = decode.decode_spans
    def decode_spans(records, ahead=None):
        for body in [*(record.body for record in records), *(ahead.array().to_pylist() if ahead else [])]:
            if b"poison that kills" in body:
                os.kill(os.getpid(), 9)
            if b"poison that raises" in body:
                raise RuntimeError(body)
        return real(records, ahead)
    decode.decode_spans = decode_spans
"""
CANNOT_START = """
import os, sys
if "fold" in sys.orig_argv:
    os._exit(7)
"""


def plugin(tmp_path: Path, code: str) -> str:
    """A PYTHONPATH under which every process of the product runs this code first."""
    directory = tmp_path / "plugin"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(code)
    return str(directory)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("poison", "before", "after", "restarts", "chunk"),
    [
        ("kills", 0, 3, 6, 1 << 20), ("kills", 15, 3, 6, 1 << 20), ("kills", 15, 3, 6, 100),
        ("raises", 15, 3, 0, 1 << 20), ("raises", 15, 3, 4, 100), ("raises", 0, 0, 4, 1 << 20),
    ],
)  # fmt: skip
def test_poison_is_set_aside_and_everything_else_goes_on(
    tmp_path: Path, poison: str, before: int, after: int, restarts: int, chunk: int
) -> None:
    """F29: a record that kills the folder, or that raises, is set aside, sealed, wherever it stands in the journal: at
    once where others of its chunk can be folded, else when its chunk ended two processes, it was found by reading ever
    smaller parts, and ended four processes alone. In a chunk of its own (100 bytes) it ends one or two while it is
    decoded ahead, and four alone. Status says so, every other span is there, the end is clean."""
    with up(tmp_path, PYTHONPATH=plugin(tmp_path, PLUGIN), SPANFOLD_CHUNK_BYTES=str(chunk)) as product:
        folder = product.signal("fold", signal.SIGSTOP)  # so that poison and good spans come in one chunk
        for number in range(1, before + 1):
            product.send(traces([chat(1, number)]))
        if before:  # a chunk over two segments
            product.kill("collect")
            wait_for(product.accepts, 30, "the next collector")
        product.send(traces([chat(2, 1, name=f"poison that {poison}")]))
        for number in range(1, after + 1):
            product.send(traces([chat(3, number)]))
        os.kill(folder, signal.SIGCONT)
        wait_for(lambda: product.status()["errors"].get("fold"), 100, "the dead letter")
        product.flush()
        status = printed_json(product.spanfold("status", "--json"))
        product.send(traces([chat(4, 1)]))
        product.flush()
        with duckdb.connect(str(product.data / "spanfold.duckdb"), read_only=True) as connection:
            stored = connection.execute("SELECT trace_id, count(*) FROM calls GROUP BY 1 ORDER BY 1").fetchall()
    assert stored == [(f"{trace:032x}", count) for trace, count in ((1, before), (3, after), (4, 1)) if count]
    assert status["errors"]["fold"] == {"count": 1, "last": "records set aside; spanfold dead list"}
    assert status["processes"]["fold"]["restarts"] in (restarts, restarts - (poison == "kills" and chunk == 100))
    (letter,) = (json.loads(path.read_text()) for path in (product.data / "dead-letters").glob("*.json"))
    assert letter["error"] == (
        "the fold process ended 4 times while it worked on this record alone"
        if restarts
        else "RuntimeError in sitecustomize.py:11"
    )
    assert b"poison" not in product.printed.read_bytes()
    assert product.process.returncode == 0


@pytest.mark.slow
def test_a_crash_loop_backs_off_shows_and_costs_no_span(tmp_path: Path) -> None:
    """A folder that cannot start: status names it, requests are taken all the same, SIGTERM ends the rest with 0; the
    next start, with the fault gone, folds what came meanwhile."""
    with up(tmp_path, PYTHONPATH=plugin(tmp_path, CANNOT_START)) as product:
        wait_for(lambda: product.child("fold").get("restarts", 0) >= 5, 60, "five restarts")
        product.send(traces([chat(1, 1)]))
        wait_for(lambda: product.child("fold")["state"] == "backing off", 10, "a wait")
        status = printed_json(product.spanfold("status", "--json"))
        text = product.spanfold("status").stdout
    assert status["errors"]["process fold"]["last"] == "ended with 7"
    assert "error in process fold: ended with 7" in text
    assert status["lag"]["items"] == 1
    assert product.process.returncode == 0
    with up(tmp_path) as product:
        product.flush()
        assert (product.status()["folded"], product.status()["errors"]) == (1, {})


def say(role: str, words: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": words}]}


@pytest.mark.parametrize("order", ["log, span, poison", "span, poison, log", "poison, log, span"])
def test_poison_costs_no_content_that_came_in_logs(tmp_path: Path, order: str) -> None:
    """Content in log records beside a record that cannot be folded still meets its span, and is counted once where it
    was redacted."""
    said = {
        "gen_ai.input.messages": [say("user", "mail jo@example.com")],
        "gen_ai.output.messages": [say("assistant", "done")],
    }
    records = {
        "log": (logs([(1, 2, "gen_ai.client.inference.operation.details", said)]), "logs"),
        "span": (traces([chat(1, 2, user__id="jo@example.com")]), "traces"),
        "poison": (b"\xff\xff\xff not a request", "traces"),
    }
    with in_process(tmp_path, quiet_seconds=3600.0) as p:
        for name in order.split(", "):
            p.send(records[name][0], signal=records[name][1])
        p.fold()
        assert p.query("SELECT context_messages, output_messages FROM calls") == [(1, 1)]
        assert p.query("SELECT place, sum(count) FROM redactions GROUP BY 1 ORDER BY 1") == [
            ("message", 1),
            ("user_id", 1),
        ]
    assert len(list((tmp_path / "dead-letters").glob("*.json"))) == 1
