"""Words planted in every kind of content are nowhere on disk in clear, whatever fails; the keys give them back."""

from __future__ import annotations

import datetime as dt
import os
import signal
from pathlib import Path

import pytest

from spanfold.collector.segments import frames, segment_numbers, segment_path
from spanfold.exporter.blocks import open_block
from spanfold.exporter.keys import Keyring
from spanfold.exporter.lake import read_table
from spanfold.exporter.manifest import read_current
from tests.flow import planting
from tests.flow.planting import LONG, PREFIX, Plants, call
from tests.flow.running import Running, up, wait_for
from tests.flow.searching import Search
from tests.flow.sending import product, span, traces
from tests.flow.test_kills import plugin

POISON = """
import sys
if "fold" in sys.orig_argv:
    from spanfold.collector import decode
    real = decode.decode_spans
    def decode_spans(records, ahead=None):
        for body in [*(record.body for record in records), *(ahead.array().to_pylist() if ahead else [])]:
            if b"poison" in body:
                raise RuntimeError(body)
        return real(records, ahead)
    decode.decode_spans = decode_spans
"""


def flip_a_byte_of_the_last_record(data: Path) -> None:
    """Damages the record that came last, while nobody reads it."""
    directory = data / "journal"
    path = segment_path(directory, segment_numbers(directory)[-1])
    *_, last = frames(path.read_bytes())
    with path.open("r+b") as file:
        file.seek(last.end - 5)
        byte = file.read(1)
        file.seek(last.end - 5)
        file.write(bytes([byte[0] ^ 1]))


def live_through_trouble(running: Running, plant: Plants) -> None:
    """Everything is sent, with both processes killed, a record that cannot be folded and one that is damaged."""
    running.send(traces(planting.newest(plant)))
    running.send(planting.log_request(plant), "logs")
    running.kill("fold")
    running.send(traces(planting.failing(plant)))
    running.kill("collect")
    wait_for(running.accepts, 30, "the next collector")
    running.send(traces([*planting.other_dialects(plant), call(26)]))
    running.flush()
    folder = running.signal("fold", signal.SIGSTOP)
    running.send(traces([span(2, 1, name="poison", **{"app.blurb": plant("dead letter") + LONG})]))
    running.send(traces([span(2, 2, **{"app.blurb": plant("quarantine") + LONG})]))
    flip_a_byte_of_the_last_record(running.data)
    running.send(traces([planting.clear_by_design(plant)]))
    running.send(planting.metric_request(plant), "metrics")
    running.send(planting.from_a_talkative_process(plant))
    os.kill(folder, signal.SIGCONT)
    wait_for(lambda: running.status()["errors"].get("fold") and running.status()["damaged"], 60, "what is set aside")
    running.flush()
    running.spanfold("sql", "SELECT * FROM spans WHERE attributes::INT > 1", check=False)


@pytest.mark.slow
def test_no_planted_word_is_on_disk_in_clear(tmp_path: Path) -> None:
    """Rule 6: over 50 words in every kind of content, errors, kills, a dead letter, a damaged record. No file, no
    temporary file and no printed line holds one, in clear, inflated or decoded; what is clear by design is found, so
    the search works; with the keys `show` and `export` give every word back."""
    plant = Plants(1)
    (tmp_path / "temp").mkdir()
    with up(
        tmp_path, PYTHONPATH=plugin(tmp_path, POISON), TMPDIR=str(tmp_path / "temp"), HOME=str(tmp_path / "temp")
    ) as running:
        live_through_trouble(running, plant)
        running.spanfold("compact", "--all")
        given_back = (
            running.spanfold("show", f"{1:032x}", "--json").stdout + running.spanfold("export", "--content").stdout
        )
    found = Search(PREFIX, list(plant.places)).tree(tmp_path).found
    clear = {word for word, place in plant.places.items() if place.startswith("clear: ")}
    secret = plant.places.keys() - clear
    assert {plant.places[word]: sorted(places) for word, places in found.items() if word in secret} == {}
    assert {plant.places[word] for word in clear - found.keys()} == set()
    assert len(secret) >= 50
    aside = plant.at("dead letter", "quarantine")
    no_trace = plant.at("log of no trace", "point attribute", "exemplar attribute")
    shown = Search(PREFIX, list(plant.places))
    shown.bytes(given_back.encode(), "show and export")
    assert {plant.places[word] for word in secret - aside - no_trace - shown.found.keys()} == set()
    kept = opened_blocks(running.data)
    assert {plant.places[word] for word in no_trace if word.encode() not in kept} == set()


def opened_blocks(data: Path) -> bytes:
    """All words of the content store."""
    keyring, manifest = Keyring.open(data, create=False), read_current(data)
    out = b""
    for file in manifest.files_of("content"):
        for row in read_table(data, file).to_pylist():
            out += open_block(
                keyring, tenant=row["tenant"], day=dt.date.fromisoformat(file.date),
                block_id=row["block_id"], ids_hash=row["ids_hash"], ct=row["ct"],
            )  # fmt: skip
    return out


def test_the_search_finds_content_that_is_kept_plain(tmp_path: Path) -> None:
    """The same words with `content = "plain"`, chosen on purpose: the search inflates the blocks and finds each."""
    plant = Plants(2)
    with product(tmp_path / "data", content="plain") as p:
        p.send(traces([*planting.newest(plant), *planting.failing(plant), *planting.other_dialects(plant)]))
        p.fold()
    found = Search(PREFIX, list(plant.places)).tree(tmp_path / "data").found
    assert {plant.places[word] for word in plant.places.keys() - found.keys()} == set()
