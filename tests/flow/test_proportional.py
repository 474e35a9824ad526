"""Rule 11 at rest: what a late span reads and writes does not grow with what is stored. Counted, never timed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flow.sending import NOON, SECOND, Product, batches, chat, logs, product, span, traces

DAY = 86_400 * SECOND
MIDNIGHT = NOON - DAY // 2


def read_so_far() -> int:
    """Bytes that this process has read from files."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar"))


def store(p: Product, spans: int, days: int, seed: int) -> list[int]:
    """Traces of four calls, spread over whole days, under random ids as real ones are. Gives the ids."""
    rng = random.Random(seed)
    ids = [rng.getrandbits(128) for _ in range(spans // 4)]
    step = days * DAY // len(ids)
    for first in range(0, len(ids), 5_000):
        part = [
            chat(trace, number, start=MIDNIGHT + at * step)
            for at, trace in enumerate(ids[first : first + 5_000], first)
            for number in range(1, 5)
        ]
        p.send(*batches(part, 5_000))
        p.fold()
    p.folding.compact_everything()
    p.folding.publish()
    return ids


def cost_of(p: Product, send: Callable[[], None]) -> tuple[int, int, int]:
    """(bytes read of the lake, rows that came back, bytes written to it) for what `send` sends to a folder that has
    just started and remembers nothing. The snapshot, which is the same size whatever is stored, is not counted."""
    p.restart()
    p.folding.publish()
    stored, before = p.folding._stored, {file.path for file in p.folding.lake.manifest.files}
    looked, read = stored._find, [0]

    def counted(*given: object) -> object:
        began = read_so_far()
        found = looked(*given)  # type: ignore[arg-type]
        read[0] += read_so_far() - began
        return found

    stored._find = counted  # type: ignore[method-assign,assignment]
    send()
    p.fold()
    written = sum(file.bytes for file in p.folding.lake.manifest.files if file.path not in before)
    return read[0], stored.rows_read, written


SAID = {"gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "late"}]}]}
LATE: dict[str, Callable[[Product, int], None]] = {
    "a parent": lambda p, trace: p.send(traces([span(trace, 99, name="late parent")])),
    "a call": lambda p, trace: p.send(traces([chat(trace, 98, 1)])),
    "content in a log": lambda p, trace: p.send(
        logs([(trace, 2, "gen_ai.client.inference.operation.details", SAID)]), signal="logs"
    ),
}


@pytest.mark.parametrize("late", LATE)
def test_a_late_arrival_reads_its_own_day_only(tmp_path: Path, late: str) -> None:
    """After a restart, 20 stored days: one late piece reads its trace's four rows out of one day's files (words that
    came apart from their span read them twice: where it lies, and what the trace is now)."""
    with product(tmp_path) as p:
        ids = store(p, 8_000, days=20, seed=1)
        lake = sum(file.bytes for file in p.folding.lake.manifest.files)
        read, rows, written = cost_of(p, lambda: LATE[late](p, ids[1_000]))
        assert rows <= 8
        assert read < (0.2 if rows > 4 else 0.1) * lake
        assert written < 64_000  # a few files of a row each, mostly footer


@pytest.mark.slow
def test_what_a_late_span_costs_does_not_grow_with_the_day(tmp_path: Path) -> None:
    """The same late call against a day of 100,000 and of 400,000 spans: no more bytes are read, none more written."""
    costs = []
    for number, spans in enumerate((100_000, 400_000)):
        with product(tmp_path / str(number)) as p:
            ids = store(p, spans, days=1, seed=2)
            lake = sum(file.bytes for file in p.folding.lake.manifest.files)
            costs.append(cost_of(p, lambda p=p, ids=ids: LATE["a call"](p, ids[len(ids) // 2])))
            print(f"{spans} spans, {lake} bytes: read {costs[-1][0]}, {costs[-1][1]} rows, written {costs[-1][2]}")
    small, large = costs
    assert small[1] == large[1] == 4
    assert large[0] < 1.3 * small[0]
    assert large[2] < 1.1 * small[2]
