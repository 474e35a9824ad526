"""User SQL: one SELECT, in a process that can do nothing else. Numbers in brackets are those of the negative tests."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from spanfold.analytics import errors as analytics_errors
from spanfold.analytics import query_gate
from spanfold.analytics.queries import Reader
from spanfold.query_client import Limits, Query, QueryError, QueryFailed, QueryRefused, QueryTooSlow
from tests.analytics.test_queries import DAY_RANGE, NAMES, arguments

MESSAGES = 5000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a published snapshot: views over a Parquet file, a table, and what nobody may read."""
    data = tmp_path_factory.mktemp("data with 'quote")
    (data / "lake").mkdir()
    (data / "lake_evil").mkdir()
    (data / "keys").mkdir()
    (data / "keys" / "root.key").write_text("canary-key")
    (data / "lake_evil" / "x.csv").write_text("a\n1\n")
    (data / "lake" / "link.csv").symlink_to(data / "keys" / "root.key")
    lake, snapshot = str(data / "lake").replace("'", "''"), str(data / "v1.duckdb")
    with duckdb.connect(snapshot) as connection:
        connection.execute("CREATE SCHEMA lake")
        connection.execute("CREATE SCHEMA secret")
        connection.execute("CREATE TABLE secret.keys AS SELECT 1 AS x")
        connection.execute("CREATE TABLE deploys AS SELECT 'd1' AS id")
        connection.execute(
            f"COPY (SELECT i, i % 4 AS depth, md5(i::VARCHAR) AS content_id FROM range({MESSAGES}) t(i)) "
            f"TO '{lake}/m.parquet'"
        )
        connection.execute(f"CREATE VIEW lake.messages AS SELECT * FROM read_parquet('{lake}/m.parquet')")
        connection.execute(
            "CREATE VIEW messages AS SELECT DATE '2026-04-18' AS date, 'default' AS tenant, i::VARCHAR AS message_id, "
            "content_id, depth, NULL::JSON AS content FROM lake.messages"
        )
    return data


def tree(data: Path) -> dict[str, str]:
    files = sorted(path for path in data.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(autouse=True)
def nothing_changes(data: Path) -> Iterator[None]:
    """Whatever a query tries, no file of the data directory is made, changed or removed."""
    before = tree(data)
    yield
    assert tree(data) == before


def rows(data: Path, text: str, **options: object) -> list[dict[str, object]]:
    with Query(text, data / "v1.duckdb", [data / "lake"], **options) as query:  # type: ignore[arg-type]
        found: list[dict[str, object]] = query.table().to_pylist()
        return found


@pytest.mark.parametrize(("text", "expected"), [
    ("SELECT count(*) AS n FROM messages", [{"n": MESSAGES}]),
    ("FROM deploys", [{"id": "d1"}]),
    ("SELECT 1 AS a;", [{"a": 1}]),
    ("-- why\nSELECT 1 AS a /* ; DROP TABLE deploys */", [{"a": 1}]),
    ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT sum(n) AS s FROM r",
     [{"s": 6}]),
    ("WITH a AS (FROM main.messages), b AS (SELECT depth, count(*) AS n FROM a GROUP BY ALL) SELECT max(n) AS m FROM b",
     [{"m": 1250}]),
    ("SELECT n FROM (SELECT unnest([3, 4]) AS n) WHERE n IN (SELECT * FROM range(4))", [{"n": 3}]),
    ("VALUES (1)", [{"col0": 1}]),
    ("SELECT max(i) AS m FROM lake.messages", [{"m": MESSAGES - 1}]),
    ("SELECT count(*) AS n FROM information_schema.columns WHERE table_name = 'deploys'", [{"n": 1}]),
    ("SELECT count(content) AS n FROM messages", [{"n": 0}]),
    ("SELECT 'it''s ; fine' AS a", [{"a": "it's ; fine"}]),
    ('SELECT 1 AS "FROM \'x.csv\'"', [{"FROM 'x.csv'": 1}]),
    ("SELECT count(*) AS n FROM (SUMMARIZE deploys)", [{"n": 1}]),
    ("SELECT current_date > DATE '2020-01-01' AS ok", [{"ok": True}]),
])  # fmt: skip
def test_select_runs(data: Path, text: str, expected: list[dict[str, object]]) -> None:
    """What only reads the published views runs, in every form SQL has for it."""
    assert rows(data, text) == expected


