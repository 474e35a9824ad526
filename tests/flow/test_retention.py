"""Retention by tenant and project: words go first, measures later, and no clock empties the lake."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spanfold.exporter.lake import read_table
from spanfold.exporter.retention_tiers import Tier, expires, read_tiers
from spanfold.retaining import Retention
from tests.flow.planting import LONG, PREFIX
from tests.flow.searching import Search
from tests.flow.sending import NOON, Product, chat, product, traces

DAY = 86_400 * 1_000_000_000
TOTALS = "SELECT date, project, sum(calls), sum(input_tokens), sum(cost) FROM rollup_daily GROUP BY ALL ORDER BY ALL"


def a_call(number: int, ago: int, project: str, *words: str, service: str = "shop") -> bytes:
    history = [{"role": "user", "parts": [{"type": "text", "content": PREFIX + word}]} for word in words]
    start = NOON - ago * DAY
    private = PREFIX + words[-1] + "private" + LONG
    return traces(
        [chat(number, 1, start=start, history=history, spanfold__project=project, app__blurb=private)], service=service
    )


def words(p: Product) -> set[str]:
    """The planted words below the lake."""
    planted = ["shared", "old", "new", "keep", "oldprivate", "newprivate", "keepprivate"]
    found = Search(PREFIX, [PREFIX + word for word in planted]).tree(p.data / "lake").found
    return {word for word in planted if PREFIX + word in found}


def retention(p: Product, **settings: Any) -> Retention:
    return Retention(p.folding, dataclasses.replace(p.settings, **settings))


def days(p: Product) -> list[int]:
    return [n for (n,) in p.query("SELECT calls FROM rollup_daily ORDER BY date")]


@pytest.fixture
def kept(tmp_path: Path) -> Product:
    with product(tmp_path / "data", content="plain") as p:
        p.send(a_call(1, 40, "short", "shared", "old"), a_call(2, 40, "long", "shared", "keep"))
        p.send(a_call(3, 0, "short", "new"))
        p.fold()
        yield p


@pytest.mark.slow
def test_words_go_and_measures_stay(kept: Product, tmp_path: Path) -> None:
    """By project: the words and private parts of old days go, those of other projects and shared ones stay, and so does
    every count, token and cost; what goes is in the archive; after more days the measures go too, of that project."""
    totals = kept.query(TOTALS)
    assert words(kept) == {"shared", "old", "new", "keep", "oldprivate", "newprivate", "keepprivate"}
    archive = tmp_path / "archive"
    retention(kept, retention_rules="*/short=30:60", archive=archive).look()
    kept.folding.lake.forget_removed()
    assert words(kept) == {"shared", "new", "keep", "newprivate", "keepprivate"}
    kept.folding.publish()
    assert kept.query(TOTALS) == totals
    (file,) = archive.rglob("*.parquet")
    (record,) = pq.read_table(file).to_pylist()
    assert (record["project"], PREFIX + "old" in record["gen_ai.input.messages"]) == ("short", True)
    version = kept.folding.lake.manifest.version
    retention(kept, retention_rules="*/short=30:60").look()
    assert kept.folding.lake.manifest.version == version  # nothing is left to go
    retention(kept, retention_rules="*/short=20:35").look()
    kept.folding.publish()
    assert kept.query(TOTALS) == [row for row in totals if row[1] != "short" or str(row[0]) == "2025-11-20"]
    kept.folding.rebuild_rollups()
    assert kept.query(TOTALS) == [row for row in totals if row[1] != "short" or str(row[0]) == "2025-11-20"]


@pytest.mark.slow
def test_words_wait_for_the_archive_that_is_away(kept: Product, tmp_path: Path) -> None:
    """Where the folder that was archived to is gone, or an empty mount point stands in its place, no words go and the
    status says why; they go when it is back, and into a new folder at once."""
    archive, away = tmp_path / "archive", tmp_path / "away"
    keep = retention(kept, retention_rules="*/short=30, */long=39", archive=archive)
    keep.look()
    assert len(list(archive.rglob("*.parquet"))) == 1
    kept.send(a_call(9, 41, "short", "old"))
    kept.fold()
    for empty in (False, True):
        archive.rename(away)
        if empty:
            archive.mkdir()
        version = kept.folding.lake.manifest.version
        keep.look()
        assert kept.folding.lake.manifest.version == version
        assert f"{archive} is not the folder that was archived to before" in (kept.folding.retention_held or "")
        if empty:
            archive.rmdir()
        away.rename(archive)
    keep.look()
    assert kept.folding.retention_held is None
    assert len(list(archive.rglob("*.parquet"))) == 2
    archive.rename(away)
    kept.send(a_call(10, 42, "short", "old"))
    kept.fold()
    retention(kept, retention_rules="*/short=30, */long=39", archive=tmp_path / "other").look()
    assert len(list((tmp_path / "other").rglob("*.parquet"))) == 1


@pytest.mark.slow
def test_late_spans_of_a_thinned_day_unfold(kept: Product) -> None:
    """The same words sent again for a day whose words went are stored again, whole; and go again."""
    keep = retention(kept, content_days=30)
    keep.look()
    kept.send(a_call(9, 40, "short", "shared", "old"))
    kept.fold()
    roles = "SELECT count(*) FROM span_messages JOIN messages USING (date, message_id) WHERE trace_id = ?".replace(
        "?", f"'{9:032x}'"
    )
    assert kept.query(roles) == [(2,)]
    keep.look()
    kept.folding.lake.forget_removed()
    assert words(kept) == {"new", "newprivate"}


def test_a_wrong_clock_drops_nothing_unasked(tmp_path: Path) -> None:
    """Spans and the clock agree on a day a year after the others: sixteen days are held and named, none goes; a person
    who says so has it done (F19)."""
    with product(tmp_path / "data") as p:
        p.send(*(a_call(n + 1, n, "short", "new") for n in range(16)), a_call(99, -365, "short", "new"))
        p.fold()
        limits = {"retention_days": 30, "content_days": 7}
        later = retention(p, **limits)
        later.look()
        p.folding.publish()
        assert days(p) == [1] * 17
        assert str(p.folding.retention_held).split(": if")[0] == "retention_days = 30 would drop 16 of 17 days at once"
        assert "would thin 16 days or more at once" in str(p.folding.retention_held)
        later.work(confirmed=True)
        p.folding.publish()
        assert days(p) == [1]
        assert p.folding.retention_held is None


def test_the_first_rule_that_fits_decides() -> None:
    """Globs over tenant and project; a number left out keeps for ever; everything includes the words."""
    tiers = [*read_tiers("acme/*=7:90, */bot = :30,free/*=0"), Tier("*", "*", 60, None)]
    asked = [
        ("acme", "bot", 8),
        ("acme", None, 91),
        ("x", "bot", 30),
        ("x", "bot", 31),
        ("free", "a", 1),
        ("x", "a", 61),
    ]
    assert [expires(tiers, *each) for each in asked] == [
        (True, False), (True, True), (False, False), (True, True), (True, False), (True, False),
    ]  # fmt: skip
    for text in ("acme=7", "acme/x", "acme/x=a", "a/b=-1", "/b=1"):
        with pytest.raises(ValueError, match="is no rule such as"):
            read_tiers(text)


@pytest.mark.slow
def test_a_damaged_block_is_told_and_ends_nothing(tmp_path: Path) -> None:
    """Words that do not open keep their day as it is: said in the status, the other days go on."""
    with product(tmp_path / "data") as p:
        p.send(a_call(1, 40, "short", "old"), a_call(3, 41, "short", "old"), a_call(2, 0, "short", "new"))
        p.send(a_call(4, 40, "long", "keep"))
        p.fold()
        lake = p.folding.lake
        (file,) = lake.manifest.files_of("content", "2025-10-11")
        rows = read_table(lake.data, file)
        torn = pa.array([ct[:-1] + bytes([ct[-1] ^ 1]) for ct in rows["ct"].to_pylist()], pa.binary())
        rows = rows.set_column(rows.schema.get_field_index("ct"), "ct", torn)
        lake.commit([lake.write("content", dt.date(2025, 10, 11), rows)], removed=[file.path])
        keep = retention(p, retention_rules="*/short=30")
        for _ in range(3):
            keep.look()
            p.folding.publish()
        assert "the words of 2025-10-11 cannot go: content block" in str(p.folding.retention_held)
        assert p.query("SELECT date::VARCHAR FROM messages ORDER BY 1") == [
            ("2025-10-11",),
            ("2025-10-11",),
            ("2025-11-20",),
        ]


@pytest.mark.slow
def test_nothing_said_is_kept_when_that_is_chosen(tmp_path: Path) -> None:
    """`content = "none"`: calls and tokens are there, no word is, neither clear nor in a block."""
    with product(tmp_path / "data", content="none") as p:
        p.send(a_call(1, 0, "short", "shared", "new"))
        p.fold()
        assert p.query("SELECT calls, input_tokens FROM rollup_daily") == [(1, 100)]
        assert p.folding.lake.manifest.files_of("content") == []
        assert words(p) == set()
