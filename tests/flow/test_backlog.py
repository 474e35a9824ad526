"""A backlog is folded while the chunk before it is still being written: nothing depends on which of them is durable."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from spanfold import publishing
from spanfold.collector import decode, span_rows
from spanfold.collector.dead_letters import DeadLetters
from tests.flow.sending import NOON, SECOND, Product, chat, product, span, traces

CHUNK = 100  # bytes of journal: each request below is a full chunk of its own


class Killed(BaseException):
    """The process ends here: nothing catches this."""


class AtLast:
    """An executor that comes to a task only when it is waited for: a kill before that loses the commit."""

    def submit(self, task: Any, *arguments: Any) -> AtLast:
        waiting = AtLast()
        waiting._task = lambda: task(*arguments)
        return waiting

    def result(self) -> None:
        self._task()

    def shutdown(self) -> None:
        pass


def fold_until_killed(p: Product) -> None:
    """Folds as the fold process does until the poison ends it; the commit that is under way then is lost."""
    p.folding._committer.shutdown()
    p.folding._committer = AtLast()  # type: ignore[assignment]
    with contextlib.suppress(Killed):
        if p.folding.doubts:
            p.folding.publish()
        while p.folding.step():
            continue


@pytest.mark.parametrize("seconds", [2.0, -1.0])
def test_a_record_that_kills_is_found_though_the_commit_before_it_is_lost_as_well(
    tmp_path: Path, monkeypatch: Any, seconds: float
) -> None:
    """F29: chunks A, B, poison, C. The kill takes A's or B's commit with it; still the poison is set aside after a
    bounded number of restarts, and A, B and C are stored once. However often readers get a snapshot meanwhile."""
    monkeypatch.setattr(publishing, "PUBLISH_SECONDS", seconds)
    real = decode.decode_spans

    def deadly(records: Any, ahead: Any = None) -> Any:
        bodies = [*(record.body for record in records), *(ahead.array().to_pylist() if ahead else [])]
        if any(b"poison" in body for body in bodies):
            raise Killed
        return real(records, ahead)

    monkeypatch.setattr(decode, "decode_spans", deadly)
    with product(tmp_path, chunk_bytes=CHUNK) as p:
        p.send(traces([chat(1, 1)]), traces([chat(2, 1)]), traces([span(3, 1, name="poison")]), traces([chat(4, 1)]))
        deaths = 0
        while p.folding.lake.manifest.counters.get("spans", 0) < 3 and deaths < 12:
            fold_until_killed(p)
            deaths += 1
            p.restart()
        p.fold()
        assert deaths <= 7
        assert len(list((tmp_path / "dead-letters").glob("*.bin"))) == 1
        stored = [(f"{n:032x}", 1, 100) for n in (1, 2, 4)]
        assert p.query("SELECT trace_id, count(*), sum(input_tokens) FROM calls GROUP BY 1 ORDER BY 1") == stored
        assert p.query("SELECT sum(calls) FROM rollup_daily") == [(3,)]


def test_a_backlog_of_many_chunks_is_stored_as_one_chunk_is(tmp_path: Path) -> None:
    """One request a chunk or all in one: the same rows, sums, links and suppressed containers."""
    bodies = []
    for trace in range(1, 21):
        agent = span(trace, 1, name="invoke_agent", gen_ai__operation__name="invoke_agent",
                     gen_ai__usage__input_tokens=100)  # fmt: skip
        late = chat(trace, 2, 1, start=NOON + trace * SECOND, gen_ai__conversation__id="c")
        bodies += [traces([late]), traces([agent])]
    found = []
    for chunk in (CHUNK, 1 << 20):
        with product(tmp_path / str(chunk), chunk_bytes=chunk) as p:
            p.send(*bodies)
            p.fold()
            found.append(
                [
                    p.query("SELECT trace_id, span_id, input_tokens FROM calls ORDER BY ALL"),
                    p.query("SELECT trace_id, span_id, reason FROM suppressed ORDER BY ALL"),
                    p.query("SELECT sum(calls), sum(input_tokens), sum(cost) FROM rollup_daily"),
                ]
            )
    assert found[0] == found[1]
    assert [len(found[0][0]), len(found[0][1])] == [20, 20]


def test_what_cannot_be_folded_is_found_in_a_chunk_that_was_decoded_ahead(tmp_path: Path, monkeypatch: Any) -> None:
    """The bodies of such a chunk are gone: they are read again, one is set aside whole, the others are stored."""
    real = span_rows.read

    def read(source: Any, *rest: Any) -> Any:
        if "poison" in source.columns["name"].to_pylist():
            raise RuntimeError
        return real(source, *rest)

    monkeypatch.setattr(span_rows, "read", read)
    bad = traces([span(5, 1, name="poison")])
    bodies = [*(traces([chat(trace, 1)]) for trace in (1, 2, 3, 4, 6))]
    bodies.insert(2, bad)
    with product(tmp_path, chunk_bytes=sum(map(len, bodies[1:4])) + 300) as p:
        p.send(*bodies)
        p.folding.step()
        assert p.folding._chunks._ahead is not None
        ahead = p.folding._chunks._ahead[1].result()
        assert [len(record.body) for _, record in ahead.entries] == [0, 0, 0]
        p.fold()
        letters = DeadLetters(tmp_path, p.folding._keyring)
        assert [letters.record(name).body for name in letters.names()] == [bad]
        stored = [(f"{n:032x}", 1, 100) for n in (1, 2, 3, 4, 6)]
        assert p.query("SELECT trace_id, count(*), sum(input_tokens) FROM calls GROUP BY 1 ORDER BY 1") == stored


def test_a_flush_is_answered_when_it_can_be_read(tmp_path: Path) -> None:
    """Also where it ends with a full chunk just after another one was published: more of the backlog would wait."""
    with product(tmp_path, chunk_bytes=CHUNK) as p:
        p.send(*(traces([chat(trace, 1)]) for trace in (1, 2, 3)))
        p.folding.step()
        (tmp_path / "run" / "flush").write_text(json.dumps({"position": [1, 0], "token": "first"}))
        p.folding.step()
        assert p.folding.requests.answered["flushed"] == "first"
        assert p.query("SELECT count(*) FROM calls") == [(2,)]


def test_a_backlog_is_published_while_the_next_chunk_is_folded(tmp_path: Path, monkeypatch: Any) -> None:
    """Readers see what is committed; a snapshot that cannot be written beside the folding is written after it."""
    monkeypatch.setattr(publishing, "PUBLISH_SECONDS", -1.0)
    with product(tmp_path, chunk_bytes=CHUNK) as p:
        models = ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-4.1-mini", "o3-mini")
        p.send(*(traces([chat(trace, 1, model=model)]) for trace, model in enumerate(models)))
        p.folding.step()
        assert p.query("SELECT count(*) FROM calls") == [(1,)]
        p.folding.step()
        assert p.folding._publishing is not None
        p.folding.settle()
        assert p.query("SELECT count(*) FROM calls") == [(2,)]
        real, failed = p.folding._published._publisher.publish, []

        def publish(*arguments: Any, **named: Any) -> Path:
            if not failed:
                failed.append(True)
                raise duckdb.IOException("a file is gone")
            return real(*arguments, **named)

        monkeypatch.setattr(p.folding._published._publisher, "publish", publish)
        p.folding.step()
        p.folding.settle()
        assert failed
        assert p.query("SELECT count(*) FROM calls") == [(3,)]
        p.fold()
        assert p.query("SELECT count(*), sum(input_tokens) FROM calls") == [(5, 500)]
        assert p.query("SELECT count(cost) FROM calls") == [(5,)]  # the snapshot knows the prices of all models
