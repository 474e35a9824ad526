"""`spanfold renormalise`: a dialect file that comes late makes calls of what is stored, once, and loses nothing."""

from __future__ import annotations

import json
import shutil
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from spanfold import renormalising
from spanfold.cli import cli
from spanfold.collector.journal_erasure import empty_records
from spanfold.collector.segments import Position
from spanfold.exporter.durable import read_document
from spanfold.exporter.keys import Keyring
from spanfold.exporter.manifest import read_current
from spanfold.fold_process import fold_to_end
from spanfold.semconv.dialects import BUILT_IN
from spanfold.settings import Settings
from tests.flow.running import up, wait_for
from tests.flow.sending import NOON, SECOND, Product, chat, logs, product, span, traces
from tests.flow.test_golden import copy_of_golden

DAY = 86_400 * SECOND
HOUSE = """\
name: house
detect: {keys: [house.kind]}
fields:
  operation: {key: house.kind, values: {GEN: chat}, only: true}
  provider: {key: house.kind, constant: openai}
  request_model: house.model
  input_tokens: {key: house.meta, path: billed/in}
  output_tokens: {key: house.meta, path: billed/out}
  session_id: house.session
"""
WORDS = """\
content:
  input: [{key: house.question, role: user}]
  output: [{key: house.generations, shape: texts, path: "*/text", role: assistant}]
"""
SUMS = "SELECT coalesce(sum(calls), 0), sum(input_tokens), sum(output_tokens), sum(cost)::DECIMAL(20, 12) FROM "
ROLLED = SUMS + "rollup_daily"
COUNTED = "SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cost)::DECIMAL(20, 12) FROM calls"


def house(number: int, start: int = NOON, **more: Any) -> Any:
    meta = json.dumps({"billed": {"in": 1000 + number, "out": 10}})
    return span(number, 1, name="generate", start=start, house__kind="GEN", house__model="gpt-4o-mini",
                house__meta=meta, house__session=f"s{number}", **more)  # fmt: skip


def drop(data: Path, text: str = HOUSE) -> None:
    (data / "dialects").mkdir(exist_ok=True)
    (data / "dialects" / "house.yaml").write_text(text)


def end_window(p: Product) -> None:
    """The journal holds nothing of what was folded any more."""
    folded = Position(*p.folding.lake.manifest.journal)
    empty_records(p.data / "journal", Keyring.open(p.data), folded, lambda record: True)  # type: ignore[arg-type]


def renormalise(p: Product, *options: str) -> dict[str, Any]:
    """The verb, with nobody folding meanwhile."""
    p.folding.close()
    switched_off = [] if p.settings.redaction_enabled else [("SPANFOLD_REDACTION_ENABLED", "false")]
    arguments = ["renormalise", "--json", *options, "--data", str(p.data)]
    done = CliRunner().invoke(cli, arguments, env=dict(switched_off))
    assert done.exit_code == 0, (done.output, done.exc_info)
    p.folding = type(p.folding)(p.settings)
    told: dict[str, Any] = json.loads(done.output)
    return told


def test_a_file_that_comes_late_makes_calls_of_what_is_stored(tmp_path: Path) -> None:
    """No calls before; after it exact tokens, cost, session and rollups, in a new generation; a second time nothing;
    a span that comes again stays one, and a late one of the same day is folded beside it."""
    with product(tmp_path) as p:
        p.send(traces([house(1), house(2, NOON + DAY), chat(3, 1)]))
        p.fold()
        assert p.query(ROLLED) == [(1, 100, 10, Decimal("0.000021"))]
        drop(tmp_path)
        dry = renormalise(p, "--dry-run")
        assert p.query(ROLLED) == [(1, 100, 10, Decimal("0.000021"))]
        assert read_current(tmp_path).generation == 0
        told = renormalise(p)
        assert told | {"dry_run": True} == dry
        expected = {"days": 2, "spans": 3, "changed": 2, "unchanged": 1, "calls_gained": 2, "calls_lost": 0}
        assert {name: told[name] for name in expected} == expected
        assert told["columns"]["input_tokens"] == 2
        assert "status" not in told["columns"]
        cost = (1001 + 1002 + 100) * Decimal("0.00000015") + 30 * Decimal("0.0000006")
        assert p.query(COUNTED) == p.query(ROLLED) == [(3, 2103, 30, cost)]
        kept = "attributes->>'house.model', attributes->>'house.kind'"
        sql = f"SELECT dialect, session_id, response_model, request_model, {kept} FROM spans WHERE input_tokens = 1001"
        assert p.query(sql) == [("house", "s1", None, "gpt-4o-mini", "gpt-4o-mini", "GEN")]
        files = {file.path.split("/")[2] for file in read_current(tmp_path).files_of("spans")}
        assert files == {"gen=1"}
        again = renormalise(p)
        assert (again["spans"], again["changed"], again["calls_gained"]) == (3, 0, 0)
        p.send(traces([house(1), house(4)]))
        p.fold()
        assert p.query("SELECT count(*) FROM spans") == [(4,)]
        assert p.query(COUNTED)[0][0] == p.query(ROLLED)[0][0] == 4


