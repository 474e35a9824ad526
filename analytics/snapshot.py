"""Publishes snapshots: a small DuckDB file with views over exactly the files of one manifest, and the price book.

`DATA/snapshots/v<N>.duckdb` (N = manifest version, `v<N>-<k>` when published again for prices or state) is immutable;
`DATA/spanfold.duckdb` is a hard link to the newest, replaced by rename, because DuckDB neither lets a writer into a
file that readers hold nor notices a file changed in place. The storage version is v1.0.0, which DuckDB 1.4 reads.

Publishing happens up to twice a second, so everything that seldom changes (macros, views, prices, state copies) lies in
a template file that is copied; per version only the file lists are written. No span is read. The costly half of the
template, views and prices, outlives its process as `prepared-<of what>-<checksum>.duckdb`: a restart finds it again.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import xxhash

from spanfold.analytics.price_rows import EXCHANGE, MODELS, PRICES, RATES
from spanfold.analytics.prices import ModelKey, PriceBook
from spanfold.analytics.snapshots import published, sweep
from spanfold.analytics.stored import Columns, duckdb_type, select
from spanfold.analytics.views import definitions, lake_view
from spanfold.exporter.durable import sync_dirs, write_durably
from spanfold.exporter.manifest import Manifest
from spanfold.semconv.schema import SCHEMA_VERSION, TABLES

_VERSIONS = (version("spanfold"), duckdb.__version__, SCHEMA_VERSION)
KEEP, KEEP_YOUNG, YOUNG_SECONDS = 5, 50, 900
_T, _TEXT, _INT = pa.timestamp("us"), pa.string(), pa.int64()
_MODEL = ("provider", "request_model", "response_model")
_TARGET = [(name, _TEXT) for name in ("tenant", "kind", "trace_id", "span_id", "message_id")]

STATE: dict[str, pa.Schema] = {  # the control-plane tables that a snapshot copies; never keys, never comments
    "reviews": pa.schema([*_TARGET, ("state", _TEXT), ("revision", _INT), ("updated_at", _T), ("who", _TEXT)]),
    "review_events": pa.schema(
        [
            ("seq", _INT), *_TARGET, ("decided_at", _T), ("who", _TEXT), ("from_state", _TEXT), ("to_state", _TEXT),
            ("revision", _INT), ("batch_id", _TEXT), ("undo_of", _INT), ("has_comment", pa.bool_()),
        ]
    ),
    "deploys": pa.schema(
        [
            ("tenant", _TEXT), ("id", _TEXT), ("pr_number", _INT), ("title", _TEXT), ("commit_sha", _TEXT),
            ("author", _TEXT), ("service", _TEXT), ("environment", _TEXT), ("version", _TEXT), ("completed_at", _T),
            ("source", _TEXT),
        ]
    ),
    "anomalies": pa.schema(
        [
            ("tenant", _TEXT), ("id", _TEXT), ("metric", _TEXT), ("service_name", _TEXT), ("dimension", _TEXT),
            ("window_start", _T), ("window_end", _T), ("expected", pa.float64()), ("actual", pa.float64()),
            ("sigma", pa.float64()), ("status", _TEXT), ("deploy_id", _TEXT), ("confidence", pa.float64()),
            ("detected_at", _T),
        ]
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Models:
    """The model names that the stored calls use, so that prices are matched once a name and not once a call. Kept in a
    small file that may be lost at any time: then all spans are asked."""

    version: int = -1  # manifest version up to which files were read
    models: frozenset[ModelKey] = frozenset()
    fills: frozenset[ModelKey] = frozenset()  # names that merged twins gave to their calls

    def to_json(self) -> bytes:
        return orjson.dumps([self.version, sorted(self.models, key=repr), sorted(self.fills, key=repr)])

    @staticmethod
    def read(path: Path) -> Models:
        try:
            version, models, fills = orjson.loads(path.read_bytes())
            keys = [frozenset((row[0], row[1], row[2]) for row in rows) for rows in (models, fills)]
            return Models(int(version), keys[0], keys[1])
        except (FileNotFoundError, ValueError, TypeError, IndexError):
            return Models()


class Publisher:
    """Publishes the snapshots of one data directory. One per data directory (the folder's)."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.directory = data / "snapshots"
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(self.directory)
        for unfinished in self.directory.glob("v*.tmp*"):
            unfinished.unlink(missing_ok=True)
        self._known = Models.read(self._models_file)
        self._columns = Columns(data)
        self._base: tuple[str, Path] = ("", self.directory)  # version of the book, file with it and the views
        self._template = _Copied(self.directory / f"template-{os.getpid()}.tmp")
        self._connection = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})

    @property
    def _models_file(self) -> Path:
        return self.directory / "models.json"

    def close(self) -> None:
        self._connection.close()
        self._template.path.unlink(missing_ok=True)

    def publish(
        self,
        manifest: Manifest,
        book: PriceBook,
        state_copies: Mapping[str, pa.Table],
        *,
        models: Iterable[ModelKey] | None = None,
    ) -> Path:
        """Publishes one version and makes it current. `models`: names that its calls use, at least those that are new
        since the version before; None = not known, they are collected from the files that were added since."""
        self._columns.met(manifest)
        self._learn(manifest, models)
        template = self._current_template(book, state_copies)
        name = self._next_name(manifest.version)
        temporary = self.directory / f"{name}.tmp"
        shutil.copyfile(template, temporary)
        temporary.chmod(0o600)
        self._write_version(temporary, name, manifest, book)
        _sync(temporary)
        target = self.directory / name
        temporary.rename(target)
        self._make_current(target)
        self._forget_old(target)
        return target

    # ---- models ------------------------------------------------------------------------------------------------------
    def _learn(self, manifest: Manifest, models: Iterable[ModelKey] | None) -> None:
        """Keeps the model names up to date; the file that remembers them may be lost at any time."""
        if models is None:
            known = _stored_models(self._connection, self._columns, manifest, self._known)
        else:
            known = replace(self._known, version=manifest.version, models=self._known.models | set(models))
        if known.models != self._known.models:
            write_durably(self._models_file, known.to_json())
        else:
            known = replace(known, models=self._known.models)
        self._known = known

    # ---- template ----------------------------------------------------------------------------------------------------
    def _current_template(self, book: PriceBook, state_copies: Mapping[str, pa.Table]) -> Path:
        """Views and prices change with the book, state and matched models with people and traffic: two steps, so that
        a decision or a new model costs little."""
        if self._base[0] != book.version:
            self._base = book.version, self._prepared(book)
        if self._template.is_stale(book, self._known.models, *(state_copies.get(name) for name in STATE)):
            shutil.copyfile(self._base[1], self._template.path)
            with _attached(self._connection, self._template.path) as connection:
                _fill_tables(connection, book, self._known.models, state_copies)
        return self._template.path

    def _prepared(self, book: PriceBook) -> Path:
        """The file with the views and this book: that of an earlier process if it is whole, else a new one."""
        statements = definitions()
        of = blake2b(repr((_VERSIONS, STATE, book.version, statements)).encode(), digest_size=8).hexdigest()
        found = set(self.directory.glob("prepared-*.duckdb"))
        fitting = next((path for path in found if path.name == f"prepared-{of}-{_checksum(path)}.duckdb"), None)
        if fitting is None:
            temporary = self.directory / f"base-{os.getpid()}.tmp"
            temporary.unlink(missing_ok=True)
            with _attached(self._connection, temporary) as connection:
                _create_static(connection, book, statements)
            temporary.chmod(0o600)
            _sync(temporary)
            fitting = temporary.rename(self.directory / f"prepared-{of}-{_checksum(temporary)}.duckdb")
        for path in found - {fitting}:
            path.unlink(missing_ok=True)
        return fitting

    # ---- one version -------------------------------------------------------------------------------------------------
    def _next_name(self, version: int) -> str:
        """Never a name that was used before: readers' caches are keyed by it."""
        again = [key[1] for _, key in published(self.directory) if key[0] == version]
        return f"v{version}-{max(again) + 1}.duckdb" if again else f"v{version}.duckdb"

    def _write_version(self, path: Path, name: str, manifest: Manifest, book: PriceBook) -> None:
        with _attached(self._connection, path) as connection:
            for table in TABLES:
                files = manifest.of_table(table)
                if files:
                    connection.execute(lake_view(table, self._columns.groups(table, files)))
            connection.execute(
                "INSERT INTO meta.snapshot VALUES (?, ?, ?, ?, ?, ?)",
                [
                    name.removesuffix(".duckdb"), manifest.version, SCHEMA_VERSION, _now(), book.version,
                    sum(file.rows for file in manifest.files_of("spans")),
                ],
            )  # fmt: skip

    def _make_current(self, target: Path) -> None:
        link = self.data / ".spanfold.duckdb.next"  # DuckDB makes a folder "spanfold.duckdb.tmp" where a reader spills
        link.unlink(missing_ok=True)
        os.link(target, link)
        link.rename(self.data / "spanfold.duckdb")
        sync_dirs([self.directory, self.data])

    def _forget_old(self, newest: Path) -> None:
        """Old versions go; readers that hold one open keep reading it."""
        now = time.time()
        found = sorted(published(self.directory), key=lambda item: item[1], reverse=True)
        for rank, (name, _) in enumerate(found):
            path = self.directory / name
            if rank < KEEP or path == newest:
                continue
            if rank >= KEEP_YOUNG or now - path.stat().st_mtime > YOUNG_SECONDS:
                path.unlink(missing_ok=True)


