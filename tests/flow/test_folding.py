"""The fold process on real parts: journal in, lake and snapshot out, whatever the order, the batches, the restarts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from spanfold.analytics import rollup
from spanfold.care import Care
from spanfold.folding import Folding
from spanfold.state.store import StateStore
from tests.flow.sending import NOON, SECOND, batches, chat, logs, product, span, traces

SUMS = "count(*), sum(input_tokens), sum(output_tokens), round(sum(cost), 12)"


def agent_traces(count: int) -> list[Any]:
    """Traces of an agent span that repeats its two calls' usage, a tool span, and the calls."""
    out = []
    for trace in range(1, count + 1):
        start = NOON + trace * 60 * SECOND
        out += [
            span(trace, 1, name="invoke_agent", start=start, gen_ai__operation__name="invoke_agent",
                 gen_ai__usage__input_tokens=300, gen_ai__usage__output_tokens=30),
            chat(trace, 2, 1, tokens=(100, 10), start=start + SECOND),
            span(trace, 3, 1, name="execute_tool", start=start + 2 * SECOND, gen_ai__operation__name="execute_tool"),
            chat(trace, 4, 1, tokens=(200, 20), start=start + 3 * SECOND),
        ]  # fmt: skip
    return out


def test_calls_and_rollups_count_the_billable_leaves_once(tmp_path: Path) -> None:
    """Ten agents over twenty calls: twenty calls, their tokens, and gpt-4o-mini's list price (rule 4)."""
    with product(tmp_path) as p:
        p.send(traces(agent_traces(10)))
        p.fold()
        cost = (3000 * 0.15 + 300 * 0.6) / 1e6
        assert [(20, 3000, 300, round(cost, 12))] == p.query(f"SELECT {SUMS} FROM calls")
        assert p.query(
            "SELECT sum(calls), sum(input_tokens), sum(output_tokens), round(sum(cost), 12) FROM rollup_daily"
        ) == [(20, 3000, 300, round(cost, 12))]
        assert [("container", 10)] == p.query("SELECT reason, count(*) FROM suppressed GROUP BY ALL")
        assert [(40,)] == p.query("SELECT count(*) FROM spans")


@pytest.mark.parametrize("seed", range(6))
def test_order_batches_duplicates_and_restarts_change_no_number(tmp_path: Path, seed: int) -> None:
    """Rules 2 and 7: children before parents, a span at a time, sent twice, with restarts between (P3, F15, F17)."""
    rng = random.Random(seed)
    spans = agent_traces(8)
    rng.shuffle(spans)
    spans += rng.sample(spans, 10)
    with product(tmp_path) as p:
        for body in batches(spans, rng.choice([1, 3, 7])):
            p.send(body)
            if rng.random() < 0.5:
                p.fold()
            if rng.random() < 0.2:
                p.restart()
        p.fold()
        expected = [(16, 2400, 240)]
        assert expected == p.query("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM calls")
        assert expected == p.query("SELECT sum(calls), sum(input_tokens), sum(output_tokens) FROM rollup_hourly")
        assert [(32, 32)] == p.query("SELECT count(*), count(DISTINCT (trace_id, span_id)) FROM spans")
        assert [(10,)] == p.query("SELECT sum(count) FROM data_quality WHERE kind = 'duplicate_span'")


def test_compaction_changes_no_number_and_leaves_few_files(tmp_path: Path) -> None:
    """Many commits of one day become one file a table; every view says the same as before."""
    checks = [
        f"SELECT {SUMS} FROM calls", "SELECT sum(calls), sum(cost) FROM rollup_daily",
        "SELECT count(*), count(DISTINCT message_id) FROM messages", "SELECT count(*) FROM span_messages",
        "SELECT reason, count(*) FROM suppressed GROUP BY ALL",
        "SELECT sum(new_messages), sum(context_messages) FROM calls",
    ]  # fmt: skip
    with product(tmp_path) as p:
        history: list[Any] = []
        for i in range(12):
            history = [*history, say("user", f"question {i}")]
            answer = say("assistant", f"answer {i}")
            p.send(traces([chat(i + 1, 1, history=history, answer=[answer], start=NOON + i * SECOND)]))
            p.send(traces(agent_traces(2 * i + 2)[8 * i :]))
            p.fold()
            history = [*history, answer]
        before = [p.query(check) for check in checks]
        p.folding.compact_everything()
        p.folding.publish()
        assert before == [p.query(check) for check in checks]
        files = p.folding.lake.manifest.files
        assert {1} == {len([f for f in files if f.table == t]) for t in {f.table for f in files}}


