"""Erasure: the lake without what one user, session or trace said and without who that was.

Days that hold words of the subject are packed anew, every block of them: what no message outside the subject's spans
reaches is not copied, and no byte is left that nothing points to. Words that others said or were given too stay, and
are named. Other rows of the subject are written again without identifiers, file by file. The caller commits.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from spanfold.exporter.compact import merged_rows
from spanfold.exporter.erasure_subject import IDENTIFIERS, NAMED_BY, Found, Subject, naming_rows, others_in
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import Lake, read_rows
from spanfold.exporter.manifest import FileEntry
from spanfold.exporter.repack import PRIVATE, REPACKED, Repacker
from spanfold.semconv.schema import TABLES

_TRACED = ("spans", "facts", "logs")  # say which traces are the subject's
_WORDS = ("spans", "contexts", "logs", "metrics")  # whose rows make that a day is packed anew
_OTHERS = ("facts", "suppressed", "links", "rollup")  # hold identifiers, no words
_NO_TEXTS = ("tenant", "merged_into", "root")
_PLACE = ("block_id", "offset", "length")


@dataclass(slots=True)
class Erased:
    """Files written and files they stand for, and what that came to."""

    added: list[FileEntry] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    days: list[str] = field(default_factory=list)  # packed anew
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*_WORDS, *_OTHERS), 0))
    gone: set[bytes] = field(default_factory=set)  # message ids that are in no day any more
    shared: set[bytes] = field(default_factory=set)  # message ids that others reach, too


# ---- whose rows ----------------------------------------------------------------------------------------------------
def find(lake: Lake, subject: Subject) -> Found:
    """Reads the identifying columns of everything stored."""
    traces, told = [], set[str]()
    for table in _TRACED:
        for _, rows in _columns(lake, table):
            named, columns = naming_rows(subject, rows)
            told.update(columns)
            traces.append(named["trace_id"])
    ids = _distinct(traces).drop_null()
    found = Found(subject=subject, traces=ids, others=_text([]), identifiers=subject.names, roots={})
    others, own, foreign = [], set[str](), set[str]()
    for table in ("spans", "facts"):
        for _, rows in _columns(lake, table):
            inside = rows.filter(found.rows_of(table, rows))
            others.append(others_in(subject, inside, sorted(told & set(NAMED_BY[subject.kind]))))
    found = Found(subject=subject, traces=ids, others=_distinct(others), identifiers=subject.names, roots={})
    for table in ("spans", "facts"):
        for _, rows in _columns(lake, table):
            mine = found.rows_of(table, rows)
            own |= _identifiers(rows.filter(mine))
            foreign |= _identifiers(rows.filter(pc.and_(pc.invert(mine), pc.equal(rows["tenant"], subject.tenant))))
    only = (own - foreign) | (subject.names if subject.kind != "trace" else frozenset())
    roots = {name: f"erased-{secrets.token_hex(8)}" for name in only}
    return Found(subject=subject, traces=ids, others=found.others, identifiers=frozenset(only), roots=roots)


def _columns(lake: Lake, table: str) -> Iterable[tuple[FileEntry, pa.Table]]:
    names = ["tenant", "trace_id", "span_id", *(n for n in IDENTIFIERS if n in TABLES[table].names)]
    for file in lake.manifest.files_of(table):
        yield file, read_rows(lake.data, file, names)


def _identifiers(rows: pa.Table) -> set[str]:
    return {v for name in IDENTIFIERS for v in pc.unique(rows[name]).to_pylist() if v is not None}


def _distinct(columns: list[pa.ChunkedArray]) -> pa.Array:
    chunks = [chunk for column in columns for chunk in (column.chunks if hasattr(column, "chunks") else [column])]
    return pc.unique(pa.chunked_array(chunks, pa.string())) if chunks else _text([])


def _text(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())


# ---- rewriting -----------------------------------------------------------------------------------------------------
def erase(lake: Lake, keyring: Keyring, mode: str, found: Found, *, dry_run: bool = False) -> Erased:
    """Writes the days and files of the subject again, without it; with `dry_run` only says what that would come to.
    `mode`: how blocks are sealed, encrypted or plain."""
    out = Erased()
    days = _days_with_words(lake, found, out)
    for day in days:
        repack_without(lake, keyring, mode, day, found, out, dry_run=dry_run)
    for table in ("spans", "logs", "metrics", *_OTHERS):
        for file in lake.manifest.files_of(table):
            if table not in _OTHERS and dt.date.fromisoformat(file.date) in days:
                continue
            rows = read_rows(lake.data, file)
            clean = found.scrubbed(table, rows)
            if clean is not rows:
                out.rows[table] += 0 if table in _WORDS else _differing(rows, clean)
                out.removed.append(file.path)
                if not dry_run and clean.num_rows:
                    out.added.append(lake.write(table, dt.date.fromisoformat(file.date), clean, level=file.level))
    out.gone -= out.shared
    return out


def _days_with_words(lake: Lake, found: Found, out: Erased) -> list[dt.date]:
    days = set()
    for table in _WORDS:
        wanted = [n for n in ("tenant", "trace_id", "span_id", *IDENTIFIERS, "exemplars") if n in TABLES[table].names]
        for file in lake.manifest.files_of(table):
            rows = read_rows(lake.data, file, wanted)
            mine = pc.sum(found.rows_of(table, rows)).as_py() or 0
            out.rows[table] += mine
            if mine:
                days.add(dt.date.fromisoformat(file.date))
    return sorted(days)


class Going(Protocol):
    """Says what goes: rows whose words do, and what is left of any table's rows."""

    def rows_of(self, table: str, rows: pa.Table) -> pa.ChunkedArray: ...

    def scrubbed(self, table: str, rows: pa.Table) -> pa.Table: ...