def publish(
    data: Path,
    manifest: Manifest,
    book: PriceBook,
    state_copies: Mapping[str, pa.Table],
    *,
    models: Iterable[ModelKey] | None = None,
) -> Path:
    """Publishes one snapshot; who publishes often keeps a `Publisher`."""
    publisher = Publisher(data)
    try:
        return publisher.publish(manifest, book, state_copies, models=models)
    finally:
        publisher.close()


class _Copied:
    """A file that is built anew when one of the objects it was built of is another one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._built_of: tuple[object, ...] = ()

    def is_stale(self, *built_of: object) -> bool:
        """Says whether to build it now, and takes note of what it is built of."""
        same = len(built_of) == len(self._built_of) and all(
            a is b for a, b in zip(built_of, self._built_of, strict=True)
        )
        if not same:
            self._built_of = built_of
            self.path.unlink(missing_ok=True)
        return not same


class _attached:
    """One DuckDB file, written in one transaction in an in-memory instance."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection, self._path = connection, str(path).replace("'", "''")

    def __enter__(self) -> duckdb.DuckDBPyConnection:
        self._connection.execute(f"ATTACH '{self._path}' AS snapshot (STORAGE_VERSION 'v1.0.0')")
        self._connection.execute("USE snapshot")
        self._connection.execute("BEGIN")
        return self._connection

    def __exit__(self, kind: object, *_: object) -> None:
        self._connection.execute("ROLLBACK" if kind else "COMMIT")
        self._connection.execute("USE memory")
        self._connection.execute("DETACH snapshot")


