"""Words come back: contexts unfold into the messages that were sent, opened only with the key, block by block."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import orjson
import pytest

from spanfold.analytics import content
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.queries import Reader
from spanfold.analytics.records import INPUT, INSTRUCTIONS, OUTPUT, TOOLS
from spanfold.analytics.snapshot import publish
from spanfold.exporter.content_writer import ContentWriter, Item
from spanfold.exporter.errors import KeyMissing
from spanfold.exporter.keys import Keyring
from tests.analytics.lake import DAY, Lake, chain, context, message_key, span, usage

SYSTEM, TOOL = 900, 901
BOOK = PriceBook.load()


def words(number: int) -> dict[str, Any]:
    return {"role": ("user", "assistant")[number % 2], "parts": [{"type": "text", "content": f"words {number} é"}]}


def store(lake: Lake, keyring: Keyring, bodies: dict[int, Any], *, mode: str = "encrypted", day: dt.date = DAY) -> None:
    """Message rows of a chain (and of -1 depth rows) with their words in blocks of 200 bytes."""
    writer = ContentWriter(keyring, mode, block_bytes=200)
    items = [Item(message_key(5000 + n), (message_key(0), n), orjson.dumps(body)) for n, body in bodies.items()]
    table, places = writer.seal("default", day, items)
    rows = []
    for n, row in zip(bodies, chain(len(bodies)), strict=False):
        place = places[message_key(5000 + n)]
        row |= {"content_id": message_key(5000 + n), "block_id": place.block_id, "offset": place.offset,
                "length": place.length, "role": bodies[n]["role"]}  # fmt: skip
        if n in (SYSTEM, TOOL):
            row |= {"message_id": message_key(n), "depth": -1, "path": [], "parent_id": None}
        rows.append(row)
    lake.add("content", table, day)
    lake.add("messages", rows, day)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """One call with 20 messages before it and two answers, instructions, a leading system message and a tool."""
    lake = Lake(tmp_path)
    system = {"role": "system", "parts": [{"type": "text", "content": "be brief"}],
              "messages": [{"role": "system", "parts": [{"type": "text", "content": "today is Monday"}]}]}  # fmt: skip
    tools = {"role": "tools", "parts": [{"type": "function", "name": "search"}]}
    store(lake, Keyring.open(tmp_path), {n: words(n) for n in range(22)} | {SYSTEM: system, TOOL: tools})
    lake.add("contexts", [
        context(1, depth=19, system=SYSTEM, tools=TOOL), context(1, depth=21, first=20, direction="output"),
    ])  # fmt: skip
    lake.add("links", [{"tenant": "default", "trace_id": f"{1:032x}", "span_id": f"{1:016x}", "revision": 1,
                        "shared_messages": 18}])  # fmt: skip
    lake.add("spans", [span(1, finish_reasons=["stop"], **usage(uncached_input=9)), span(2, status="error")])
    return lake


def reader(lake: Lake, *, key: bool = True) -> Reader:
    publish(lake.data, lake.manifest(), BOOK, {})
    return Reader(lake.data, Keyring.open(lake.data, create=False) if key else None)


def test_call_records_have_the_lists_of_the_schemas(lake: Lake) -> None:
    """A record holds instructions, tools, input and output messages as sent; what was not sent is NULL."""
    first, second = reader(lake).call_records(content=True)
    assert first[INSTRUCTIONS] == [{"type": "text", "content": "be brief"}]
    assert first[TOOLS] == [{"type": "function", "name": "search"}]
    leading = {"role": "system", "parts": [{"type": "text", "content": "today is Monday"}]}
    assert first[INPUT] == [leading, *(words(n) for n in range(20))]
    assert first[OUTPUT] == [words(20) | {"finish_reason": "stop"}, words(21) | {"finish_reason": "stop"}]
    assert [second[name] for name in (INSTRUCTIONS, TOOLS, INPUT, OUTPUT)] == [None] * 4
    assert first["cost"] == pytest.approx(9 * 1.25e-6)


def test_without_the_key_nothing_opens(lake: Lake) -> None:
    """Metrics and the shape of a conversation need no key; asking for words without it says so."""
    closed = reader(lake, key=False)
    assert len(list(closed.call_records())) == 2
    (given, said) = closed.view().messages([(DAY, "default", f"{1:032x}", f"{1:016x}")], words=False)
    assert ([m.is_new for m in given.messages], len(said.messages)) == ([False] * 18 + [True] * 2, 2)
    assert {m.body for m in (*given.messages, *said.messages)} == {None}
    with pytest.raises(KeyMissing):
        list(closed.call_records(content=True))


def test_plain_content_needs_no_key(tmp_path: Path) -> None:
    """With content = plain the words are readable by whoever reads the files."""
    lake = Lake(tmp_path)
    store(lake, Keyring.open(tmp_path), {0: words(0)}, mode="plain")
    lake.add("contexts", [context(1, depth=0)])
    lake.add("spans", [span(1)])
    (record,) = reader(lake, key=False).call_records(content=True)
    assert record[INPUT] == [words(0)]


def test_words_that_lie_with_another_row(tmp_path: Path) -> None:
    """A message row without a place takes the words of another row of the same content and day."""
    lake = Lake(tmp_path)
    store(lake, Keyring.open(tmp_path), {0: words(0)})
    lake.add("messages", [chain(1)[0] | {"message_id": message_key(77), "content_id": message_key(5000)}])
    lake.add("contexts", [context(1, depth=0) | {"head": message_key(77)}])
    lake.add("spans", [span(1)])
    (record,) = reader(lake).call_records(content=True)
    assert record[INPUT] == [words(0)]


def test_each_day_opens_by_itself(tmp_path: Path) -> None:
    """The same conversation on two days comes from each day's own files, also when the other day is gone."""
    lake = Lake(tmp_path)
    keyring, later = Keyring.open(tmp_path), DAY + dt.timedelta(days=1)
    for number, day in ((1, DAY), (2, later)):
        store(lake, keyring, {n: words(n) for n in range(3)}, day=day)
        lake.add("contexts", [context(number, depth=2)], day)
        lake.add("spans", [span(number, start_time=dt.datetime.combine(day, dt.time(1)))], day)
    assert [record[INPUT] for record in reader(lake).call_records(content=True)] == [[words(n) for n in range(3)]] * 2
    lake.files = [entry for entry in lake.files if entry.date != DAY.isoformat()]
    (left,) = reader(lake).call_records(content=True)
    assert left[INPUT] == [words(n) for n in range(3)]