def repack_without(
    lake: Lake, keyring: Keyring, mode: str, day: dt.date, found: Going, out: Erased, *, dry_run: bool = False
) -> None:  # fmt: skip
    """Packs a day anew without what goes: every block, and every row that points into one."""
    packer = Repacker(lake, keyring, mode, day)
    contexts = packer.read("contexts")
    mine = found.rows_of("contexts", contexts)
    messages = _with_places(merged_rows("messages", packer.read("messages")))
    given, left = (_reached(contexts.filter(rows), messages) for rows in (mine, pc.invert(mine)))
    out.days.append(day.isoformat())
    out.gone |= given - left
    out.shared |= given & left
    rows = {"contexts": contexts.filter(pc.invert(mine))}
    kept = pc.invert(pc.is_in(messages["message_id"], pa.array(sorted(given - left), pa.binary(16))))
    rows["messages"] = messages.filter(kept)
    for table in ("spans", "logs", "metrics"):
        rows[table] = found.scrubbed(table, packer.read(table))
    out.removed += packer.removed
    if dry_run:
        return
    rows["messages"] = packer.move(rows["messages"], _PLACE, "content_id", ("thread_id", "depth"))
    for table in ("spans", "logs", "metrics"):
        rows[table] = packer.move(rows[table], PRIVATE, None, None)
    out.added += [lake.write(table, day, part, level=REPACKED) for table, part in rows.items() if part.num_rows]
    out.added += packer.written


def _with_places(messages: pa.Table) -> pa.Table:
    """Every row says itself where its words lie: the row that said it for others may go."""
    said = messages.filter(pc.is_valid(messages["block_id"]))
    keys = zip(said["tenant"].to_pylist(), said["content_id"].to_pylist(), strict=True)
    where = dict(zip(keys, zip(*(said[name].to_pylist() for name in _PLACE), strict=True), strict=True))
    own = zip(messages["tenant"].to_pylist(), messages["content_id"].to_pylist(), strict=True)
    places = [where.get(key, (None, None, None)) for key in own]
    for i, name in enumerate(_PLACE):
        at = messages.schema.get_field_index(name)
        column = pa.array([place[i] for place in places], messages.schema.field(at).type)
        messages = messages.set_column(at, name, column)
    return messages


