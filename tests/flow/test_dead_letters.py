"""What cannot be folded is set aside; it can be looked at without its words, replayed or dropped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest

from spanfold.collector import decode
from spanfold.collector.errors import NoSuchLetter, RecordDamaged
from spanfold.collector.journal_reader import backlog
from spanfold.collector.segments import JournalRecord, Position
from spanfold.dead_letters import open_letters, outline

from .running import printed_json, up, wait_for
from .sending import Product, chat, product, traces

FAILS_WHILE = """
import os
from spanfold.collector import decode
real = decode.decode_spans
def decode_spans(records, ahead=None):
    bodies = [*(record.body for record in records), *(ahead.array().to_pylist() if ahead else [])]
    if os.path.exists({path!r}) and any(b"poison" in body for body in bodies):
        raise RuntimeError
    return real(records, ahead)
decode.decode_spans = decode_spans
"""


def poisoned(p: Product, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sends a good span and one that cannot be folded yet; gives the name of its letter."""
    real = decode.decode_spans

    def fail(records):  # type: ignore[no-untyped-def]
        if any(b"poison" in record.body for record in records):
            raise RuntimeError("poison")
        return real(records)

    with monkeypatch.context() as patched:
        patched.setattr(decode, "decode_spans", fail)
        p.send(traces([chat(1, 1)]))
        p.send(traces([chat(2, 1, name="poison"), chat(2, 2)]), tenant="acme")
        p.fold()
    (name,) = open_letters(p.data).names()
    return name


def test_a_letter_is_replayed_once_it_can_be_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TC-019: whole, of its tenant, exactly once even when it is replayed twice; its letter goes."""
    with product(tmp_path) as p:
        name = poisoned(p, monkeypatch)
        letters = open_letters(tmp_path)
        letter, record = letters.get(name), letters.record(name)
        assert (letter.signal, letter.tenant) == ("traces", "acme")
        assert re.fullmatch(r"RuntimeError in test_dead_letters\.py:\d+", letter.error)
        assert (outline(record)["items"], len(outline(record)["ids"])) == (2, 2)
        assert "poison" not in json.dumps(outline(record))
        assert p.query("SELECT count(*) FROM calls") == [(1,)]
        p.append(record)  # what a crash between journal and letter leaves
        assert p.replay(letters, [name]) == 1
        p.fold()
        assert p.query("SELECT tenant, count(*) FROM calls GROUP BY 1 ORDER BY 1") == [("acme", 2), ("default", 1)]
        assert letters.names() == []


def test_a_letter_that_is_still_poison_comes_back(tmp_path: Path) -> None:
    """TC-019: replaying what cannot be folded loses nothing: it is set aside again."""
    with product(tmp_path) as p:
        p.send(traces([chat(1, 1)]))
        p.send(b"\xff\xff\xff not a request")
        p.fold()
        letters = open_letters(tmp_path)
        (name,) = letters.names()
        assert outline(letters.record(name)) == {"readable": False, "bytes": 17}
        p.replay(letters, [name])
        assert letters.names() == []
        p.send(traces([chat(1, 2)]))
        p.fold()
        (again,) = letters.names()
        assert again > name
        assert letters.record(again).body == b"\xff\xff\xff not a request"


def test_sealed_named_and_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter holds no clear text, tells when it was changed, and is gone when it is dropped; other names are none."""
    with product(tmp_path) as p:
        name = poisoned(p, monkeypatch)
    sealed = tmp_path / "dead-letters" / f"{name}.bin"
    assert b"poison" not in sealed.read_bytes()
    letters = open_letters(tmp_path)
    for wrong in ("../state", "0000000001-000000000001", ""):
        for act in (letters.get, letters.record, letters.drop):
            with pytest.raises(NoSuchLetter):
                act(wrong)
    raw = bytearray(sealed.read_bytes())
    raw[-1] ^= 1
    sealed.write_bytes(raw)
    with pytest.raises(RecordDamaged, match="was changed on disk"):
        letters.record(name)
    letters.drop(name)
    assert letters.names() == []
    assert not sealed.exists()


def test_replay_counts_nothing_twice(tmp_path: Path) -> None:
    """Accepted speaks of what senders sent: a replayed record was not sent again, also after a kill -9."""
    with product(tmp_path) as p:
        for number, body in enumerate((traces([chat(1, 1)]), b"\xff\xff\xff not a request"), 1):
            p.append(JournalRecord("traces", "default", None, number, body, items=number))
        p.fold()
        assert p.replay(open_letters(tmp_path), open_letters(tmp_path).names()) == 1
        found = backlog(tmp_path / "journal", Position(0, 0))
    assert (found.items["traces"], found.requests["traces"]) == (3, 2)


@pytest.mark.slow
def test_the_verbs(tmp_path: Path) -> None:
    """TC-019, TB-026: list, show, replay and drop while everything runs; status and the error hook tell of it."""
    flag, plugin = tmp_path / "poisonous", tmp_path / "plugin"
    flag.touch()
    plugin.mkdir()
    (plugin / "sitecustomize.py").write_text(FAILS_WHILE.format(path=str(flag)))
    with up(tmp_path, PYTHONPATH=str(plugin)) as running:
        running.send(traces([chat(1, 1)]))
        running.flush()
        running.send(traces([chat(2, 1, name="poison")]))
        running.send(traces([chat(3, 1)]))
        wait_for(lambda: running.status()["dead_letters"], 60, "the dead letter")
        (letter,) = printed_json(running.spanfold("dead", "list", "--json"))
        assert letter["error"].startswith(("RuntimeError in sitecustomize.py", "the fold process ended twice"))
        assert printed_json(running.spanfold("dead", "show", letter["name"]))["record"]["items"] == 1
        assert "error in fold: records set aside; spanfold dead list (1)" in running.spanfold("status").stdout
        usage = running.spanfold("dead", "replay", check=False)
        assert (usage.returncode, "give names, or --all" in usage.stderr) == (2, True)
        flag.unlink()
        assert running.spanfold("dead", "replay", "--all").stdout.startswith("replayed 1")
        running.flush()
        with duckdb.connect(str(running.data / "spanfold.duckdb"), read_only=True) as connection:
            assert connection.execute("SELECT count(*), count(DISTINCT trace_id) FROM calls").fetchall() == [(3, 3)]
        status = running.status()
        assert (status["offered"], status["accepted"], status["folded"], status["dead_letters"]) == (3, 3, 3, 0)
        assert printed_json(running.spanfold("dead", "list", "--json")) == []
        missing = running.spanfold("dead", "drop", letter["name"], check=False)
        assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
        wait_for(lambda: b"fold: records set aside" in running.printed.read_bytes(), 10, "the error hook")
