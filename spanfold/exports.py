"""Writes call records as NDJSON, CSV or Parquet, batch by batch: memory does not grow with the number of records.

Records come as Arrow batches. Columns of `JSON_COLUMNS` hold JSON text: part of the document in NDJSON, text elsewhere.
Times are ISO 8601 in UTC with Z in the text formats. CSV is opened with spreadsheets, which run what begins like a
formula: such text gets a leading apostrophe, as OWASP advises.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from spanfold.analytics.queries import Reader

CHUNK = 1_000  # records in memory at once

CONTENT_COLUMNS = (
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
)
JSON_COLUMNS = frozenset(
    {*CONTENT_COLUMNS, "attributes", "attributes_typed", "events", "links", "resource", "scope_attributes", "content"}
)
_FORMULA = r"^([\s\p{Z}\p{Cf}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|[\t\r\n])"

Progress = Callable[[int], None]  # called with the number of records of each batch written


def write(
    form: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO, progress: Progress | None = None
) -> int:
    """Write all records of `schema` in a form of `FORMATS`; how many there were."""
    return FORMATS[form](_counted(batches, progress or (lambda rows: None)), schema, sink)


def export_calls(
    reader: Reader, form: str, sink: BinaryIO, *, where: str | None = None, content: bool = False,
    progress: Progress | None = None,
) -> int:  # fmt: skip
    """Write call records in order of time; how many there were.

    Raises QueryRefused for a condition that is none, KeyMissing where content is asked for without its key.
    """
    rows, tell = reader.call_records(where, content=content), progress or (lambda count: None)
    if form != "ndjson":
        schema = record_schema(reader, content=content)
        return write(form, _batches(rows, schema), schema, sink, tell)
    count = 0
    for chunk in _chunks(rows):
        sink.write(b"".join(map(json_line, chunk)))
        count += len(chunk)
        tell(len(chunk))
    return count


def record_schema(reader: Reader, *, content: bool) -> pa.Schema:
    """The columns of call records; with `content` also the four content lists, as JSON text."""
    schema = reader.query("span_call", span_id="").schema
    return pa.schema([*schema, *((name, pa.string()) for name in CONTENT_COLUMNS if content)])


def json_line(row: Mapping[str, Any]) -> bytes:
    """A record as a line of JSON; times are UTC with Z."""
    return orjson.dumps(row, default=str, option=orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _batches(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for chunk in _chunks(rows):
        for row in chunk:
            row |= {name: orjson.dumps(row[name]).decode() for name in CONTENT_COLUMNS if row.get(name) is not None}
        yield pa.RecordBatch.from_pylist(chunk, schema)


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(itertools.islice(rows, CHUNK)):
        yield chunk


def ndjson_lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Each record as one line of JSON with its newline."""
    names = batch.schema.names
    columns = [_json_values(batch.column(i), names[i]) for i in range(len(names))]
    for row in zip(*columns, strict=True):
        yield orjson.dumps(
            dict(zip(names, row, strict=True)), default=_nested, option=orjson.OPT_NAIVE_UTC | orjson.OPT_APPEND_NEWLINE
        )


def iso_times(column: pa.Array) -> pa.Array:
    """Timestamps (naive ones are UTC) as text such as 2026-04-18T14:05:00.250000Z."""
    naive = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us"))
    return pc.strftime(naive, format="%Y-%m-%dT%H:%M:%SZ")


def neutral(column: pa.Array) -> pa.Array:
    """Text that no spreadsheet takes for a formula."""
    return pc.replace_substring_regex(column, _FORMULA, r"'\1")


def distinct_names(schema: pa.Schema) -> pa.Schema:
    """`SELECT 1 AS a, 2 AS a` gives two columns of one name: the second becomes a_2."""
    names: list[str] = []
    for name in schema.names:
        number, fresh = 1, name
        while fresh in names:
            number += 1
            fresh = f"{name}_{number}"
        names.append(fresh)
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def _write_ndjson(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> int:
    count = 0
    for batch in batches:
        sink.write(b"".join(ndjson_lines(batch)))
        count += batch.num_rows
    return count


def _write_csv(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> int:
    texts = pa.schema([(field.name, _csv_type(field.type)) for field in schema])
    count = 0
    with pa_csv.CSVWriter(sink, texts) as writer:
        for batch in batches:
            columns = [_csv_column(column) for column in batch.columns]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=texts))
            count += batch.num_rows
    return count


def _write_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> int:
    count = 0
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


FORMATS: dict[str, Callable[[Iterable[pa.RecordBatch], pa.Schema, BinaryIO], int]] = {
    "ndjson": _write_ndjson,
    "csv": _write_csv,
    "parquet": _write_parquet,
}


def _counted(batches: Iterable[pa.RecordBatch], progress: Progress) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        progress(batch.num_rows)


def _json_values(column: pa.Array, name: str) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        return list(iso_times(column).to_pylist())
    if pa.types.is_date(column.type):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_decimal(column.type):
        return list(column.cast(pa.float64()).to_pylist())
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return [None if raw is None else raw.hex() for raw in column.to_pylist()]
    if name in JSON_COLUMNS and pa.types.is_string(column.type):
        return [None if text is None else orjson.Fragment(text) for text in column.to_pylist()]
    return list(column.to_pylist())


def _nested(value: Any) -> str:
    """What stands inside lists and structs and has no form of its own in JSON."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _csv_type(kind: pa.DataType) -> pa.DataType:
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return kind if plain else pa.string()


def _csv_column(column: pa.Array) -> pa.Array:
    kind = column.type
    if _csv_type(kind) == kind and not pa.types.is_string(kind):
        return column
    if pa.types.is_timestamp(kind):
        return iso_times(column)
    if pa.types.is_nested(kind):
        values = [None if v is None else orjson.dumps(v, default=str).decode() for v in column.to_pylist()]
        return neutral(pa.array(values, pa.string()))
    return neutral(column.cast(pa.string()))
