"""Call records: what export, show and the API give out, one dictionary a call (design.md section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from spanfold.analytics import content as unfold
from spanfold.analytics import sandbox
from spanfold.analytics.errors import QueryRefused
from spanfold.analytics.failing import GAVE_UP, batches, failure_told
from spanfold.analytics.snapshots import Opened
from spanfold.analytics.time_limit import Awaited, ended_after
from spanfold.exporter.keys import Keyring

if TYPE_CHECKING:
    from spanfold.analytics.queries import View

Row = dict[str, Any]
BATCH = 1_000  # calls whose content is opened together
INSTRUCTIONS, TOOLS = "gen_ai.system_instructions", "gen_ai.tool.definitions"
INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"


def call_records(
    opened: Opened, data: Path, keyring: Keyring | None, where: str | None, *, content: bool,
    awaited: Awaited | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Calls in order of time. `where`, a condition on the columns of `calls`, runs where no other file is in reach.
    Raises QueryRefused for a condition that is none, KeyMissing when content cannot be opened, QueryAbandoned soon
    after they are no more `awaited`, DatabaseFailed, FileUnreadable."""
    with failure_told(), duckdb.connect(":memory:") as connection, ended_after(connection, None, awaited):
        sandbox.confine(connection, opened.path, data)
        try:
            kept = connection.table("calls").filter(where or "true")  # parsed as one expression
            found = kept.order("start_time, trace_id, span_id").to_arrow_reader(BATCH)
        except (duckdb.InterruptException, duckdb.IOException, *GAVE_UP):
            raise
        except duckdb.Error as error:
            raise QueryRefused(str(error).replace(str(data.resolve()), "…")) from error
        for batch in batches(found):
            rows: list[Row] = batch.to_pylist()
            if content:
                with opened.reading() as cursor, ended_after(cursor, None, awaited):
                    add_content(cursor, keyring, rows)
            yield from rows


def add_content(cursor: duckdb.DuckDBPyConnection, keyring: Keyring | None, rows: Sequence[Row]) -> None:
    """Adds the four content lists of the OTel GenAI schemas to call rows; NULL where nothing was sent."""
    keys = [(row["date"], row["tenant"], row["trace_id"], row["span_id"]) for row in rows]
    found: dict[tuple[unfold.SpanKey, str], unfold.Context] = {
        (context.key, context.direction): context for context in unfold.contexts(cursor, keyring, keys, words=True)
    }
    for row, key in zip(rows, keys, strict=True):
        given, said = found.get((key, "input")), found.get((key, "output"))
        row[INSTRUCTIONS] = unfold.instructions(given.system) if given else None
        row[TOOLS] = unfold.definitions(given.tools) if given else None
        row[INPUT] = input_messages(given)
        row[OUTPUT] = output_messages(said, row)


def input_messages(context: unfold.Context | None) -> list[Row] | None:
    """Leading system messages, then the chain."""
    if context is None:
        return None
    found = [*unfold.leading(context.system), *(m.body for m in context.messages if m.body)]
    return found or None


def output_messages(context: unfold.Context | None, call: Row) -> list[Row] | None:
    """The answers, each with its finish reason, which the chain does not hold. The schema demands one: `unknown` where
    none was reported."""
    if context is None:
        return None
    reasons = call.get("finish_reasons") or []
    missing = "error" if call.get("status") == "error" else reasons[-1] if reasons else "unknown"
    bodies = [m.body for m in context.messages if m.body]
    return [
        body | {"finish_reason": reasons[at] if at < len(reasons) else missing} for at, body in enumerate(bodies)
    ] or None


def span_record(view: View, span_id: str, trace_id: str | None, *, content: bool) -> Row | None:
    """Everything kept of one span: its columns, its call, its decision, logs of its own; with content its messages and
    private attributes. None if there is no such span."""
    found = view.query("span_row", span_id=span_id, trace_id=trace_id).to_pylist()
    if not found:
        return None
    span: Row = found[0]
    calls = view.query("span_call", span_id=span_id, trace_id=span["trace_id"]).to_pylist()
    logs = view.query("trace_logs", trace_id=span["trace_id"]).to_pylist()
    span["logs"] = [log for log in logs if log["span_id"] == span_id]
    span["call"] = calls[0] if calls else None
    span["price"] = view.query("price_used", trace_id=span["trace_id"], span_id=span_id).to_pylist() if calls else []
    if content:
        key = (span["date"], span["tenant"], span["trace_id"], span_id)
        span["contexts"] = [context.as_dict() for context in view.messages([key], words=True)]
        span["private"] = view.private([span])[0]
        for log, secret in zip(span["logs"], view.private(span["logs"]), strict=True):
            log["private"] = secret
    return span
