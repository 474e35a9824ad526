"""Views over a few chosen traces only: what makes a page of 50 cost 50 traces and not a day.

A query text that reads `scope.calls` (or traces, conversations, spans, heads ...) gets the definition of that view
written into it, with every stored table cut down to `$trace_ids` and the days `$first_day` to `$last_day`. DuckDB does
not push such a list through the views' joins by itself; a single `trace_id = ...` it does.
"""

from __future__ import annotations

import re
from functools import cache

from spanfold.analytics import views
from spanfold.semconv.schema import TABLES

_SCOPED = re.compile(r"\bscope\.(\w+)")
_LAKE = re.compile(r"\blake\.(\w+)")
_CREATE = re.compile(r"CREATE VIEW (?:lake\.)?(\w+) AS\s+")


def scoped(text: str) -> str:
    """The text with its `scope.*` views written in front of it; unchanged where there are none."""
    wanted = list(dict.fromkeys(_SCOPED.findall(text)))
    if not wanted:
        return text
    chain: dict[str, str] = {}
    for name in wanted:
        _add(name, chain)
    text = _SCOPED.sub(r"scope_\1", text)
    head, _, body = text.partition("\nWITH ") if not text.startswith("WITH ") else ("", "", text[5:])
    definitions = ",\n".join(f"scope_{name} AS (\n{sql}\n)" for name, sql in chain.items())
    if body:
        return f"{head}\nWITH {definitions},\n{body}"
    comment, select = re.match(r"((?:--[^\n]*\n)*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{comment}WITH {definitions}\n{select}"


def _add(name: str, chain: dict[str, str]) -> None:
    """Adds a view and, before it, those it reads. Names of inner views begin with `lake_`."""
    if name in chain:
        return
    text = _body(name)
    if text is None:
        table = name.removeprefix("lake_")
        chain[name] = (
            f"SELECT * FROM lake.{table} WHERE date BETWEEN $first_day::DATE AND $last_day::DATE "
            "AND trace_id IN (SELECT unnest($trace_ids::VARCHAR[]))"
        )
        return
    for inner in dict.fromkeys(_LAKE.findall(text)):
        if _in_scope(inner):
            _add(f"lake_{inner}", chain)
    chain[name] = _LAKE.sub(lambda m: f"scope_lake_{m[1]}" if _in_scope(m[1]) else m[0], text)


def _in_scope(inner: str) -> bool:
    return inner not in TABLES or "trace_id" in TABLES[inner].names


@cache
def _bodies() -> dict[str, str]:
    found = {}
    for statement in views.definitions():
        text = re.sub(r"^\s*--[^\n]*\n", "", statement, flags=re.MULTILINE)
        match = _CREATE.match(text)
        if match:
            inner = text.startswith("CREATE VIEW lake.")
            found[("lake_" if inner else "") + match[1]] = text[match.end() :].strip()
    return found


def _body(name: str) -> str | None:
    return _bodies().get(name)