def test_a_full_compaction_leaves_no_file_as_it_was_first_written(tmp_path: Path) -> None:
    """Not even one that is alone in its day; the next one has nothing to do."""
    with product(tmp_path) as p:
        p.send(traces([chat(1, 1, history=[say("user", "Hi")], answer=[say("assistant", "Hello")])]))
        p.fold()
        before = p.query(f"SELECT {SUMS} FROM calls")
        p.folding.compact_everything()
        files = p.folding.lake.manifest.files
        assert {"spans", "contexts", "messages", "rollup"} <= {file.table for file in files}
        assert [file.table for file in files if file.level == 0] in ([], ["content"])
        p.folding.compact_everything()
        assert p.folding.lake.manifest.files == files
        p.folding.publish()
        assert p.query(f"SELECT {SUMS} FROM calls") == before


def say(role: str, words: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": words}]}


def test_a_conversation_without_ids_is_one_conversation(tmp_path: Path) -> None:
    """Four calls in four traces that resend their history: linked by their answers, new messages counted."""
    with product(tmp_path) as p:
        history: list[Any] = []
        for i in range(4):
            history = [*history, say("user", f"question {i}")]
            answer = say("assistant", f"answer {i}")
            p.send(traces([chat(i + 1, 1, history=history, answer=[answer], start=NOON + i * SECOND)]))
            history = [*history, answer]
        p.send(traces([chat(9, 1, history=[say("user", "question 0")], answer=[say("assistant", "another")])]))
        p.fold()
        found = p.query("SELECT conversation, context_messages, new_messages FROM calls ORDER BY start_time, trace_id")
        first = f"{1:032x}/{1:016x}"
        apart = (f"{9:032x}/{1:016x}", 1, 1)
        assert sorted([(first, 1, 1), apart, (first, 3, 1), (first, 5, 1), (first, 7, 1)]) == sorted(found)
        assert 2 == p.query("SELECT count(*) FROM conversations")[0][0]


@pytest.mark.parametrize("order", ["span first", "log first", "together", "restart between"])
def test_log_content_meets_its_span_in_any_order(tmp_path: Path, order: str) -> None:
    """Content that comes as operation.details events joins its span, whichever arrives first, also after a restart."""
    said = {"gen_ai.input.messages": [say("user", "hello there")], "gen_ai.output.messages": [say("assistant", "hi")]}
    log = logs([(1, 2, "gen_ai.client.inference.operation.details", said)])
    with product(tmp_path, quiet_seconds=3600.0) as p:
        if order in ("log first", "restart between"):
            p.send(log, signal="logs")
            p.folding.step()
            if order == "restart between":
                p.restart()
            p.send(traces([chat(1, 2)]))
        else:
            p.send(traces([chat(1, 2)]))
            if order == "span first":
                p.folding.step()
            p.send(log, signal="logs")
        p.send(log, signal="logs")
        p.fold()
        assert [(1, 1, "log")] == p.query(
            "SELECT c.context_messages, c.output_messages, h.source FROM calls c JOIN lake.heads h USING (span_id) "
            "WHERE h.direction = 'input'"
        )
        assert [(1,)] == p.query("SELECT count(*) FROM logs")


@pytest.mark.parametrize("order", ["spans first", "logs first", "one by one", "restart between", "days later"])
def test_what_is_said_beside_calls_is_given_to_them(tmp_path: Path, order: str) -> None:
    """Claude Code records prompt, tool use and answer at the turn: its two calls get them, in any order of arrival."""
    scope = "com.anthropic.claude_code.tracing"
    spans = [
        span(1, 1, name="claude_code.interaction", span__type="interaction"),
        span(1, 2, 1, start=NOON + SECOND, span__type="llm_request", model="claude-sonnet-4-5", input_tokens=9),
        span(1, 3, 1, start=NOON + 3 * SECOND, span__type="llm_request", model="claude-sonnet-4-5", input_tokens=11),
    ]  # fmt: skip
    records = [
        (1, 1, "user_prompt", {"prompt": "read notes.txt"}, NOON),
        (1, 1, "tool_result", {"tool_name": "Read", "tool_input": '{"path":"n"}'}, NOON + 2 * SECOND),
        (1, 1, "assistant_response", {"response": "milk"}, NOON + 4 * SECOND),
    ]
    told = [logs([record], scope="com.anthropic.claude_code.events") for record in records]
    body = traces(spans, scope=scope)
    with product(tmp_path, quiet_seconds=3600.0 if order == "one by one" else 0.0) as p:
        if order in ("spans first", "days later"):
            p.send(body)
            p.fold()
            if order == "days later":
                p.restart()
            p.send(*told, signal="logs")
        else:
            p.send(told[2], told[0], signal="logs")
            if order == "restart between":
                p.fold()
                p.restart()
            p.send(body)
            if order == "one by one":
                p.folding.step()
            p.send(told[1], told[1], signal="logs")
        p.fold()
        heads = "SELECT span_id::INT, direction, role FROM span_messages JOIN messages USING (date, message_id) "
        assert [
            (2, "input", "user"), (2, "output", "assistant"),
            (3, "input", "user"), (3, "input", "assistant"), (3, "output", "assistant"),
        ] == p.query(f"{heads} WHERE span_id::INT > 1 ORDER BY span_id, direction, position")  # fmt: skip
        assert [("turn",)] == p.query("SELECT DISTINCT source FROM lake.heads WHERE span_id::INT > 1")


@pytest.mark.parametrize("order", ["span first", "log first", "together", "restart between", "a day apart"])
def test_what_logs_state_of_a_call_fills_its_columns(tmp_path: Path, order: str) -> None:
    """User, finish reasons, cached tokens and the prompt's fingerprint stand in a log record only; whichever comes
    first, they are the call's, and the rollup takes back what it had counted before."""
    stated = {
        "user.id": "user-7", "gen_ai.response.finish_reasons": ["stop"], "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 10, "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.input.messages": [say("user", "hello there")],
    }  # fmt: skip
    log = logs([(1, 2, "gen_ai.client.inference.operation.details", stated, NOON + SECOND)])
    body = traces([chat(1, 2, start=NOON - 13 * 3600 * SECOND if order == "a day apart" else NOON)])
    with product(tmp_path) as p:
        first, second = ((log, "logs"), (body, "traces")) if "log" in order[:3] else ((body, "traces"), (log, "logs"))
        p.send(first[0], signal=first[1])
        if order != "together":
            p.fold()
        if order == "restart between":
            p.restart()
        p.send(second[0], signal=second[1])
        p.send(log, signal="logs")
        p.fold()
        cost = round((40 * 0.15 + 60 * 0.075 + 10 * 0.6) / 1e6, 15)
        columns = "user_id, finish_reasons, input_tokens, uncached_input_tokens, cache_read_tokens, round(cost, 15)"
        assert [("user-7", ["stop"], 100, 40, 60, cost)] == p.query(f"SELECT {columns} FROM calls")
        assert [(1,)] == p.query("SELECT count(*) FROM calls WHERE prompt_fingerprint LIKE 'p_%'")
        assert [(1, 40, 60, cost)] == p.query(
            "SELECT sum(calls), sum(uncached_input_tokens), sum(cache_read_tokens), round(sum(cost), 15) "
            "FROM rollup_daily"
        )


def test_a_gateways_mirror_trace_counts_once_and_a_cached_reply_again(tmp_path: Path) -> None:
    """One answer told by a client and by its gateway in another trace, in two commits; the same answer from a cache an
    hour later is a call of its own. A late span of one trace, and a restart, change nothing."""
    answer = {"gen_ai__response__id": "chatcmpl-1"}
    with product(tmp_path) as p:
        p.send(traces([chat(1, 1, **answer)], service="shop", scope="openai"))
        p.fold()
        p.send(traces([chat(2, 1, start=NOON + SECOND // 10, ms=500, **answer)], service="gateway", scope="litellm"))
        p.fold()
        p.send(traces([chat(3, 1, start=NOON + 3600 * SECOND, **answer)], service="shop", scope="openai"))
        p.fold()
        for trace, restart in ((1, False), (2, True)):
            if restart:
                p.restart()
            p.send(traces([span(trace, 9, name="late")]))
            p.fold()
        assert [(2, 200)] == p.query("SELECT count(*), sum(input_tokens) FROM calls")
        assert [(2, 200)] == p.query("SELECT sum(calls), sum(input_tokens) FROM rollup_daily")
        assert [("mirror",)] == p.query("SELECT reason FROM suppressed")


@pytest.mark.parametrize("batched", [True, False])
def test_noise_is_dropped_by_rule_and_counted(tmp_path: Path, batched: bool) -> None:
    """Of an emitter's internal spans those above a call stay, so that it stands below its agent and counts once, also
    when children come in requests of their own; the others go, and the counts say so."""
    spans = [
        chat(1, 4, 3), span(1, 5, 4, name="receiving"), span(1, 6, 3, name="append_items"),
        span(1, 3, 2, name="try_request"), span(1, 2, 1, name="run_turn"), span(1, 7, 2, name="flush"),
        span(1, 1, name="agent", gen_ai__operation__name="invoke_agent", gen_ai__usage__input_tokens=100),
    ]  # fmt: skip
    with product(tmp_path, drop_spans="other, chatty*:*") as p:
        for body in batches(spans, len(spans) if batched else 1, scope="chatty.internal"):
            p.send(body)
            p.fold()
        p.send(traces([span(2, 1, name="elsewhere")], scope="shop"))
        p.fold()
        assert ["agent", "chat", "elsewhere", "run_turn", "try_request"] == [
            name for (name,) in p.query("SELECT name FROM spans ORDER BY name")
        ]
        assert [(1, 100)] == p.query("SELECT count(*), sum(input_tokens) FROM calls")
        assert [("chatty.internal", "chatty*", 3)] == p.query(
            "SELECT scope_name, detail, count FROM data_quality WHERE kind = 'dropped_span'"
        )
        assert 3 == p.folding.lake.manifest.counters["dropped_spans"]


def test_failed_calls_miss_no_usage(tmp_path: Path) -> None:
    """A 429 has no tokens to report; an answer without them does, and neither shows a price as exact."""
    known = {"gen_ai__operation__name": "chat", "gen_ai__provider__name": "openai", "gen_ai__request__model": "gpt-4o"}
    with product(tmp_path) as p:
        p.send(traces([span(1, 1, error__type="429", **known), span(2, 1, **known), chat(3, 1)]))
        p.fold()
        assert [(1,)] == p.query("SELECT sum(count) FROM data_quality WHERE kind = 'missing_usage'")
        assert [(None, 2), ("exact", 1)] == p.query(
            "SELECT price_confidence, count(*) FROM calls GROUP BY ALL ORDER BY 1 NULLS FIRST"
        )


def test_log_content_of_a_span_that_never_came_is_kept(tmp_path: Path) -> None:
    """Nobody knows the span of these words, in a directory without any span and beside others: they are stored."""
    said = {"gen_ai.input.messages": [say("user", "hello there")]}
    with product(tmp_path) as p:
        for trace in (1, 2):
            p.send(logs([(trace, 2, "gen_ai.client.inference.operation.details", said)]), signal="logs")
            p.fold()
            p.send(traces([chat(9, trace)]))
            p.fold()
        assert [(1,), (2,)] == p.query("SELECT trace_id::BIGINT FROM span_messages ORDER BY ALL")
        assert not list((tmp_path / "dead-letters").glob("*.json"))


def test_a_record_that_cannot_be_folded_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    """F29: the raw bytes are kept sealed, counted, and nothing else is lost."""
    with product(tmp_path) as p:
        p.send(traces([chat(1, 1)]), b"\xff\xff\xff not a request", traces([chat(2, 1)]))
        p.fold()
        assert [(2,)] == p.query("SELECT count(*) FROM calls")
        assert 1 == len(list((tmp_path / "dead-letters").glob("*.json")))


def test_work_follows_what_arrived(tmp_path: Path) -> None:
    """Rule 11: one late span in a day of 20,000 writes at most 1 % of the day's bytes and looks up only its trace."""
    with product(tmp_path) as p:
        spans = [chat(trace, number, start=NOON + trace * SECOND) for trace in range(1, 5001) for number in range(1, 5)]
        p.send(*batches(spans, 2000))
        p.fold()
        day = sum(f.bytes for f in p.folding.lake.manifest.files)
        p.restart()
        p.send(traces([span(7, 99, 0, name="late parent")]))
        before = {f.path for f in p.folding.lake.manifest.files}
        p.fold()
        fresh = [f for f in p.folding.lake.manifest.files if f.path not in before]
        assert {("spans", 1)} == {(f.table, f.rows) for f in fresh}
        assert sum(f.bytes for f in fresh) <= max(0.01 * day, 20_480)  # a file of one row is footer only
        assert p.folding._stored.rows_read <= 8


def test_rollups_computed_anew_equal_their_deltas(tmp_path: Path) -> None:
    """Deltas, negative ones too, add up to exactly what a full rebuild gives."""
    rows = (
        "SELECT * EXCLUDE (cost, duration_ms, latency_buckets), round(duration_ms, 6), latency_buckets::VARCHAR "
        "FROM rollup_hourly ORDER BY ALL"
    )
    with product(tmp_path) as p:
        spans = agent_traces(12)
        random.Random(3).shuffle(spans)
        for body in batches(spans, 5):
            p.send(body)
            p.fold()
        deltas = p.query(rows)
        p.folding.rebuild_rollups()
        assert deltas == p.query(rows)
        assert [(24,)] == p.query("SELECT sum(calls) FROM rollup_hourly")


def test_a_price_set_later_reaches_old_calls_and_their_rollups(tmp_path: Path) -> None:
    """Cost is never frozen at ingest: 2 USD for a million input tokens makes 0.0002 USD of 100."""
    with product(tmp_path) as p:
        p.send(traces([chat(1, 1, model="house-model", tokens=(100, 0))]))
        p.fold()
        assert [(None, "unpriced")] == p.query("SELECT cost, price_confidence FROM calls")
        p.set_price("openai", "house-model", "uncached_input", 2e-6)
        assert p.folding.refresh_prices()
        assert [(0.0002, 0.0002)] == p.query("SELECT round(cost, 12), (SELECT sum(cost) FROM rollup_daily) FROM calls")


def test_a_call_that_ended_before_it_began_took_no_time(tmp_path: Path) -> None:
    """One wrong clock does not make the mean of a day negative; a rebuild gives the same."""
    with product(tmp_path) as p:
        good, wrong = chat(1, 1), chat(2, 2)
        wrong.end_time_unix_nano = wrong.start_time_unix_nano - 10**13
        p.send(traces([good, wrong]))
        p.fold()
        took = (good.end_time_unix_nano - good.start_time_unix_nano) / 1e6
        assert [(2, took)] == p.query("SELECT sum(calls), sum(duration_ms) FROM rollup_daily")
        p.folding.rebuild_rollups()
        assert [(2, took)] == p.query("SELECT sum(calls), sum(duration_ms) FROM rollup_daily")


def test_a_price_change_rewrites_only_what_it_changes(tmp_path: Path) -> None:
    """Rollups get the exact difference of the models whose price changed, on the days on which it did (rule 11)."""
    with product(tmp_path) as p:
        day = 86_400_000_000_000
        p.send(traces([chat(n, 1, model=model, tokens=(1000 * n, 0), start=NOON + n // 3 % 3 * day)
                       for n, model in enumerate(["house-model", "gpt-5", "gpt-5-mini"] * 6, 1)]))  # fmt: skip
        p.fold()
        p.set_price("openai", "house-model", "uncached_input", 2e-6)
        before = set(p.folding.lake.manifest.paths("rollup"))
        assert p.folding.refresh_prices()
        added = set(p.folding.lake.manifest.paths("rollup")) - before
        assert before <= set(p.folding.lake.manifest.paths("rollup"))
        assert [pq.read_table(tmp_path / path).num_rows for path in added] == [1, 1, 1]
        rows = "SELECT * EXCLUDE (duration_ms, latency_buckets), round(duration_ms, 3) FROM rollup_hourly ORDER BY ALL"
        repriced = p.query(rows)
        p.folding.rebuild_rollups()
        assert p.query(rows) == repriced
        assert not p.folding.refresh_prices()


def test_rollups_of_another_arithmetic_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that sums otherwise replaces the rows that an earlier release summed."""
    with product(tmp_path) as p:
        with monkeypatch.context() as earlier:
            text = rollup.statement().replace("sum(sign)::BIGINT AS calls", "sum(2 * sign)::BIGINT AS calls")
            earlier.setattr(rollup, "statement", lambda: text)
            p.folding.close()
            p.folding = Folding(p.settings)
            p.send(traces([chat(1, 1)]))
            p.fold()
            assert [(2,)] == p.query("SELECT sum(calls) FROM rollup_daily")
        p.folding.close()
        p.folding = Folding(p.settings)
        p.folding.refresh_prices()
        assert [(1,)] == p.query("SELECT sum(calls) FROM rollup_daily")


def test_a_price_set_while_nothing_folds_reaches_the_rollups(tmp_path: Path) -> None:
    """A process that starts with other prices than the rollups hold computes them again."""
    with product(tmp_path) as p:
        p.send(traces([chat(1, 1, model="house-model", tokens=(100, 0))]))
        p.fold()
        p.folding.close()
        p.set_price("openai", "house-model", "uncached_input", 2e-6)
        p.folding = Folding(p.settings)
        p.folding.refresh_prices()
        assert [(0.0002, 0)] == p.query("SELECT round(sum(cost), 12), sum(unpriced_calls) FROM rollup_daily")


def test_a_conversation_goes_on_over_restarts_and_midnight(tmp_path: Path) -> None:
    """No ids, four calls over two days, the process started anew before each: one conversation, each call continues the
    one before it, as without restarts; an equal opening that never heard an answer stays apart."""
    history: list[dict[str, Any]] = []
    bodies = []
    for turn in range(4):
        history = [*history, say("user", f"question {turn}")]
        answer = say("assistant", f"answer {turn}")
        start = NOON + turn * 5 * 3600 * SECOND
        bodies.append(traces([chat(turn + 1, 1, start=start, history=history, answer=[answer])]))
        history = [*history, answer]
    opening = [say("user", "question 0")]
    bodies.append(
        traces([chat(5, 1, start=NOON + 30 * 3600 * SECOND, history=opening, answer=[say("assistant", "x")])])
    )
    found = []
    for restarts in (True, False):
        with product(tmp_path / str(restarts)) as p:
            for body in bodies:
                if restarts:
                    p.restart()
                p.send(body)
                p.fold()
            found.append(p.query("SELECT trace_id::INT, continues_trace_id::INT FROM calls ORDER BY 1"))
    expected = [(1, None), *((n, n - 1) for n in range(2, 5)), (5, None)]
    assert found == [expected, expected]


def test_tokens_over_their_time_are_closed_while_nobody_uses_them(tmp_path: Path) -> None:
    """The fold process marks them at its looks; a clock that goes back later opens none of them."""
    with product(tmp_path) as p, StateStore.open(tmp_path) as state:
        state.users.add("ci", ["read"], who="test")
        for days in (0, 1):
            state.tokens.add("ci", f"{days} days", days=days, who="test")
        carer = Care(p.folding, tmp_path)
        carer.look()
        carer.close()
        assert {token.label: token.closed for token in state.tokens.all()} == {"0 days": True, "1 days": False}