def _create_static(connection: duckdb.DuckDBPyConnection, book: PriceBook, statements: Iterable[str]) -> None:
    for schema in ("lake", "book", "meta"):
        connection.execute(f"CREATE SCHEMA {schema}")
    connection.execute(
        "CREATE TABLE meta.snapshot (version VARCHAR, manifest_version BIGINT, schema_version INTEGER, "
        "published_at TIMESTAMP, book_version VARCHAR, spans BIGINT)"
    )
    for table in TABLES:
        connection.execute(lake_view(table, {}))
    book_tables = {
        "book.prices": PRICES, "book.rates": RATES, "book.rates_believed": RATES, "book.models": MODELS,
        "book.exchange": EXCHANGE,
    }  # fmt: skip
    for name, schema in {**book_tables, **STATE}.items():
        columns = ", ".join(f"{field.name} {duckdb_type(field.type)}" for field in schema)
        connection.execute(f"CREATE TABLE {name} ({columns})")
    _insert(connection, "book.prices", book.rows())
    _insert(connection, "book.exchange", book.exchange_rows())
    for statement in statements:
        connection.execute(statement)


def _fill_tables(
    connection: duckdb.DuckDBPyConnection,
    book: PriceBook,
    models: Iterable[ModelKey],
    state_copies: Mapping[str, pa.Table],
) -> None:
    wanted = list(models)
    _insert(connection, "book.rates", book.rates(wanted))
    _insert(connection, "book.rates_believed", book.rates(wanted, believed=True))
    _insert(connection, "book.models", book.models(wanted))
    for name, schema in STATE.items():
        _insert(connection, name, _allowed(state_copies.get(name), schema))


def _allowed(rows: pa.Table | None, schema: pa.Schema) -> pa.Table:
    """Exactly the columns of the allowlist, whatever the store sent."""
    if rows is None:
        return pa.Table.from_batches([], schema)
    columns = [
        rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    if rows.num_rows:
        connection.register("incoming", rows)
        connection.execute(f"INSERT INTO {table} FROM temp.incoming")
        connection.unregister("incoming")


def _stored_models(connection: duckdb.DuckDBPyConnection, stored: Columns, manifest: Manifest, known: Models) -> Models:
    """Adds the combinations of model names in the files added since, and those that calls may get from their twins.
    Reads three dictionary columns and a few decisions."""
    found: dict[str, set[ModelKey]] = {}
    for table, kept, columns, condition in (
        ("spans", (*_MODEL, "is_candidate"), ", ".join(_MODEL), "is_candidate"),
        ("suppressed", ("fills",), ", ".join(f"fills ->> '{name}'" for name in _MODEL), "fills <> ''"),
    ):
        files = [file for file in manifest.files_of(table) if file.created > known.version]
        rows = select(table, stored.groups(table, files), kept)
        found[table] = set(connection.sql(f"SELECT DISTINCT {columns} FROM ({rows}) WHERE {condition}").fetchall())
    fills = known.fills | found["suppressed"]
    models = known.models | found["spans"]
    return Models(manifest.version, models | {_filled(model, fill) for model in models for fill in fills}, fills)


def _filled(model: ModelKey, fill: ModelKey) -> ModelKey:
    provider, request, response = (own if own is not None else other for own, other in zip(model, fill, strict=True))
    return provider, request, response


def _checksum(path: Path) -> str:
    return xxhash.xxh3_64_hexdigest(path.read_bytes())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
