"""Files are damaged, lost and strewn about: what is wrong is set aside and named, and everything else goes on (P8)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spanfold import care
from spanfold.care import Care
from spanfold.exporter.manifest import manifest_dir
from spanfold.exporter.quarantine import pieces
from spanfold.status import gather
from tests.analytics.lake import break_within
from tests.flow.sending import NOON, SECOND, Product, chat, product, traces

pytestmark = pytest.mark.slow
DAY = 86_400 * SECOND
SUMS = "SELECT count(*), sum(input_tokens) FROM calls"
ROLLED = "SELECT sum(calls), sum(input_tokens) FROM rollup_hourly"


def two_days(p: Product) -> None:
    """Ten calls of 100 tokens on one day, twenty on the next, in a commit each."""
    for day, count in ((0, 10), (1, 20)):
        history = [{"role": "user", "parts": [{"type": "text", "content": f"question of day {day}"}]}]
        p.send(traces([chat(day + 1, n, start=NOON + day * DAY, history=history) for n in range(1, count + 1)]))
        p.fold()


def looked_after(p: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fold process does at its start and in its first two looks."""
    monkeypatch.setattr(care, "LOOK_SECONDS", 0.0)
    carer = Care(p.folding, p.data)
    carer.begin()
    carer.look()
    carer._reader.submit(int).result()  # the reading is done
    carer.look()
    carer.close()


def file_of(p: Product, table: str, day: int) -> Path:
    """The only file of a table and day."""
    date = "2025-11-20" if day == 0 else "2025-11-21"
    (entry,) = p.folding.lake.manifest.files_of(table, date)
    return p.data / entry.path


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 0x10
    path.write_bytes(raw)


def flip_footer(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 0xFF
    path.write_bytes(raw)


WAYS = [remove, cut, flip, flip_footer]


@pytest.mark.parametrize("damage", WAYS)
def test_a_lost_file_of_spans_costs_its_day_only_and_heals_when_it_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    """F12, F14: the other day's numbers stay, rollups agree with calls, status names the file; the same spans sent
    again are taken, once."""
    with product(tmp_path) as p:
        two_days(p)
        lost = file_of(p, "spans", 0)
        damage(lost)
        looked_after(p, monkeypatch)
        assert [(20, 2000)] == p.query(SUMS) == p.query(ROLLED)
        (piece,) = gather(tmp_path)["damaged"]
        assert (piece["was"], piece["rows"]) == (str(lost.relative_to(tmp_path)), 10)
        again = [chat(1, n, start=NOON) for n in range(1, 11)]
        p.send(traces(again), traces(again))
        p.send(traces([chat(2, n, start=NOON + DAY) for n in range(1, 21)]))
        p.fold()
        assert [(30, 3000)] == p.query(SUMS) == p.query(ROLLED)
        assert p.query("SELECT count(*), count(DISTINCT (trace_id, span_id)) FROM spans") == [(30, 30)]


@pytest.mark.parametrize(("when", "damage"), [
    ("running", flip_footer), ("restarted", flip_footer), ("running", break_within),
])  # fmt: skip
def test_a_late_span_whose_trace_cannot_be_read_is_folded_all_the_same(
    tmp_path: Path, when: str, damage: Callable[[Path], None]
) -> None:
    """F12: a lookup that meets a damaged file sets that aside and goes on, also where DuckDB gives its instance up; no
    record is blamed for it."""
    with product(tmp_path) as p:
        two_days(p)
        if when == "running":
            p.restart()  # the traces are not in memory any more
            damage(file_of(p, "spans", 0))
        else:
            damage(file_of(p, "spans", 0))
            p.restart()
        p.send(traces([chat(1, 99, start=NOON), chat(2, 99, start=NOON + DAY)]))
        p.fold()
        Care(p.folding, tmp_path).begin()
        assert [(22, 2200)] == p.query(SUMS) == p.query(ROLLED)
        assert 1 == len(pieces(tmp_path))
        assert not list((tmp_path / "dead-letters").glob("*"))


TABLES = ["spans", "messages", "contexts", "content", "rollup"]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", [remove, flip_footer])
def test_every_view_answers_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], table: str
) -> None:
    """F12, F14: whichever table loses a file, every view can be read, calls and rollups agree, and a restart finds
    nothing more to do."""
    with product(tmp_path) as p:
        two_days(p)
        damage(file_of(p, table, 0))
        looked_after(p, monkeypatch)
        for (view,) in p.query("SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"):
            p.query(f'SELECT * FROM "{view}"')
        expected = [(20, 2000)] if table == "spans" else [(30, 3000)]
        assert expected == p.query(SUMS) == p.query(ROLLED)
        p.restart()
        before = p.folding.lake.manifest.files
        looked_after(p, monkeypatch)
        assert before == p.folding.lake.manifest.files
        assert 1 == len(pieces(tmp_path)) == p.folding.lake.manifest.counters["quarantined_files"]


@pytest.mark.parametrize("everything", [False, True])
def test_a_merge_sets_a_damaged_file_aside_and_merges_the_others(tmp_path: Path, everything: bool) -> None:
    """Checksums are verified before rows are merged: nothing damaged is written again under a good checksum."""
    with product(tmp_path) as p:
        for commit in range(9):
            p.send(traces([chat(commit + 1, 1)]))
            p.fold()
        flip(p.data / p.folding.lake.manifest.files_of("spans")[3].path)
        if everything:
            p.folding.compact_everything()
        else:
            for _ in range(50):
                p.folding.merge_some()
                if p.folding._merging._merging is not None:
                    p.folding._merging._merging[1].exception()
        p.folding.publish()
        assert [(8, 800)] == p.query(SUMS) == p.query(ROLLED)
        assert 1 == len(pieces(tmp_path))
        assert {1} <= {file.level for file in p.folding.lake.manifest.files_of("spans")}