@pytest.mark.parametrize("text", [
    "", "   ", ";", "SELECT", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE deploys", "/* SELECT 1 */ DROP TABLE deploys",
    # [40-66] files, settings, other databases, extensions
    "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_blob('{data}/keys/root.key')", "SELECT * FROM read_parquet('{data}/lake/m.parquet')",
    "SELECT * FROM read_json('/etc/hostname')", "SELECT * FROM parquet_metadata('{data}/lake/m.parquet')",
    "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM glob('/**')", "FROM '/etc/passwd'",
    "FROM '{data}/lake/m.parquet'", "SELECT * FROM '{data}/lake/../keys/root.key'", "FROM '{data}/lake/link.csv'",
    "FROM '{data}/lake_evil/x.csv'", 'SELECT * FROM "{data}/lake/m.parquet"', "FROM 'https://example.com/x.csv'",
    "FROM 's3://bucket/x.parquet'", "WITH \"/etc/passwd\" AS (SELECT 1) SELECT * FROM \"/etc/passwd\"",
    "SELECT * FROM read_duckdb('x.db')", "ATTACH '/tmp/x.db'", "DETACH memory", "INSTALL httpfs", "LOAD json",
    "SET memory_limit = '20GB'", "RESET memory_limit", "SET GLOBAL threads = 64", "PRAGMA database_list",
    "PRAGMA enable_profiling", "CALL pragma_version()", "CREATE SECRET s (TYPE s3)", "USE lake",
    # [67] writing
    "COPY messages TO '{data}/lake/planted.parquet'", "COPY (SELECT 1) TO '/tmp/x.csv'",
    "EXPORT DATABASE '{data}/lake/out'", "IMPORT DATABASE '{data}/lake/out'", "CREATE TABLE t (x INT)",
    "CREATE TEMP TABLE t AS SELECT 1", "INSERT INTO deploys VALUES ('x')", "DELETE FROM deploys", "DROP VIEW messages",
    "UPDATE deploys SET id = 'x' RETURNING *", "CHECKPOINT", "VACUUM", "BEGIN", "ALTER TABLE deploys ADD COLUMN x INT",
    # [68] hidden in what looks like a SELECT
    "WITH x AS (COPY (SELECT 1) TO '{data}/lake/x.csv') SELECT 1",
    "WITH x AS (INSERT INTO deploys VALUES ('x') RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM deploys RETURNING *) SELECT * FROM x",
    "SELECT * FROM (WITH x AS (DELETE FROM deploys RETURNING *) SELECT * FROM x)",
    "SELECT (WITH x AS (UPDATE deploys SET id = 'x' RETURNING id) SELECT id FROM x)",
    "PREPARE p AS SELECT 1", "EXECUTE p", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE COPY deploys TO '/tmp/x'",
    "SET VARIABLE x = 1", "SELECT * FROM query('COPY deploys TO ''/tmp/x''')",
    "SELECT * FROM query_table('deploys')", "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "PIVOT deploys ON id USING count(*)", "ＳＥＬＥＣＴ 1", "SЕLECT 1",
    # [72] names and paths of this machine
    "SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_databases()", "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_views()", "SELECT current_setting('allowed_directories')", "SELECT getenv('HOME')",
    "SELECT * FROM pragma_database_size()", "SELECT sql FROM duckdb_tables()", "SELECT * FROM sqlite_master",
    "SELECT * FROM information_schema.views", "SELECT * FROM pg_catalog.pg_views",
    "SELECT * FROM secret.keys", "SELECT * FROM nothing", "SELECT * FROM v1.secret.keys",
])  # fmt: skip
def test_everything_else_is_refused(data: Path, text: str) -> None:
    """Whatever is not one reading SELECT over the published views is refused by the gate alone."""
    with (
        duckdb.connect(str(data / "v1.duckdb"), read_only=True) as connection,
        pytest.raises(analytics_errors.QueryRefused),
    ):
        query_gate.check(connection, text.format(data=str(data).replace("'", "''")))


def test_refusal_names_no_path(data: Path) -> None:
    """[72] What the author of a refused or failing text reads holds no path of this machine."""
    for text in (f"FROM '{str(data / 'lake' / 'm.parquet').replace(chr(39), chr(39) * 2)}'", "FROM nothing"):
        with pytest.raises(QueryRefused, match="SHOW TABLES") as refused:
            rows(data, text)
        assert str(data) not in str(refused.value)


@pytest.mark.parametrize("text", ["SELECT 1" + " + 1" * 20_000, "SELECT " + "abs(" * 5000 + "1" + ")" * 5000])
def test_deep_nesting_is_refused(data: Path, text: str) -> None:
    """A text nested some thousand deep is refused with a sentence, and is not a crash."""
    with pytest.raises(QueryRefused):
        rows(data, text)


def test_long_text_is_refused(data: Path) -> None:
    """[39] A text of a megabyte is refused."""
    with pytest.raises(QueryRefused, match="longer than 100000"):
        rows(data, "SELECT '" + "x" * 1_000_000 + "'")


