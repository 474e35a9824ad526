"""The verbs that read, on a data directory made through the real path."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from spanfold.analytics.errors import QueryRefused
from spanfold.cli import cli, show_text
from spanfold.errors import SpanfoldError
from tests.spanfold.conftest import ANSWER, EVIL, LONG, QUESTION, lines, message

CALLS = ["000000000000000b", "000000000000000c", "0000000000000015"]
CONTENT = ["gen_ai.system_instructions", "gen_ai.tool.definitions", "gen_ai.input.messages", "gen_ai.output.messages"]


def run(data: Path, *words: str, ok: bool = True) -> Result:
    result = CliRunner().invoke(cli, [*words, "--data", str(data)], env={"COLUMNS": "200"})
    if ok and result.exception:
        raise result.exception
    return result


def test_export_ndjson_is_one_call_a_line(filled: Path) -> None:
    """Export gives each call once, in order of time, without content unless asked (TB-063, TB-064)."""
    records = lines(run(filled, "export").stdout)
    assert [r["span_id"] for r in records] == CALLS
    first = records[0]
    assert (first["start_time"], first["date"], first["tenant"]) == ("2025-11-20T12:00:00Z", "2025-11-20", "default")
    assert (first["input_tokens"], first["output_tokens"], first["cache_read_tokens"]) == (100, 10, None)
    assert (first["provider"], first["request_model"], first["status"]) == ("openai", "gpt-4o-mini", "success")
    assert (first["finish_reasons"], first["session_id"], first["key_label"]) == (["stop"], "s-1", "prod-frontend")
    assert records[2]["status"] == "error"
    assert not set(CONTENT) & set(first)


def test_export_with_content_has_the_newest_shape(filled: Path) -> None:
    """With --content the four lists stand in the record as JSON, whole history included (design: call record)."""
    records = lines(run(filled, "export", "--content").stdout)
    assert records[0]["gen_ai.input.messages"] == [QUESTION]
    assert records[0]["gen_ai.output.messages"] == [ANSWER | {"finish_reason": "stop"}]
    assert records[1]["gen_ai.input.messages"] == [QUESTION, ANSWER, message("user", "And =3+3?")]
    assert records[2]["gen_ai.input.messages"] is None


@pytest.mark.parametrize(("where", "expected"), [
    ("status = 'error'", CALLS[2:]), ("input_tokens > 100 and session_id = 's-1'", CALLS[1:2]), ("1=1 -- all", CALLS),
    ("list_contains(finish_reasons, 'stop')", CALLS[:1]), ("span_id IN (SELECT min(span_id) FROM calls)", CALLS[:1]),
])  # fmt: skip
def test_export_where(filled: Path, where: str, expected: list[str]) -> None:
    """A condition on the columns of calls chooses records (TB-064)."""
    assert [r["span_id"] for r in lines(run(filled, "export", "--where", where).stdout)] == expected


@pytest.mark.parametrize("where", [
    "", "1=1) UNION ALL SELECT * FROM calls WHERE (true", "1=1) ORDER BY (1", "1=1) GROUP BY (x", "1=1) LIMIT (1",
    "true; DROP TABLE x", "EXISTS (SELECT * FROM read_text('/etc/passwd'))", "nosuch = 1",
    "EXISTS (WITH x AS (COPY (SELECT 1 AS a) TO '/tmp/x') SELECT * FROM x)", "true) QUALIFY (true",
    "true) USING SAMPLE (1", "EXISTS (FROM '/etc/passwd')",
])  # fmt: skip
def test_export_where_is_one_condition(filled: Path, where: str) -> None:
    """[39] Anything that is not one condition is refused before a record is written."""
    result = run(filled, "export", "--where", where, ok=False)
    assert isinstance(result.exception, QueryRefused)
    assert result.stdout == ""


def test_export_csv_and_parquet_hold_the_same_calls(filled: Path, tmp_path: Path) -> None:
    """All three forms hold the same records; a file appears whole and private (TB-063)."""
    table = list(csv.DictReader(io.StringIO(run(filled, "export", "--format", "csv", "--content").stdout)))
    assert [row["span_id"] for row in table] == CALLS
    assert json.loads(table[0]["gen_ai.input.messages"]) == [QUESTION]
    assert table[0]["start_time"] == "2025-11-20T12:00:00.000000Z"
    target = tmp_path / "calls.parquet"
    result = run(filled, "export", "--format", "parquet", "--content", "-o", str(target))
    assert (result.stdout, result.stderr) == ("", f"3 calls written to {target}\n")
    assert target.stat().st_mode & 0o777 == 0o600
    rows = pq.read_table(target).to_pylist()
    assert [row["span_id"] for row in rows] == CALLS
    assert json.loads(rows[1]["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Six."}]
    assert list(tmp_path.iterdir()) == [target]


def test_failed_export_leaves_no_file(filled: Path, tmp_path: Path) -> None:
    """When an export fails the file of its name is not there, and one that was there before is unharmed."""
    target = tmp_path / "calls.ndjson"
    target.write_text("before")
    run(filled, "export", "--where", "nosuch = 1", "-o", str(target), ok=False)
    assert (target.read_text(), list(tmp_path.iterdir())) == ("before", [target])


def shown(data: Path, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(data, "show", *words, "--json").stdout)
    return document


def test_show_keeps_everything_that_was_sent(filled: Path) -> None:
    """All attributes come back by key with their types, private ones and bytes included, and the dropped counts."""
    document = shown(filled, f"{10:016x}")
    attributes = document["attributes"]
    assert attributes["http.route"] == "/chat"
    assert attributes["db.statement"] == "SELECT secret"
    assert (attributes["long"], attributes["ratio"]) == (LONG, 0.5)
    assert document["attributes_typed"]["blob"] == {"bytesValue": "AP8="}
    assert (document["dropped_attributes"], document["trace_state"], document["parent_span_id"]) == (3, "a=b", None)
    assert document["resource"] == {"service.name": "shop"}
    assert (document["scope_name"], document["is_call"], document["call"]) == ("test", False, None)


def test_show_gives_events_links_and_messages(filled: Path) -> None:
    """Events with their private attributes, links, the error, and the call with its content and price (TB-056)."""
    failed = shown(filled, f"{21:016x}")
    assert failed["events"][0]["attributes"] == {"exception.message": "quota exceeded for jane"}
    assert failed["links"][0]["trace_id"] == f"{1:032x}"
    assert failed["links"][0]["attributes"] == {"why": "retry"}
    assert "quota exceeded" in failed["error_message"]
    call = shown(filled, f"{11:016x}")
    assert call["gen_ai.output.messages"] == [ANSWER | {"finish_reason": "stop"}]
    assert (call["call"]["input_tokens"], call["call"]["session_id"]) == (100, "s-1")
    assert [log["attributes"] for log in call["logs"]] == [{"mood": "good"}]
    assert sum(amount["amount"] for amount in call["price"]) == pytest.approx(call["call"]["cost"], rel=1e-12)


def test_show_without_content_hides_words(filled: Path) -> None:
    """--no-content shows facts and clear attributes only."""
    for words in ((f"{11:016x}",), (f"{10:016x}",), (f"{1:032x}",)):
        text = run(filled, "show", *words, "--no-content", "--json").stdout
        assert "canary" not in text
        assert "SELECT secret" not in text


def test_show_trace_has_all_spans(filled: Path) -> None:
    """A trace comes with its spans in order, each whole, and its review."""
    document = shown(filled, f"{1:032x}")
    assert [s["span_id"] for s in document["span_documents"]] == [f"{n:016x}" for n in (10, 11, 12)]
    assert (document["spans"], document["calls"], document["input_tokens"]) == (3, 2, 250)
    assert document["span_documents"][1]["gen_ai.input.messages"] == [QUESTION]
    flagged = shown(filled, f"{2:032x}")
    assert flagged["review_state"] == "flagged"
    assert [(e["who"], e["to_state"]) for e in flagged["review_events"]] == [("ann", "flagged")]


def test_a_deep_trace_is_drawn_in_time() -> None:
    """A chain of 20,000 spans is indented forty levels and no further, in time by its length; a circle ends."""
    chain = [{"span_id": str(n), "parent_span_id": str(n - 1)} for n in range(20_000)]
    depths = show_text._depths([*chain, *({"span_id": f"c{n}", "parent_span_id": f"c{1 - n}"} for n in (0, 1))])
    assert [depths[str(n)] for n in (0, 1, 39, 40, 41, 19_999)] == [0, 1, 39, 40, 40, 40]
    assert (depths["c0"], depths["c1"]) == (1, 1)


def test_show_text_is_only_text(filled: Path) -> None:
    """[38] Escapes, links and direction marks of a sender do not reach the terminal; the words do."""
    for words in ((f"{10:016x}",), (f"{1:032x}",)):
        text = run(filled, "show", *words).stdout
        assert "POST /chat red link gnp.exe" in text
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert EVIL in json.loads(run(filled, "show", f"{10:016x}", "--json").stdout)["name"]
    trace = run(filled, "show", f"{1:032x}").stdout
    assert "· chat" in trace
    assert "Four, canary-7731." in run(filled, "show", f"{11:016x}").stdout


def test_sql_reads_views_and_content(filled: Path) -> None:
    """`spanfold sql` reads the views, and content where the keys are here."""
    text = "SELECT role, content FROM messages WHERE role = 'assistant' ORDER BY depth"
    assert json.loads(run(filled, "sql", text, "--json").stdout) == [
        {"role": "assistant", "content": ANSWER["parts"]},
        {"role": "assistant", "content": [{"type": "text", "content": "Six."}]},
    ]
    hidden = json.loads(run(filled, "sql", text, "--json", "--no-content").stdout)
    assert [row["content"] for row in hidden] == [None, None]
    found = "SELECT count(*) AS n FROM messages WHERE content::VARCHAR LIKE '%canary%'"
    assert json.loads(run(filled, "sql", found, "--json").stdout) == [{"n": 1}]


def test_sql_prints_json_csv_and_a_table(filled: Path) -> None:
    """The rows come as one JSON array, as neutralised CSV, or as a table; columns of one name stay apart."""
    text = "SELECT span_id, input_tokens, '=1' AS formula, start_time, 1 AS formula FROM calls ORDER BY span_id LIMIT 1"
    assert json.loads(run(filled, "sql", text, "--json").stdout) == [{
        "span_id": CALLS[0], "input_tokens": 100, "formula": "=1", "start_time": "2025-11-20T12:00:00.000000Z",
        "formula_2": 1,
    }]  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(run(filled, "sql", text, "--csv").stdout))
    assert (row["formula"], row["input_tokens"]) == ("'=1", "100")
    table = run(filled, "sql", text).stdout.splitlines()
    assert table[0].split()[:2] == ["span_id", "input_tokens"]
    assert table[1].split()[:2] == [CALLS[0], "100"]
    assert json.loads(run(filled, "sql", "SELECT 1 AS x WHERE false", "--json").stdout) == []


def test_a_table_cuts_what_is_very_long(filled: Path) -> None:
    """A value of megabytes makes no table of that width; JSON and CSV have it whole."""
    text = "SELECT repeat('ab', 1000) AS x, repeat('c', 1000) AS y"
    assert run(filled, "sql", text).stdout.splitlines()[1].split() == [
        "ab" * 500 + "…",
        "(2,000",
        "characters)",
        "c" * 1000,
    ]
    assert json.loads(run(filled, "sql", text, "--json").stdout) == [{"x": "ab" * 1000, "y": "c" * 1000}]


def test_a_table_ends_and_says_how_much_there_is(filled: Path) -> None:
    """100,000 rows as a table took minutes of layout: it shows 1,000 and names the rest; CSV gives all."""
    query = "SELECT range AS n FROM range(100000)"
    table = run(filled, "sql", query)
    assert len(table.stdout.splitlines()) == 1 + 1_000
    assert table.stderr == "the first 1,000 of 100,000 rows; --json and --csv print them all\n"
    assert run(filled, "sql", "--csv", query).stdout.splitlines()[-1] == "99999"
    assert run(filled, "sql", "SELECT range AS n FROM range(1000)").stderr == ""


def test_sql_says_when_rows_are_cut(filled: Path) -> None:
    """Rows beyond --rows are cut, and it is said on stderr."""
    result = run(filled, "sql", "SELECT * FROM range(10)", "--rows", "3", "--json")
    assert len(json.loads(result.stdout)) == 3
    assert "cut off at 3 rows" in result.stderr


def test_tail_shows_the_newest_calls_last(filled: Path) -> None:
    """The newest calls, the newest last; spans of all kinds with --spans (LT-036)."""
    assert [row["span_id"] for row in lines(run(filled, "tail", "--n", "2", "--json").stdout)] == CALLS[1:]
    assert len(lines(run(filled, "tail", "--spans", "--json").stdout)) == 4
    assert CALLS[2] in run(filled, "tail").stdout


def test_stats_by_key_and_model(filled: Path) -> None:
    """Calls, tokens and cost by key and model from the rollups (LT-035)."""
    rows = json.loads(run(filled, "stats", "--days", "20000", "--json").stdout)["rows"]
    found = {(r["key"], r["model"]): (r["calls"], r["errors"], r["input_tokens"], r["output_tokens"]) for r in rows}
    assert found == {
        ("prod-frontend", "gpt-4o-mini"): (1, 0, 100, 10),
        (None, "gpt-4o-mini"): (1, 0, 150, 20),
        (None, "gpt-4o"): (1, 1, 200, 0),
    }
    assert "prod-frontend" in run(filled, "stats", "--days", "20000").stdout
    assert "no calls in the last 1 days" in run(filled, "stats", "--days", "1").stderr


def test_errors_are_one_sentence(tmp_path: Path, filled: Path) -> None:
    """Usage errors exit 2, failures 1, each with one sentence on stderr and the next step."""
    for words, code, said in (
        (["show", "zz"], 2, "a span has 16 hex digits"),
        (["show", "f" * 16], 1, "spanfold flush"),
        (["sql", "DROP TABLE x"], 1, "only SELECT is allowed"),
        (["sql", "SELECT nosuch FROM calls"], 1, "nosuch"),
        (["export", "--format", "xml"], 2, "xml"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "spanfold.cli", *words, "--data", str(filled)], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    with pytest.raises(SpanfoldError, match="spanfold up"):
        run(tmp_path / "nowhere", "export")


def test_without_keys_everything_but_content_is_shown(filled: Path, tmp_path: Path) -> None:
    """A machine that has the files but not the keys reads metrics, and is told why it reads no words."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(filled), str(copy)], check=True)
    for key in (copy / "keys").iterdir():
        key.unlink()
    (copy / "snapshots").rename(tmp_path / "old")
    _republish(copy)
    assert len(lines(run(copy, "export").stdout)) == 3
    result = run(copy, "show", f"{11:016x}", "--json")
    assert "its key is not here" in result.stderr
    assert "canary" not in result.stdout
    rows = json.loads(run(copy, "sql", "SELECT content FROM messages", "--json").stdout)
    assert {row["content"] for row in rows} == {None}
    assert type(run(copy, "export", "--content", ok=False).exception).__name__ == "KeyMissing"


def _republish(data: Path) -> None:
    """Views name absolute paths: a copied directory gets a snapshot of its own."""
    from spanfold.analytics.prices import PriceBook
    from spanfold.analytics.snapshot import publish
    from spanfold.exporter.manifest import read_current

    publish(data, read_current(data), PriceBook.load(), {})