@pytest.mark.slow
def test_only_the_days_asked_for(tmp_path: Path) -> None:
    """`--since` and `--until` name UTC days, both included."""
    with product(tmp_path) as p:
        p.send(traces([house(number, NOON + number * DAY) for number in range(1, 5)]))
        p.fold()
        drop(tmp_path)
        end_window(p)
        told = renormalise(p, "--since", "2025-11-22", "--until", "2025-11-23")
        assert (told["days"], told["spans"], told["calls_gained"]) == (2, 2, 2)
        assert p.query("SELECT date::VARCHAR FROM calls ORDER BY 1") == [("2025-11-22",), ("2025-11-23",)]


@pytest.mark.slow
@pytest.mark.parametrize("window", [True, False])
def test_words_among_the_kept_attributes_become_messages(tmp_path: Path, window: bool) -> None:
    """Words of an unknown dialect lay closed in the private part; a rule that reads them stores them as content, once,
    redacted as they were, and a call that goes on from them is linked."""
    asked = "Mail ann@example.com: how warm is it in Ulm? " + "x" * 300
    with product(tmp_path) as p:
        generations = json.dumps([{"text": "Nine degrees."}])
        p.send(traces([house(1, house__question=asked, house__generations=generations)]))
        history = [{"role": "user", "parts": [{"type": "text", "content": asked}]},
                   {"role": "assistant", "parts": [{"type": "text", "content": "Nine degrees."}]},
                   {"role": "user", "parts": [{"type": "text", "content": "And now?"}]}]  # fmt: skip
        p.send(traces([chat(2, 1, history=history, start=NOON + 60 * SECOND)]))
        p.fold()
        drop(tmp_path, HOUSE + WORDS)
        if not window:
            end_window(p)
        told = renormalise(p)
        assert (told["from_journal"], told["out_of_window"]) == ((told["spans"], 0) if window else (0, told["spans"]))
        assert (told["words_read"], told["calls_gained"]) == (1, 1)
        assert p.query("SELECT context_messages, output_messages FROM calls ORDER BY start_time") == [(1, 1), (3, None)]
        assert p.query("SELECT continues_trace_id[-1:] FROM calls ORDER BY start_time") == [(None,), ("1",)]
        shown = CliRunner().invoke(cli, ["show", f"{1:032x}", "--json", "--data", str(tmp_path)])
        assert "Mail [EMAIL]: how warm" in shown.output
        assert "house.question" not in shown.output
        assert "ann@example.com" not in shown.output
        assert renormalise(p)["changed"] == 0