def test_a_damaged_block_costs_its_words_only(lake: Lake) -> None:
    """A block that does not authenticate leaves its messages out; the record and the other blocks stay."""
    import pyarrow.parquet as pq

    entry = next(e for e in lake.files if e.table == "content")
    table = pq.ParquetFile(lake.data / entry.path).read()
    cts = table["ct"].to_pylist()
    cts[1] = cts[1][:-1] + bytes([cts[1][-1] ^ 1])
    lake.files.remove(entry)
    lake.add("content", table.set_column(5, table.schema.field("ct"), [cts]))
    first, _ = reader(lake).call_records(content=True)
    assert 0 < len(first[INPUT]) < 21


def test_each_block_is_opened_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a context opens every block it needs exactly once, however many messages lie in it."""
    opened: list[bytes] = []
    inner = content.open_block

    def counting(keyring: Keyring | None, **block: Any) -> bytes:
        opened.append(block["block_id"])
        return inner(keyring, **block)

    monkeypatch.setattr(content, "open_block", counting)
    list(reader(lake).call_records(content=True))
    assert len(opened) == len(set(opened)) > 3


def test_private_columns_open_for_their_row(tmp_path: Path) -> None:
    """The private JSON of spans and logs is read from its block; rows without one give {}."""
    lake = Lake(tmp_path)
    keyring, secret = Keyring.open(tmp_path), {"error_message": "no such table", "attributes": {"db.statement": "x"}}
    table, places = ContentWriter(keyring, "encrypted").seal(
        "default", DAY, [Item(b"p" * 16, (b"", 0), orjson.dumps(secret))]
    )
    place = places[b"p" * 16]
    lake.add("content", table)
    at = {"private_block": place.block_id, "private_offset": place.offset, "private_length": place.length}
    lake.add("spans", [span(1, **at), span(2)])
    found = reader(lake)
    rows = found.rows("span_row", span_id=f"{1:016x}") + found.rows("span_row", span_id=f"{2:016x}")
    assert found.private(rows) == [secret, {}]
    whole = found.span(f"{1:016x}", content=True)
    assert whole is not None
    assert (whole["private"], whole["error_message"]) == (secret, None)


def test_a_trace_with_its_words(lake: Lake) -> None:
    """`trace` gives spans, calls, and each context with what is new in it; an unknown trace is None."""
    found = reader(lake)
    trace = found.trace(f"{1:032x}", content=True)
    assert trace is not None
    given = next(c for c in trace["contexts"] if c["direction"] == "input")
    assert [m["message"] for m in given["messages"] if m["is_new"]] == [words(18), words(19)]
    assert given["tool_definitions"] == [{"type": "function", "name": "search"}]
    assert (len(trace["spans"]), len(trace["call_rows"])) == (1, 1)
    assert found.trace("f" * 32) is None
