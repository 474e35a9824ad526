"""Keys at rest by verbs: listed without secrets, the root rotated without rewriting data, data keys renewed."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from spanfold.cli import cli
from spanfold.exporter import keys
from spanfold.exporter.errors import KeyMissing
from spanfold.exporter.keys import Keyring, LocalRoot
from spanfold.rotating import NotRotated, rotate_root
from spanfold.state.store import StateStore

DAY = dt.datetime.now(dt.UTC).date()
SERVICE = """
from spanfold.exporter.keys import LocalRoot

def vault():
    return LocalRoot(bytes(range(32)))
"""


def run(data: Path, *words: str) -> Any:
    result = CliRunner().invoke(cli, ["keyring", *words, "--json", "--data", str(data)])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)


def test_the_root_is_rotated_and_everything_opens(tmp_path: Path) -> None:
    """The list names every key and no secret; after a rotation a process that was open before gives the same keys, the
    old root opens nothing, and the audit log has a line."""
    ring = Keyring.open(tmp_path)
    data, journal, secret = ring.data_key("default", DAY), ring.journal_key(), ring.hash_key("default", "content")
    old = (tmp_path / "keys" / "root.key").read_text()
    listed = run(tmp_path, "list")
    assert [(k["kind"], k["tenant"], k["in_use"]) for k in listed["keys"]] == [
        ("data", "default", True), ("journal", None, True), ("secret", "default", True),
    ]  # fmt: skip
    assert data.key.hex() not in json.dumps(listed)
    told = run(tmp_path, "rotate")
    assert (told["root_before"], told["keys_wrapped_anew"]) == (listed["root"]["id"], 3)
    assert told["root_now"] == run(tmp_path, "list")["root"]["id"] != told["root_before"]
    again = Keyring.open(tmp_path)
    assert (again.key(data.id), again.key(journal.id), again.hash_key("default", "content")) == (
        data.key, journal.key, secret,
    )  # fmt: skip
    assert ring.data_key("another", DAY).id == 4  # the process that was open follows
    with pytest.raises(KeyMissing, match=r"SPANFOLD_ROOT_KEY holds root key \w{16}, but .*keyring.json was written"):
        Keyring.open(tmp_path, environ={"SPANFOLD_ROOT_KEY": old.strip()})
    with StateStore.open(tmp_path) as state:
        assert [line.action for line in state.audit.changes("keyring")] == ["rotate root"]


def test_data_keys_are_renewed_for_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This month's data keys and today's journal key get successors; the ones before still open; a process that was
    running uses the new ones; other months and the hash secrets keep theirs."""
    monkeypatch.setattr(keys, "_LOOK_SECONDS", 0.0)
    ring = Keyring.open(tmp_path)
    before, journal = ring.data_key("default", DAY), ring.journal_key()
    earlier, secret = ring.data_key("default", dt.date(2024, 1, 1)), ring.hash_key("default", "content")
    assert run(tmp_path, "rotate", "--data-keys") == {"new_keys": 2}
    after = ring.data_key("default", DAY)
    assert after.id != before.id
    assert ring.journal_key().id != journal.id
    assert ring.key(before.id) == before.key != after.key
    assert ring.data_key("default", dt.date(2024, 1, 1)) == earlier
    assert Keyring.open(tmp_path).hash_key("default", "content") == secret
    assert [k["id"] for k in run(tmp_path, "list")["keys"] if not k["in_use"]] == [before.id, journal.id]


def test_a_root_key_outside_the_directory_needs_its_successor(tmp_path: Path) -> None:
    """From the environment: refused without a new one, in one sentence; with it the keyring opens by the new one only,
    and neither is written down."""
    one, two = os.urandom(32).hex(), os.urandom(32).hex()
    Keyring.open(tmp_path, environ={"SPANFOLD_ROOT_KEY": one}).journal_key()
    with pytest.raises(NotRotated, match="SPANFOLD_NEW_ROOT_KEY"):
        rotate_root(tmp_path, {"SPANFOLD_ROOT_KEY": one})
    told = rotate_root(tmp_path, {"SPANFOLD_ROOT_KEY": one, "SPANFOLD_NEW_ROOT_KEY": two})
    assert told["root_now"] == LocalRoot(bytes.fromhex(two)).id
    assert len(Keyring.open(tmp_path, environ={"SPANFOLD_ROOT_KEY": two}).entries()) == 1
    stored = b"".join(path.read_bytes() for path in (tmp_path / "keys").iterdir())
    assert one.encode() not in stored
    assert two.encode() not in stored


def test_a_key_service_is_found_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kms:NAME` takes what an installed package offers under that name; an unknown name is refused, naming both."""
    package = tmp_path / "packages"
    (package / "myvault-1.0.dist-info").mkdir(parents=True)
    (package / "myvault.py").write_text(SERVICE)
    (package / "myvault-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: myvault\nVersion: 1.0\n")
    entry = "[spanfold.root_keys]\nvault = myvault:vault\n"
    (package / "myvault-1.0.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(str(package))
    environ = {"SPANFOLD_ROOT_KEY": "kms:vault"}
    data = tmp_path / "data"
    key = Keyring.open(data, environ=environ).journal_key()
    assert Keyring.open(data, environ={"SPANFOLD_ROOT_KEY": bytes(range(32)).hex()}).key(key.id) == key.key
    assert not (data / "keys" / "root.key").exists()
    with pytest.raises(KeyMissing, match=r"SPANFOLD_ROOT_KEY names key service 'safe'.*known: vault"):
        Keyring.open(data, environ={"SPANFOLD_ROOT_KEY": "kms:safe"})
    sys.modules.pop("myvault")