@pytest.mark.parametrize("text", [
    "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_blob('{data}/keys/root.key')",
    "FROM '{data}/lake/link.csv'", "FROM '{data}/lake_evil/x.csv'", "COPY (SELECT 1) TO '{data}/lake/x.csv'",
    "WITH x AS (COPY (SELECT 1 AS a) TO '{data}/lake/x.csv') SELECT * FROM x", "ATTACH '{data}/keys/x.db'",
    "SET enable_external_access = true", "SET allowed_directories = ['/']", "LOAD httpfs",
    "INSERT INTO deploys VALUES (1)",
])  # fmt: skip
def test_the_fences_behind_the_gate_hold(data: Path, text: str) -> None:
    """Text that slipped through the gate would still meet the connection's settings and the process's own limits."""
    script = (
        "import json, os, sys\n"
        "from spanfold import query_process\n"
        "from spanfold.analytics import query_gate\n"
        "query_gate.check = lambda connection, text, closed: None\n"
        "query_process.main()\n"
    )
    question = {
        "text": text.format(data=str(data).replace("'", "''")), "snapshot": str(data / "v1.duckdb"), "content": False,
        "closed": [], "folders": [str(data / "lake")], "seconds": 10, "rows": 10, "result_bytes": 1 << 20,
        "memory_bytes": 1 << 28,
        "threads": 1,
    }  # fmt: skip
    payload = json.dumps(question).encode()
    frame = b"Q" + len(payload).to_bytes(8, "little") + payload
    done = subprocess.run([sys.executable, "-c", script], input=frame, capture_output=True, timeout=60, cwd="/")
    assert done.stdout[:1] == b"E"
    assert b"root:" not in done.stdout
    assert b"canary" not in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Landlock is of Linux")
def test_the_process_itself_can_do_nothing(data: Path) -> None:
    """Once confined, not even Python code in the process could read other files, write, start programs or connect."""
    script = f"""
import os, socket, subprocess
from pathlib import Path
from spanfold import query_sandbox
query_sandbox.limit(4 << 30, 100)
server = socket.create_server(("127.0.0.1", 0))
if not query_sandbox.confine([Path({str(data / "v1.duckdb")!r}), Path({str(data / "lake")!r})]):
    print("no landlock"); raise SystemExit
open({str(data / "lake" / "m.parquet")!r}, "rb").read()
print("read ok")
for name, act in {{
    "key": lambda: open({str(data / "keys" / "root.key")!r}),
    "passwd": lambda: open("/etc/passwd"),
    "environ": lambda: open("/proc/self/environ"),
    "link": lambda: open({str(data / "lake" / "link.csv")!r}),
    "write": lambda: open({str(data / "lake" / "new")!r}, "w"),
    "list": lambda: os.listdir("/"),
    "program": lambda: subprocess.run(["/bin/true"]),
    "connect": lambda: socket.create_connection(server.getsockname()),
}}.items():
    try:
        act()
        print("OPEN", name)
    except OSError as error:
        print("closed", name, error.errno)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd="/")
    if done.stdout.startswith("no landlock"):
        pytest.skip("NOT TESTED: this kernel has no Landlock")
    assert done.stdout.splitlines()[0] == "read ok", done.stderr
    assert "OPEN" not in done.stdout
    assert done.stdout.count("closed") == 8


@pytest.mark.parametrize("text", [
    "SELECT sum(a) FROM range(1000000000000) t(a)",
    "SELECT count(*) FROM messages a, messages b, messages c WHERE a.depth + b.depth + c.depth = 7",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
])  # fmt: skip
def test_runaway_query_is_stopped(data: Path, text: str) -> None:
    """[69] A query without end is stopped at its time limit, and says so."""
    begun = time.monotonic()
    with pytest.raises(QueryTooSlow, match="stopped after 1 s"):
        rows(data, text, limits=Limits(seconds=1))
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize("text", [
    "SELECT list(repeat('a', 1000000) || i) FROM range(10000) t(i)",
    "SELECT string_agg(repeat('a', 100000)) FROM range(100000)",
])  # fmt: skip
def test_memory_is_bounded(data: Path, text: str) -> None:
    """A query that needs more memory than it may have fails with one sentence."""
    with pytest.raises(QueryError) as failed:
        rows(data, text, limits=Limits(memory_bytes=200 << 20, seconds=20))
    assert len(str(failed.value).splitlines()) == 1


def test_huge_result_is_cut_and_says_so(data: Path) -> None:
    """[70] Rows beyond the limit are not sent; the caller knows that there were more. Exactly at the limit is whole."""
    for text, limits, count, cut in (
        ("SELECT * FROM range(100000)", Limits(rows=3000), 3000, True),
        ("SELECT * FROM range(3000)", Limits(rows=3000), 3000, False),
        ("SELECT repeat('x', 1000) AS x FROM range(100000)", Limits(result_bytes=5_000_000), None, True),
    ):
        with Query(text, data / "v1.duckdb", [data / "lake"], limits=limits) as query:
            found = query.table()
            assert query.truncated is cut
            assert found.num_rows == count if count else found.nbytes <= 5_000_000


def test_wrong_query_says_what_is_wrong(data: Path) -> None:
    """An unknown column is named, with DuckDB's own hint; no path of the machine is in the answer."""
    with pytest.raises(QueryFailed, match="message_id") as failed:
        rows(data, "SELECT mesage_id FROM messages")
    assert str(data) not in str(failed.value)