@pytest.mark.parametrize("last", ["fold", "merge"])
@pytest.mark.parametrize("damage", [remove, cut, flip])
def test_the_manifest_before_and_the_journal_make_up_for_a_damaged_one(
    tmp_path: Path, damage: Callable[[Path], None], last: str
) -> None:
    """F12: what the damaged manifest had added is folded again, once; a merge that it had made is made again."""
    with product(tmp_path, journal_window_seconds=0, journal_window_bytes=0) as p:
        two_days(p)
        p.send(traces([chat(3, 1)]))
        p.fold()
        if last == "merge":
            p.folding.compact_everything()
        p.folding.trim_journal()
        damage(manifest_dir(tmp_path) / f"{p.folding.lake.manifest.version}.json")
        p.restart()
        p.fold()
        assert [(31, 3100)] == p.query(SUMS) == p.query(ROLLED)
        assert p.query("SELECT count(*), count(DISTINCT message_id) FROM messages") == [(2, 2)]
        assert [piece["problem"] for piece in pieces(tmp_path)] == [
            "the manifest is damaged; the one before it stands in for it"
        ]


@pytest.mark.parametrize("damage", [remove, cut, flip, lambda path: path.write_bytes(b"")])
def test_lost_identities_are_built_again_from_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    """F12: a run that is missing, cut or flipped, found at the start or by a look: no span is stored twice, and one
    sent again does not count as a changed one."""
    with product(tmp_path) as p:
        two_days(p)
        damage(tmp_path / p.folding.lake.manifest.runs["spans"][0])
        if damage is flip:  # mapped, its size as it should be: only its checksum tells
            looked_after(p, monkeypatch)
        p.restart()
        p.send(traces([chat(1, n, start=NOON) for n in range(1, 12)]))
        p.send(traces([chat(2, n, start=NOON + DAY) for n in range(1, 21)]))
        p.fold()
        assert [(31, 3100)] == p.query(SUMS) == p.query(ROLLED)
        assert [("duplicate_span", 30)] == p.query("SELECT kind, sum(count)::INT FROM data_quality GROUP BY 1")
        (piece,) = pieces(tmp_path)
        assert piece["problem"].endswith("; it was built again from the stored rows")


def test_a_damaged_snapshot_is_published_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F12: a snapshot that someone overwrote, cut or removed is replaced by a new one, under a name of its own."""
    monkeypatch.setattr(care, "LOOK_SECONDS", 0.0)
    with product(tmp_path) as p:
        two_days(p)
        carer = Care(p.folding, tmp_path)
        carer.look()
        for damage in (flip, cut, remove):
            carer.look()
            path = tmp_path / "spanfold.duckdb"
            damage(path)
            carer.look()
            assert [(30, 3000)] == p.query(SUMS)
        carer.close()
        assert 3 == len([piece for piece in pieces(tmp_path) if "is not what was published" in piece["problem"]])


GARBAGE = ["lake/x.parquet", "lake/spans/gen=0/date=2025-11-20/y.parquet", "lake/manifest/junk.json",
           "lake/manifest/999.json.tmp", "lake/keys/z.keys", "journal/0000000000.seg", "journal/notes.txt",
           "journal/12x.seg", "snapshots/v999.tmp", "snapshots/notes", "quarantine/odd", "dead-letters/odd",
           "run/odd.json", "odd.parquet"]  # fmt: skip


@pytest.mark.parametrize("words", [b"", b"\0" * 5000, b"garbage that nobody wrote" * 100])
def test_strange_files_change_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    """F13: empty, zeroed and garbled files in every directory: both processes start, queries answer as before."""
    with product(tmp_path) as p:
        two_days(p)
        for name in GARBAGE:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(words)
        looked_after(p, monkeypatch)
        p.restart()
        p.send(traces([chat(3, 1)]))
        p.fold()
        assert [(31, 3100)] == p.query(SUMS) == p.query(ROLLED)
        gather(tmp_path)
    with product(tmp_path) as p:
        p.send(traces([chat(3, 2)]))
        p.fold()
        assert [(32, 3200)] == p.query(SUMS)


def test_a_named_orphan_is_not_followed(tmp_path: Path) -> None:
    """A link planted among the lake's files is removed as the orphan that it is; what it points at stays (32)."""
    target = tmp_path.parent / f"{tmp_path.name}-outside.parquet"
    target.write_bytes(b"not ours")
    with product(tmp_path) as p:
        two_days(p)
        link = tmp_path / "lake" / "spans" / "planted.parquet"
        link.symlink_to(target)
        p.restart()
        assert not link.is_symlink()
    assert target.read_bytes() == b"not ours"


def test_prices_change_over_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The footer of a day is damaged when a price changes: the process goes on, sets it aside, and at its next look the
    other day has the new price."""
    with product(tmp_path) as p:
        two_days(p)
        flip_footer(file_of(p, "spans", 0))
        p.set_price("openai", "gpt-4o-mini", "uncached_input", 3e-7)
        assert p.folding.refresh_prices() is False
        assert p.folding.refresh_prices() is True
        assert p.query(SUMS) == p.query(ROLLED) == [(20, 2000)]
        assert p.query("SELECT sum(cost) FROM calls") == p.query("SELECT sum(cost) FROM rollup_hourly")
        assert len(pieces(tmp_path)) == 1