@pytest.mark.slow
def test_words_within_the_journal_window_are_read_again(tmp_path: Path) -> None:
    """A rule that finds an answer beside the question that was found before: within the window both are stored, whole;
    out of it the question stays and the answer stays among the attributes. Redaction is not counted twice."""
    said = "Call me: " + "y" * 300
    question = WORDS.splitlines(keepends=True)[0] + WORDS.splitlines(keepends=True)[1]
    with product(tmp_path) as p:
        drop(tmp_path, HOUSE + question)
        assert p.folding.refresh_dialects()
        answers = json.dumps([{"text": said}])
        p.send(traces([house(1, house__question="Mail ann@example.com", house__generations=answers)]))
        p.fold()
        end_window(p)
        p.send(traces([house(2, house__question="Mail ann@example.com", house__generations=answers)]))
        p.fold()
        assert p.query("SELECT context_messages, output_messages FROM calls") == [(1, None), (1, None)]
        redacted = p.query("SELECT rule, place, sum(count) FROM redactions GROUP BY ALL ORDER BY ALL")
        drop(tmp_path, HOUSE + WORDS)
        told = renormalise(p)
        assert (told["from_journal"], told["out_of_window"], told["words_read"], told["changed"]) == (1, 1, 1, 1)
        assert told["columns"] == {}
        sides = "SELECT trace_id[-1:], context_messages, output_messages FROM calls ORDER BY 1"
        assert p.query(sides) == [("1", 1, None), ("2", 1, 1)]
        assert p.query("SELECT rule, place, sum(count) FROM redactions GROUP BY ALL ORDER BY ALL") == redacted
        records = CliRunner().invoke(cli, ["export", "--content", "--data", str(tmp_path)]).output.splitlines()
        first, second = sorted(map(json.loads, records), key=lambda record: str(record["trace_id"]))
        assert first["gen_ai.input.messages"] == second["gen_ai.input.messages"]
        assert second["gen_ai.input.messages"][0]["parts"][0]["content"] == "Mail [EMAIL]"
        assert second["gen_ai.output.messages"][0]["parts"][0]["content"] == said
        shown = CliRunner().invoke(cli, ["show", f"{1:032x}", "--json", "--data", str(tmp_path)])
        assert "house.generations" in shown.output
        assert renormalise(p)["changed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("window", [True, False])
def test_what_is_not_among_the_kept_attributes_is_not_emptied(tmp_path: Path, window: bool) -> None:
    """Usage read out of understood content, words and facts from log records, identifiers that became hashes, private
    parts: all stay when other columns change."""
    output = json.dumps({"id": "r-1", "model": "gpt-4o-mini", "choices": [
        {"message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77}})  # fmt: skip
    with product(tmp_path) as p:
        p.send(traces([
            span(1, 1, name="ask", openinference__span__kind="LLM", output__value=output, house__agent="a",
                 output__mime_type="application/json"),
            chat(2, 1, user__id="ann@example.com", house__agent="b", db__statement="SELECT 1"),
            chat(3, 1, house__agent="c"),
        ]))  # fmt: skip
        said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}])
        p.send(logs([(3, 1, "gen_ai.client.inference.operation.details", {"gen_ai.input.messages": said})]),
               signal="logs")  # fmt: skip
        p.fold()
        columns = (
            "trace_id[-1:], user_id, response_id, input_tokens, output_tokens, finish_reasons, cost, status,"
            "context_messages, output_messages, prompt_fingerprint, operation, provider, usage_verdict"
        )
        before = p.query(f"SELECT {columns} FROM calls ORDER BY 1")
        assert [row[3] for row in before] == [70, 100, 100]
        assert before[1][1].startswith("u_")
        drop(tmp_path, "name: names\ndetect: {keys: [house.agent]}\nlabels: false\n"
                       "fields: {agent_name: house.agent}\n")  # fmt: skip
        if not window:
            end_window(p)
        told = renormalise(p)
        assert (told["from_journal"], told["out_of_window"]) == ((told["spans"], 0) if window else (0, told["spans"]))
        assert told["columns"] == {"agent_name": 3}
        assert p.query(f"SELECT {columns} FROM calls ORDER BY 1") == before
        assert p.query("SELECT agent_name FROM calls ORDER BY 1") == [("a",), ("b",), ("c",)]
        shown = CliRunner().invoke(cli, ["show", f"{2:032x}", "--json", "--data", str(tmp_path)])
        assert "SELECT 1" in shown.output
        assert renormalise(p)["changed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("window", [True, False])
def test_a_file_taken_away_ends_its_calls_again(tmp_path: Path, window: bool) -> None:
    """Spans that only a withdrawn table knew are no calls any more; sums follow; what they were sent with is there."""
    with product(tmp_path) as p:
        drop(tmp_path)
        assert p.folding.refresh_dialects()
        p.send(traces([house(1), chat(2, 1)]))
        p.fold()
        (tmp_path / "dialects" / "house.yaml").unlink()
        if not window:
            end_window(p)
        told = renormalise(p)
        assert (told["from_journal"], told["out_of_window"]) == ((told["spans"], 0) if window else (0, told["spans"]))
        assert (told["calls_gained"], told["calls_lost"]) == (0, 1)
        assert p.query(ROLLED)[0][:3] == p.query(COUNTED)[0][:3] == (1, 100, 10)
        assert p.query("SELECT dialect, attributes->>'house.kind' FROM spans WHERE trace_id[-1:] = '1'") == [
            (None, "GEN")
        ]


def test_decisions_follow_for_whole_traces(tmp_path: Path) -> None:
    """A container whose only usage was its own stops being a call when a call appears below it."""
    with product(tmp_path) as p:
        outer = span(1, 7, name="agent", gen_ai__operation__name="invoke_agent", gen_ai__request__model="gpt-4o-mini",
                     gen_ai__usage__input_tokens=1001, gen_ai__usage__output_tokens=10)  # fmt: skip
        inner = house(1)
        inner.parent_span_id = (7).to_bytes(8, "big")
        p.send(traces([outer]), traces([inner], scope="inner"))
        p.fold()
        assert p.query("SELECT span_id[-1:] FROM calls") == [("7",)]
        drop(tmp_path)
        told = renormalise(p)
        assert (told["calls_gained"], told["calls_lost"]) == (1, 1)
        assert p.query("SELECT span_id[-1:], reason FROM suppressed") == [("7", "container")]
        assert p.query(COUNTED) == p.query(ROLLED)
        assert p.query("SELECT span_id[-1:] FROM calls") == [("1",)]


class _Killed(BaseException):
    """Ends the process where it stands."""


@pytest.mark.slow
def test_a_crash_between_two_days_leaves_whole_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends while the second day is written: the first is new, the second as it was, the sums are those of
    the views, and the request is finished by the next process with the counts of both."""
    with product(tmp_path) as p:
        p.send(traces([house(number, NOON + number * DAY) for number in range(1, 4)]))
        p.fold()
        drop(tmp_path)
        request = {"since": None, "until": None, "dry_run": False, "token": "t"}
        (tmp_path / "run" / "renormalise").write_text(json.dumps(request))
        renormalising.renormalise_if_asked(p.folding, p.settings)
        commit = p.folding.lake.commit

        def dies(*arguments: Any, **more: Any) -> Any:
            raise _Killed

        monkeypatch.setattr(p.folding.lake, "commit", dies)
        with pytest.raises(_Killed):
            renormalising.renormalise_if_asked(p.folding, p.settings)
        monkeypatch.setattr(p.folding.lake, "commit", commit)
        p.restart()
        p.fold()
        assert p.query("SELECT date::VARCHAR FROM calls") == [("2025-11-21",)]
        assert p.query(COUNTED) == p.query(ROLLED)
        while (tmp_path / "run" / "renormalise").exists():
            renormalising.renormalise_if_asked(p.folding, p.settings)
        answer = json.loads((tmp_path / "run" / "renormalised").read_text())
        assert (answer["days"], answer["calls_gained"], answer["spans"]) == (3, 3, 3)
        assert p.query(COUNTED) == p.query(ROLLED)
        assert {file.path.split("/")[2] for file in read_current(tmp_path).files_of("spans")} == {"gen=1"}


@pytest.mark.slow
def test_the_running_folder_answers(tmp_path: Path) -> None:
    """With a fold process at work the verb asks it, day by day, and what arrives meanwhile is folded."""
    with product(tmp_path) as p:
        p.send(traces([house(number, NOON + number * DAY) for number in range(1, 4)]))
        p.fold()
        drop(tmp_path)
        told: list[str] = []
        verb = threading.Thread(
            target=lambda: told.append(
                CliRunner().invoke(cli, ["renormalise", "--json", "--timeout", "60", "--data", str(tmp_path)]).output
            )
        )
        verb.start()
        number = 10
        while verb.is_alive():
            p.send(traces([house(number)]))
            number += 1
            p.fold()
            renormalising.renormalise_if_asked(p.folding, p.settings)
            verb.join(0.05)
        p.fold()
        assert json.loads(told[0])["calls_gained"] >= 3
        assert p.query(COUNTED) == p.query(ROLLED)
        assert p.query("SELECT count(*) FROM calls") == [(3 + number - 10,)]


@pytest.mark.slow
def test_a_directory_of_an_earlier_release_loses_nothing(tmp_path: Path) -> None:
    """Renormalising the golden data directory empties no column of any span and ends no call."""
    data = copy_of_golden(tmp_path / "data")
    fold_to_end(Settings(data=data))
    with product(data) as p:
        rows = "SELECT COLUMNS('^[^p]|^p[^r]|^pro') FROM {} ORDER BY trace_id, span_id"
        before = {view: p.query(rows.format(view)) for view in ("spans", "calls")}
        messages = p.query("SELECT count(*) FROM span_messages")
        told = renormalise(p)
        assert told["calls_lost"] == told["unreadable"] == 0
        for view, held in before.items():
            for old, new in zip(held, p.query(rows.format(view)), strict=True):
                assert [n for o, n in zip(old, new, strict=True) if o is not None and n is None] == []
        assert p.query("SELECT count(*) FROM span_messages") >= messages
        assert renormalise(p)["changed"] == 0


PAYLOADS = Path(__file__).parent.parent / "payloads"
IN_LOGS = ("official-openai-events", "official-openai-v2-legacy")  # their words come in log records


def captured(p: Product, *, logs: bool) -> None:
    """What 40 instrumentations sent; those of which the words come in log records only with `logs`."""
    for path in sorted(PAYLOADS.rglob("*.pb")):
        signal = "logs" if "-logs-" in path.name else "traces"
        if signal == "logs" and path.parent.name == "openlit":  # tools beside the words of the span itself
            continue
        if "-metrics-" not in path.name and (logs or path.parent.name not in IN_LOGS):
            p.send(path.read_bytes(), signal=signal)
    p.fold()


@pytest.mark.slow
@pytest.mark.parametrize("window", [True, False])
def test_later_is_as_good_as_at_once(tmp_path: Path, window: bool) -> None:
    """Captured spans folded while every dialect was switched off, and renormalised once they are on again, give the
    same calls, money, messages, decisions, links and attributes as spans that the dialects read when they came: with
    the journal's help (log records, too), and without it from what was kept. Doing it again, or to the others, changes
    nothing."""
    shown = [
        "SELECT * EXCLUDE(received_time) FROM calls ORDER BY trace_id, span_id",
        "SELECT * FROM span_messages ORDER BY ALL",
        "SELECT * FROM suppressed ORDER BY ALL",
        "SELECT trace_id, span_id, attributes::VARCHAR, events::VARCHAR, tags, truncated FROM spans ORDER BY ALL",
        "SELECT * FROM rollup_hourly ORDER BY ALL",
    ]
    with product(tmp_path / "at-once", redaction_enabled=False) as p:
        captured(p, logs=window)
        at_once = [p.query(sql) for sql in shown]
        again = renormalise(p)
        assert (again["changed"], again["words_read"], again["facts_read"]) == (0, 0, 0)
        end_window(p)
        told = renormalise(p)
        assert (told["changed"], told["facts_read"], told["out_of_window"]) == (0, 0, told["spans"])
    shutil.copytree(tmp_path / "at-once" / "keys", tmp_path / "later" / "keys")
    folder = tmp_path / "later" / "dialects"
    folder.mkdir()
    for table in BUILT_IN:
        (folder / f"{table.name}.yaml").write_text(f"name: {table.name}\nenabled: false\n")
    with product(tmp_path / "later", redaction_enabled=False) as p:
        captured(p, logs=window)
        assert p.query("SELECT count(*) FROM calls") == [(0,)]
        if not window:
            end_window(p)
        shutil.rmtree(folder)
        told = renormalise(p)
        assert (told["calls_gained"], told["calls_lost"]) == (len(at_once[0]), 0)
        for sql, rows in zip(shown, at_once, strict=True):
            found = p.query(sql)
            apart = [(a, b) for row, other in zip(rows, found, strict=True) for a, b in zip(row, other, strict=True)]
            assert [pair for pair in apart if pair[0] != pair[1]] == [], sql
        assert renormalise(p)["changed"] == 0


@pytest.mark.slow
def test_a_folder_killed_while_it_renormalises_ends_what_it_began(tmp_path: Path) -> None:
    """`spanfold up` with spans of eight days; its folder is killed again and again while the verb waits and more is
    sent: in the end every span is one call, once, and views and rollups agree."""
    sent = [house(day * 1000 + at, NOON + day * DAY + at) for day in range(8) for at in range(1, 101)]
    with up(tmp_path) as running:
        for first in range(0, len(sent), 50):
            running.send(traces(sent[first : first + 50]))
        running.flush()
        drop(running.data)
        told: list[str] = []
        verb = threading.Thread(target=lambda: told.append(running.spanfold("renormalise", "--json").stdout))
        verb.start()
        asked, more = running.data / "run" / "renormalise", 0
        for done in ("2025-11-20", "2025-11-22", "2025-11-24"):
            wait_for(lambda day=done: not verb.is_alive() or read_document(asked).get("done", "") >= day, 60, done)
            running.kill("fold")
            more += 1
            running.send(traces([house(100_000 + more)]))
        verb.join(100)
        running.flush()
        assert json.loads(told[0])["days"] == 8
        with duckdb.connect(str(running.data / "spanfold.duckdb"), read_only=True) as connection:
            calls, rolled = (connection.execute(sql).fetchall() for sql in (COUNTED, ROLLED))
            spans = connection.execute("SELECT count(*), count(DISTINCT trace_id) FROM spans").fetchall()
        assert spans == [(len(sent) + more, len(sent) + more)]
        assert calls == rolled
        assert calls[0][0] == len(sent) + more
