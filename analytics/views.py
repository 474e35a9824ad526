"""The views of a snapshot as SQL text: `sql/*.sql` with the generated parts filled in from `semconv/schema.py`.

Three schemas stand in a snapshot: `lake` (views over the manifest's files and the steps between them and the public
views), `book` (prices, tables) and `main` (the public contract, docs/sql.md). Everything runs on DuckDB 1.4 and 2.x.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

from spanfold.analytics.stored import Lacking, duckdb_type, select
from spanfold.semconv.schema import FACT_COLUMNS, LATENCY_BUCKETS, PROMOTED, TABLES
from spanfold.semconv.schema import USAGE_COLUMNS as USAGE_COLUMNS

MACROS = "macros"
STEPS = (
    "lake_decisions", "lake_links", "lake_heads", "lake_ends", "lake_calls", "lake_priced", "lake_priced_believed",
    "lake_priced_today", "lake_threaded",
)  # fmt: skip
PUBLIC = (
    "spans", "calls", "messages", "span_messages", "call_messages", "rollup_hourly", "rollup_daily", "traces",
    "conversations", "logs", "metrics", "suppressed", "prices", "exchange_rates", "call_costs", "unpriced",
    "redactions", "data_quality", "attributes_seen",
)  # fmt: skip
WASTE = ("message_costs", "cache_use", "repeats")  # read the public views

_OTHER_INPUTS = (
    "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "audio_input_tokens", "image_input_tokens",
)  # fmt: skip
_OTHER_OUTPUTS = ("reasoning_tokens", "audio_output_tokens")


@cache
def read_sql(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (resources.files("spanfold.analytics") / "sql" / f"{name}.sql").read_text()


_INPUTS = ("uncached_input", "cache_read", "cache_write", "cache_write_1h", "audio_input", "image_input")
BASES = ("true", "believed", "today")  # prices of the time as known now | as known then | of now


def cost_sql(calls: str, basis: str = "true", *, with_rates: bool = False) -> str:
    """The pricing SELECT over a relation of calls (sql/cost.sql), by the rates of the published book."""
    return priced_sql(calls, "book.rates_believed" if basis == "believed" else "book.rates", basis, with_rates)


@cache
def priced_sql(calls: str, rates: str, basis: str = "true", with_rates: bool = False) -> str:
    """The same by any relation of rates."""
    priced_at = "c.start_time"
    if basis == "today":
        now = "(SELECT max(published_at) FROM meta.snapshot)"
        rates, priced_at = f"(FROM {rates} WHERE valid_from <= {now} AND valid_to > {now})", "r.valid_from"
    text = read_sql("cost").replace("{calls}", calls).replace("{rates}", rates).replace("{priced_at}", priced_at)
    rated = "".join(f", r.{bucket} AS {bucket}_rate" for bucket in _INPUTS) if with_rates else ""
    text = text.replace("{input_rates}", rated).replace("{any_usage}", ", ".join(f"c.{name}" for name in USAGE_COLUMNS))
    text = text.replace("{other_inputs}", _known_sum(_OTHER_INPUTS))
    return text.replace("{other_outputs}", _known_sum(_OTHER_OUTPUTS))


def trace_sql(spans: str, calls: str) -> str:
    """The SELECT that makes trace rows (sql/trace_rows.sql) of two relations."""
    text = read_sql("trace_rows").replace("{end_time}", _END_TIME)
    return text.replace("{spans}", spans).replace("{calls}", calls)


def conversation_sql(calls: str) -> str:
    """The SELECT that makes conversation rows (sql/conversation_rows.sql) of a relation like lake.threaded."""
    return read_sql("conversation_rows").replace("{calls}", calls)


@cache
def definitions() -> tuple[str, ...]:
    """Every statement that creates a macro or view, in an order in which each finds those it reads."""
    parts = shared_parts()
    statements = read_sql(MACROS).split(";\n")
    statements += [read_sql(name) for name in (*STEPS, *(f"view_{name}" for name in (*PUBLIC, *WASTE)))]
    return tuple(fill(statement, parts) for statement in statements)


def waste_parts() -> dict[str, str]:
    """The waste views as relations, over the calls that a statement keeps (sql/kept_calls.sql) and near its days."""
    bounds = {
        "days": "date BETWEEN $first_date::DATE AND $last_date::DATE",
        "days_before": "date BETWEEN $first_date::DATE - 1 AND $last_date::DATE",
        "days_around": "date BETWEEN $first_date::DATE - 1 AND $last_date::DATE + 1",
        "calls": "{kept_calls}",
    }
    found = {"kept_calls": read_sql("kept_calls")}
    for name in WASTE:
        _, _, select = read_sql(f"view_{name}").partition(f"CREATE VIEW {name} AS\n")
        found[name] = f"({fill(select, bounds)})"
    return found


def lake_view(table: str, groups: Mapping[Lacking, Sequence[str]]) -> str:
    """The view over exactly these files of one stored table; an empty typed one where there are none."""
    return f"CREATE OR REPLACE VIEW lake.{table} AS {select(table, groups)}"


_LONGEST_NS = 2**63 - 1000  # so that the nanoseconds of a start still fit beside it
_END_TIME = (
    "make_timestamp(epoch_us(s.start_time) + "
    f"(least(s.duration_ns, {_LONGEST_NS}) + coalesce(s.start_nanos, 0)) // 1000)"
)


def fill(statement: str, parts: Mapping[str, str]) -> str:
    """Replaces `{name}`s, parts inside parts too."""
    for _ in range(4):
        for name, text in parts.items():
            statement = statement.replace("{" + name + "}", text)
    return statement


def shared_parts() -> dict[str, str]:
    """The generated parts of the shipped texts."""
    return {
        "end_time": _END_TIME,
        "trace_rows": trace_sql("lake.spans", "lake.priced"),
        "attributes": _attributes(),
        "filled": ", ".join(_filled(name) for name in FACT_COLUMNS),
        "conversation_rows": conversation_sql("lake.threaded"),
        "priced_calls": cost_sql("lake.calls"),
        "priced_believed": cost_sql("lake.calls", "believed"),
        "priced_today": cost_sql("lake.calls", "today"),
        "priced_three_ways": _three_ways(),
        "cost_sum": "CASE WHEN $currency = 'USD' THEN sum(cost_exact)::DOUBLE ELSE sum(cost_exact::DOUBLE / e.usd) END",
        "calls": cost_sql("lake.calls", with_rates=True),
        "days": "true",
        "days_before": "true",
        "days_around": "true",
        "other_inputs": _known_sum(_OTHER_INPUTS),
        "other_outputs": _known_sum(_OTHER_OUTPUTS),
        "usage_columns": ", ".join(f"c.{name}" for name in USAGE_COLUMNS),
        "usage_sums": ", ".join(f"sum({name})::BIGINT AS {name}" for name in USAGE_COLUMNS),
        "latency_count": str(LATENCY_BUCKETS),
        "latency_sums": _list(f"sum(latency_{i})::BIGINT" for i in range(LATENCY_BUCKETS)),
        "latency_merge": _list(f"sum(buckets[{i + 1}])::BIGINT" for i in range(LATENCY_BUCKETS)),
    }


def _three_ways() -> str:
    """Calls with their cost by each basis: one pricing around the other."""
    calls = "lake.calls"
    for basis in ("believed", "today"):
        renamed = f"RENAME (cost AS cost_{basis}, rate_id AS rate_{basis})"
        kept = f"SELECT * EXCLUDE (currency, price_confidence, price_key) {renamed}"
        calls = f"({kept} FROM ({cost_sql(calls, basis)}))"
    return cost_sql(calls)


def _list(items: Iterable[str]) -> str:
    return "[" + ", ".join(items) + "]"


def _known_sum(columns: Sequence[str]) -> str:
    return "(" + " + ".join(f"coalesce(c.{name}, 0)" for name in columns) + ")"


def _filled(name: str) -> str:
    """What a call took from others stands instead of its own: a finer split of its tokens, or what it lacked."""
    kind = duckdb_type(TABLES["spans"].field(name).type)
    taken = f"d.fills -> '{name}'" if kind.endswith("[]") else f"d.fills ->> '{name}'"
    return f"CASE WHEN d.fills IS NULL THEN s.{name} ELSE coalesce(TRY_CAST({taken} AS {kind}), s.{name}) END AS {name}"


def _attributes() -> str:
    """One JSON object: the stored rest, then each promoted attribute whose bit is set. Built as text, because a JSON
    merge would drop nulls that a sender put inside a value."""
    rest = "CASE WHEN length(s.attributes) > 2 THEN s.attributes[2:-2] END"
    promoted = (
        f"CASE WHEN (s.promoted >> {bit}) & 1 = 1 THEN '\"{item.key}\":' || to_json(s.{item.column}) END"
        for bit, item in enumerate(PROMOTED)
    )
    return f"('{{' || concat_ws(',', {rest}, {', '.join(promoted)}) || '}}')::JSON"