def _reached(contexts: pa.Table, messages: pa.Table) -> set[bytes]:
    """The messages of these contexts: heads, what stands beside them, and all ancestors (see `Folded` anchors)."""
    ends = pa.chunked_array(
        [c for n in ("head", "tools_id", "system_id") for c in contexts[n].chunks]
        + [c.flatten() for c in contexts["anchors"].chunks], pa.binary(16),
    )  # fmt: skip
    ends = pc.unique(ends).drop_null()
    paths = messages.filter(pc.is_in(messages["message_id"], ends))["path"]
    reached = {*ends.to_pylist(), *(i for chunk in paths.chunks for i in pc.unique(chunk.flatten()).to_pylist())}
    return reached & set(messages["message_id"].to_pylist())


def _differing(before: pa.Table, after: pa.Table) -> int:
    """Rows in which any column changed."""
    changed = [False] * before.num_rows
    for name in before.column_names:
        if not before[name].equals(after[name]):
            pairs = zip(before[name].to_pylist(), after[name].to_pylist(), strict=True)
            changed = [was or old != new for was, (old, new) in zip(changed, pairs, strict=True)]
    return sum(changed)


# ---- looking again -------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Checked:
    """What a look at the whole lake found after an erasure."""

    files: int = 0
    bytes: int = 0
    left: list[str] = field(default_factory=list)  # files that still hold rows of the subject with words or names
    unreferenced: list[str] = field(default_factory=list)  # blocks with bytes that no row points to
    mentions: dict[str, int] = field(default_factory=dict)  # table -> rows of others whose texts name the subject


def check(lake: Lake, found: Found, days: Iterable[str]) -> Checked:
    """Reads every file again: no row of the subject has anything left to take away, and in the days packed anew every
    byte of every block is of a row that stays."""
    out = Checked()
    used: dict[bytes, dict[int, int]] = {}
    packed = set(days)
    for file in lake.manifest.files:
        out.files, out.bytes = out.files + 1, out.bytes + file.bytes
        if file.table in ("content", "quality", "redactions"):
            continue
        rows = read_rows(lake.data, file)
        if file.table in ("messages", "contexts"):
            if file.table == "contexts" and pc.any(found.rows_of("contexts", rows)).as_py():
                out.left.append(file.path)
        elif found.scrubbed(file.table, rows) is not rows:
            out.left.append(file.path)
        if file.date in packed:
            _note_used(rows, _PLACE if file.table == "messages" else PRIVATE, used)
        _note_mentions(file.table, rows, found, out)
    for file in lake.manifest.files_of("content"):
        if file.date in packed:
            blocks = read_rows(lake.data, file, ["block_id", "raw_length"])
            for block, size in zip(blocks["block_id"].to_pylist(), blocks["raw_length"].to_pylist(), strict=True):
                if sum(used.get(block, {}).values()) != size:
                    out.unreferenced.append(block.hex())
    return out


def _note_used(rows: pa.Table, place: tuple[str, ...], used: dict[bytes, dict[int, int]]) -> None:
    if place[0] not in rows.column_names:
        return
    for block, offset, length in zip(*(rows[name].to_pylist() for name in place), strict=True):
        if block is not None:
            used.setdefault(block, {})[offset] = length


def _note_mentions(table: str, rows: pa.Table, found: Found, out: Checked) -> None:
    texts = [
        f.name for f in rows.schema
        if pa.types.is_string(f.type) and not f.name.endswith(("trace_id", "span_id")) and f.name not in _NO_TEXTS
    ]  # fmt: skip
    named = pa.array([False] * rows.num_rows, pa.bool_())
    for name in texts:
        named = pc.or_(named, found.mentioned(rows[name], found.subject.names))
    if count := pc.sum(named).as_py():
        out.mentions[table] = out.mentions.get(table, 0) + count
