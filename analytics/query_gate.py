"""Which SQL text a user may run: exactly one SELECT over the public views, judged on DuckDB's own parse tree.

The first of three fences: behind it stand the settings of the connection and, in `spanfold sql`, the limits of the
process. The type of the statement is not enough: DuckDB 2.0 calls `WITH x AS (COPY ... TO ...) SELECT` a SELECT. So
every node of the tree must be of a kind that only reads, every table known, every table function on a list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import duckdb

from spanfold.analytics.errors import QueryRefused

SCHEMAS = {"main", "lake", "book", "meta", "temp"}  # all of a snapshot: "copy as SQL" names its steps too
READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
TABLE_FUNCTIONS = {
    "generate_series", "histogram", "histogram_values", "json_each", "json_tree", "pg_timezone_names",
    "pragma_table_info", "range", "repeat", "repeat_row", "summary", "unnest",
}  # fmt: skip
CATALOG_TABLES = {("information_schema", "tables"), ("information_schema", "columns")}
LEAKING_FUNCTIONS = {"current_setting", "getenv", "json_serialize_plan", "read_text", "read_blob", "write_log"}
MAX_TEXT = 100_000
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_ ]*\Z")  # nothing that could name a file


def check(connection: duckdb.DuckDBPyConnection, text: str, *, closed: Collection[str] = ()) -> None:
    """Raise QueryRefused unless `text` is one statement that only reads the snapshot attached to `connection`, and
    names no table of the schemas in `closed`."""
    if len(text) > MAX_TEXT:
        raise QueryRefused(f"the query is longer than {MAX_TEXT} characters")
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise QueryRefused(str(error)) from error
    if len(statements) != 1:
        raise QueryRefused(f"the text holds {len(statements)} statements: give exactly one SELECT")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rsplit(".", 1)[-1]
        raise QueryRefused(f"only SELECT is allowed here, this is {kind}")
    tree = _parse(connection, text)
    _check_tree(tree["statements"], _tables(connection, closed))


def check_condition(connection: duckdb.DuckDBPyConnection, condition: str) -> None:
    """Raise QueryRefused unless `condition` is one condition on the columns of `calls`, and nothing beside it."""
    text = f"SELECT 1 FROM calls WHERE (\n{condition}\n)"
    if not condition.strip():
        raise QueryRefused("the condition is empty")
    check(connection, text)
    statements = _parse(connection, text)["statements"]
    query = statements[0]["node"]
    beside = ("modifiers", "group_expressions", "having", "qualify", "sample")
    closed = query["type"] == "SELECT_NODE" and query["from_table"].get("table_name") == "calls"
    if not closed or any(query.get(name) for name in beside) or query["cte_map"]["map"]:
        raise QueryRefused("the condition must be one expression, such as status = 'error' AND cost > 0.01")
    try:
        connection.sql(text)
    except duckdb.Error as error:
        raise QueryRefused(str(error)) from error


def _parse(connection: duckdb.DuckDBPyConnection, text: str) -> Any:
    try:
        tree = json.loads(connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()[0][0])
    except RecursionError:
        raise QueryRefused("the query is nested too deeply") from None
    if tree["error"]:
        raise QueryRefused(str(tree.get("error_message", "the query could not be read")))
    return tree


def _tables(connection: duckdb.DuckDBPyConnection, closed: Collection[str]) -> set[tuple[str, str]]:
    """(schema, name) of every view and table that may be read, lower case."""
    found = connection.execute(
        "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal "
        "UNION ALL SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
    ).fetchall()
    seen = SCHEMAS - set(closed)
    return {(schema.lower(), name.lower()) for schema, name in found if schema.lower() in seen} | CATALOG_TABLES


def _check_tree(tree: Any, tables: set[tuple[str, str]]) -> None:
    nodes = list(_nodes(tree))
    own = {name for node in nodes for name in _cte_names(node)}
    if bad := sorted(name for name in own if not _IDENTIFIER.match(name)):
        raise QueryRefused(f"{bad[0]!r} is not a plain name for a part of a query")
    for node in nodes:
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in READING_NODES:
            raise QueryRefused("only SELECT is allowed here, also inside WITH")
        if kind == "BASE_TABLE":
            _check_table(node, tables, own)
        elif kind == "TABLE_FUNCTION":
            name = str(node["function"]["function_name"]).lower()
            if name not in TABLE_FUNCTIONS:
                raise QueryRefused(f"the table function {name} is not allowed here")
        elif "function_name" in node and str(node["function_name"]).lower() in LEAKING_FUNCTIONS:
            raise QueryRefused(f"the function {node['function_name']} is not allowed here")


def _check_table(node: dict[str, Any], tables: set[tuple[str, str]], own: set[str]) -> None:
    path = [str(part).lower() for part in node["qualified_name"]["path"]]
    name, schema = path[-1], path[-2] if len(path) > 1 else None
    if schema is None:
        known = name in own or any(name == table for where, table in tables if where in ("main", "temp"))
    else:
        known = (schema, name) in tables
    if not known:
        raise QueryRefused(f"there is no table or view {'.'.join(path)!r} here: `SHOW TABLES` lists them")


def _cte_names(node: dict[str, Any]) -> list[str]:
    entries = (node.get("cte_map") or {}).get("map") or []
    names = [str(entry["key"]).lower() for entry in entries]
    return [*names, str(node["cte_name"]).lower()] if node.get("cte_name") else names


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree; without recursion, because depth is up to the author of the text."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
