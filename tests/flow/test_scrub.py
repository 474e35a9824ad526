"""Everything that is stored is compared with its checksums; damage is named, set aside and never exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spanfold.cli import cli
from spanfold.errors import DamageFound
from spanfold.exporter.errors import FileDamaged
from spanfold.exporter.manifest import read_current
from spanfold.scrub import scrub
from spanfold.state.store import StateStore
from tests.flow.ledger import load
from tests.flow.running import up
from tests.flow.sending import NOON, SECOND, chat, product, traces

SUMS = "SELECT count(*), sum(input_tokens) FROM calls"


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 0x10
    path.write_bytes(raw)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits, and a record in the next segment that is not folded yet."""
    data = tmp_path_factory.mktemp("scrub") / "data"
    history = [{"role": "user", "parts": [{"type": "text", "content": "how are you?"}]}]
    data.mkdir()
    with product(data) as p, StateStore.open(data):
        for trace in (1, 2):
            p.send(traces([chat(trace, n, history=history) for n in range(1, 11)]))
            p.fold()
    with product(data) as p:
        p.send(traces([chat(3, 1)]))
    return data


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "data"))


def scrubbed(data: Path) -> tuple[int, dict[str, Any], BaseException | None]:
    """Exit code, JSON and what the verb raised."""
    done = CliRunner().invoke(cli, ["scrub", "--json", "--data", str(data)])
    return done.exit_code, json.loads(done.stdout), done.exception


def test_what_is_whole_is_read_and_said_to_be(data: Path) -> None:
    """Every part was looked at, nothing is damaged, exit code 0."""
    code, report, _ = scrubbed(data)
    assert (code, report["ok"], report["damaged"]) == (0, True, [])
    manifest = read_current(data)
    assert report["checked"] == {
        "journal": len(list((data / "journal").glob("*.seg"))), "manifests": manifest.version,
        "lake": len(manifest.files), "identities": sum(map(len, manifest.runs.values())), "snapshot": 1, "keys": 1,
        "state": 1,
    }  # fmt: skip


PARTS: dict[str, Callable[[Path], Path]] = {
    "journal": lambda data: min(path for path in (data / "journal").glob("*.seg") if path.stat().st_size),
    "manifests": lambda data: data / "lake" / "manifest" / f"{read_current(data).version}.json",
    "lake": lambda data: data / read_current(data).paths("spans")[0],
    "identities": lambda data: data / read_current(data).runs["spans"][0],
    "snapshot": lambda data: data / "spanfold.duckdb",
    "keys": lambda data: data / "keys" / "keyring.json",
    "state": lambda data: data / "state.db",
}


@pytest.mark.parametrize("part", PARTS)
def test_damage_is_named(data: Path, part: str) -> None:
    """F12: a byte flipped in each kind of file is found and the file named."""
    path = PARTS[part](data)
    if part == "state":  # SQLite keeps no checksum of data: a page that is none is found
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 + path.read_bytes()[8192:])
    elif part == "keys":  # inside a wrapped key, so that the file is still JSON
        text = path.read_text()
        path.write_text(text.replace('"wrapped": "', '"wrapped": "' + "00" * 8, 1))
    else:
        flip(path, {"journal": 60, "snapshot": 9000}.get(part, -20))
    found = scrub(data).damaged
    assert {(one.part, one.path) for one in found} == {(part, str(path.relative_to(data)))}


def test_a_snapshot_is_missing_only_where_one_was(data: Path) -> None:
    """The first commit of a data directory comes before its first snapshot: that moment is no damage."""
    (data / "spanfold.duckdb").unlink()
    assert [(one.part, one.problem) for one in scrub(data).damaged] == [("snapshot", "it is missing")]
    told = data / "run" / "folder.json"
    told.write_text(json.dumps(json.loads(told.read_text()) | {"snapshot": -1}))
    assert scrub(data).damaged == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda path: flip(path, 500), Path.unlink], ids=["flipped", "missing"])
def test_a_damaged_lake_file_is_set_aside_and_stays_named(data: Path, damage: Callable[[Path], None]) -> None:
    """F12, F14: exit code 1; the file counts for nothing any more, the rest is folded and read, and the next scrub says
    where the piece lies."""
    path = PARTS["lake"](data)
    damage(path)
    code, report, raised = scrubbed(data)
    (found,) = report["damaged"]
    assert (code, report["ok"], found["part"]) == (1, False, "lake")
    assert isinstance(raised, DamageFound)
    assert found["set_aside"] == "quarantine/" + str(path.relative_to(data)).replace("/", "-")
    assert not path.exists()
    with product(data) as p:
        p.fold()
        assert p.query(SUMS) == [(11, 1100)]
    assert [(one.path, one.set_aside) for one in scrub(data).damaged] == [(found["path"], found["set_aside"])]


@pytest.mark.slow
@pytest.mark.parametrize(("table", "content"), [("spans", False), ("content", True)])
def test_nothing_damaged_is_exported(data: Path, table: str, content: bool) -> None:
    """F12: DuckDB would give out a wrong number for a flipped byte; the export names the file instead, and goes on
    without it once it is set aside."""
    path = data / read_current(data).paths(table)[0]
    flip(path, 500)
    command = ["export", "--data", str(data), *(["--content"] if content else [])]
    refused = CliRunner().invoke(cli, command)
    assert isinstance(refused.exception, FileDamaged)
    assert path.name in str(refused.exception)
    assert refused.stdout == ""
    scrubbed(data)
    assert CliRunner().invoke(cli, command).exit_code == 0


@pytest.mark.slow
def test_scrub_while_everything_runs(tmp_path: Path) -> None:
    """F12: nothing is wrong under load; a flipped byte is found, set aside by the running folder, and the numbers are
    right again without it."""
    with up(tmp_path) as running:
        with load(running, spans=10, pause=0.05):
            for _ in range(3):
                assert running.spanfold("scrub").returncode == 0
        running.send(traces([chat(1 << 40, n, start=NOON + 86_400 * SECOND) for n in range(1, 11)]))
        running.flush()
        (path,) = read_current(running.data).files_of("spans", "2025-11-21")
        flip(running.data / path.path, 500)
        done = running.spanfold("scrub", "--json", check=False)
        assert (done.returncode, done.stderr) == (
            1, "spanfold: damaged: 1; docs/durability.md says what to do about each part\n",
        )  # fmt: skip
        assert [one["path"] for one in json.loads(done.stdout)["damaged"]] == [path.path]
        (count,) = json.loads(
            running.spanfold("sql", "--json", "SELECT count(*) AS n FROM calls WHERE date = DATE '2025-11-21'").stdout
        )
        assert count["n"] == 0