@pytest.mark.parametrize(("text", "error", "expected"), [
    ("SELECT CASE WHEN x > 150000 THEN error('enough') ELSE 1 END AS a FROM range(200000) t(x)", QueryFailed, "enough"),
    ("SELECT repeat('x', 1000000) AS a FROM range(100000)", QueryFailed, "Out of Memory"),
    ("SELECT 170141183460469231731687303715884105727::HUGEINT AS a", QueryFailed, "cast it to DOUBLE"),
    ("SELECT x FROM range(1000000000000) t(x) WHERE x < 100000 OR x < 0", QueryTooSlow, "stopped after 3 s"),
])  # fmt: skip
def test_what_fails_after_the_first_rows_says_why(data: Path, text: str, error: type[Exception], expected: str) -> None:
    """An error, the memory or the time limit that comes in the middle of the rows is told as one before them is."""
    with pytest.raises(error, match=expected):
        rows(data, text, limits=Limits(seconds=3, memory_bytes=200 << 20))


def words(asked: list[int]) -> object:
    def words_of(places: pa.Table) -> pa.Array:
        asked.append(places.num_rows)
        assert places.column_names == ["date", "tenant", "message_id", "content_id"]
        assert set(places.column("date").to_pylist()) == {"2026-04-18"}
        return pa.array([f'[{{"type":"text","content":"word {i}"}}]' for i in places.column("message_id").to_pylist()])

    return words_of


def test_content_is_handed_over_for_the_rows_that_need_it(data: Path) -> None:
    """The words come from the caller, which holds the key, for just the rows the query looks at."""
    asked: list[int] = []
    one = rows(data, "SELECT content FROM messages WHERE message_id = '7'", words_of=words(asked))
    assert one == [{"content": '[{"type":"text","content":"word 7"}]'}]
    assert asked == [1]
    count = rows(
        data, "SELECT count(*) AS n FROM messages WHERE content ->> '$[0].content' LIKE '%99'", words_of=words(asked)
    )
    assert count == [{"n": 50}]
    assert sum(asked) == 1 + MESSAGES
    assert rows(data, "SELECT count(*) AS n FROM messages", words_of=words(asked)) == [{"n": MESSAGES}]
    assert sum(asked) == 1 + MESSAGES


def test_content_read_is_bounded(data: Path) -> None:
    """A query that goes through more words than allowed is stopped with the next step."""
    with pytest.raises(QueryFailed, match="narrow it"):
        rows(
            data,
            "SELECT max(length(content::VARCHAR)) FROM messages",
            words_of=lambda places: pa.array(['"' + "x" * 1000 + '"'] * places.num_rows),
            limits=Limits(content_bytes=3_000_000),
        )


def test_failure_of_the_caller_ends_the_process(data: Path) -> None:
    """When the words cannot be read, the error comes through and no process is left."""

    def broken(places: pa.Table) -> pa.Array:
        raise OSError("block damaged")

    text = "SELECT content FROM messages"
    with pytest.raises(OSError, match="block damaged"):
        rows(data, text, words_of=broken)
    children = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    assert not [pid for pid in children if b"spanfold.query_process" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_queries_in_a_row_leave_nothing(data: Path) -> None:
    """Each query has a process of its own, and none is left behind."""
    pids = set()
    for _ in range(5):
        with Query("SELECT 1", data / "v1.duckdb", [data / "lake"]) as query:
            pids.add(query._process.pid)
            query.table()
        assert query._process.returncode is not None
    assert len(pids) == 5


@pytest.mark.parametrize("name", NAMES)
def test_copied_sql_passes_the_gate(filled: Path, name: str) -> None:
    """What the screens give as "copy as SQL" runs in `spanfold sql` as well."""
    view = Reader(filled).view()
    with duckdb.connect(str(filled / "spanfold.duckdb"), read_only=True) as connection:
        text = view.as_sql(name, DAY_RANGE, **arguments(name))
        query_gate.check(connection, text)
        assert connection.sql(text).columns
