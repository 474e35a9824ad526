"""Keys: nothing opens without the root key, and a root key that is missing, wrong or exposed says so."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from spanfold.exporter.errors import KeyMissing
from spanfold.exporter.keys import ROOT_VARIABLE, Keyring, LocalRoot

DAY = dt.date(2026, 11, 20)
ROOT = "ab" * 32


def opened(directory: Path, **environ: str) -> Keyring:
    return Keyring.open(directory, environ=environ)


def test_new_directory_gets_a_root_key_only_its_owner_can_read(tmp_path: Path) -> None:
    """A new data directory gets a generated key: 0600 in a 0700 directory (TB-033)."""
    opened(tmp_path).data_key("default", DAY)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "keys").iterdir()} == {
        "root.key": 0o600,
        "keyring.json": 0o600,
        "keyring.lock": 0o600,
    }


def test_no_key_stands_in_the_clear(tmp_path: Path) -> None:
    """The keyring file holds wrapped keys only; neither it nor a repr shows a key."""
    ring = opened(tmp_path)
    made = [ring.data_key("default", DAY), ring.journal_key()]
    ring.hash_key("default", "content")
    text = (tmp_path / "keys" / "keyring.json").read_text()
    assert all(key.key.hex() not in text and key.key.hex() not in repr(key) for key in made)


def test_data_keys_are_per_tenant_and_calendar_month(tmp_path: Path) -> None:
    """Same tenant and month, same key; another tenant or month, another key."""
    ring = opened(tmp_path)
    first = ring.data_key("a", dt.date(2026, 11, 1))
    assert ring.data_key("a", dt.date(2026, 11, 30)) == first
    others = [ring.data_key("a", dt.date(2026, 12, 1)), ring.data_key("b", dt.date(2026, 11, 1)), ring.journal_key()]
    assert len({key.id for key in (first, *others)}) == len({key.key for key in (first, *others)}) == 4


def test_keys_survive_reopening_and_are_found_by_id(tmp_path: Path) -> None:
    """What one process wrote another can read: by name and by the id that data carries."""
    ring = opened(tmp_path)
    data, journal, secret = ring.data_key("a", DAY), ring.journal_key(), ring.hash_key("a", "message")
    again = opened(tmp_path)
    assert again.key(data.id) == data.key
    assert (again.data_key("a", DAY), again.journal_key(), again.hash_key("a", "message")) == (data, journal, secret)


def test_hash_keys_differ_by_tenant_and_purpose_and_outlive_rotation(tmp_path: Path) -> None:
    """Message ids are keyed hashes: rotating the root must not change a single one."""
    ring = opened(tmp_path)
    keys = {(t, p): ring.hash_key(t, p) for t in ("a", "b") for p in ("content", "identifier")}
    assert len(set(keys.values())) == 4
    assert all(len(key) == 32 for key in keys.values())
    ring.rotate_root(os.urandom(32))
    again = opened(tmp_path)
    assert {name: again.hash_key(*name) for name in keys} == keys


def test_rotation_rewraps_and_the_old_root_opens_nothing(tmp_path: Path) -> None:
    """Rotating the root keeps every key and makes the old root key useless."""
    ring = opened(tmp_path)
    data = ring.data_key("a", DAY)
    old = (tmp_path / "keys" / "root.key").read_text().strip()
    ring.rotate_root(os.urandom(32))
    assert opened(tmp_path).key(data.id) == data.key
    with pytest.raises(KeyMissing, match="SPANFOLD_ROOT_KEY holds root key"):
        opened(tmp_path, SPANFOLD_ROOT_KEY=old)


def test_a_running_process_follows_a_rotation(tmp_path: Path) -> None:
    """Another process of the directory finds keys made after the rotation."""
    running = opened(tmp_path)
    running.data_key("a", DAY)
    other = opened(tmp_path)
    other.rotate_root(os.urandom(32))
    new = other.data_key("b", DAY)
    assert running.key(new.id) == new.key
    assert running.data_key("b", DAY) == new


def test_rotation_that_ended_between_its_files_is_finished_on_opening(tmp_path: Path) -> None:
    """A crash after the keyring was re-wrapped, before the root key file was replaced, costs nothing."""
    ring = opened(tmp_path)
    data = ring.data_key("a", DAY)
    root = tmp_path / "keys" / "root.key"
    old = root.read_bytes()
    ring.rotate_root(os.urandom(32))
    new = root.read_bytes()
    (tmp_path / "keys" / "root.key.next").write_bytes(new)
    os.chmod(tmp_path / "keys" / "root.key.next", 0o600)
    root.write_bytes(old)
    assert opened(tmp_path).key(data.id) == data.key
    assert root.read_bytes() == new
    assert not (tmp_path / "keys" / "root.key.next").exists()


def test_root_from_the_environment_is_not_written_down(tmp_path: Path) -> None:
    """With SPANFOLD_ROOT_KEY no root key file is made, and the variable is needed ever after."""
    data = opened(tmp_path, SPANFOLD_ROOT_KEY=ROOT).data_key("a", DAY)
    assert not (tmp_path / "keys" / "root.key").exists()
    assert opened(tmp_path, SPANFOLD_ROOT_KEY=ROOT).key(data.id) == data.key
    with pytest.raises(KeyMissing, match=r"root\.key is missing; put it back or set SPANFOLD_ROOT_KEY"):
        opened(tmp_path)


def test_a_key_service_can_hold_the_root(tmp_path: Path) -> None:
    """Anything that wraps and unwraps can be the root key; the service's key never reaches the disk."""
    service = LocalRoot(bytes.fromhex(ROOT))
    data = Keyring.open(tmp_path, environ={}, root=service).data_key("a", DAY)
    assert Keyring.open(tmp_path, environ={}, root=service).key(data.id) == data.key
    assert not (tmp_path / "keys" / "root.key").exists()


def test_missing_root_key_is_named(tmp_path: Path) -> None:
    """A directory with a keyring but no root key refuses, naming the file; it never makes a new one."""
    opened(tmp_path)
    (tmp_path / "keys" / "root.key").unlink()
    with pytest.raises(KeyMissing, match=r"root key .*/keys/root\.key is missing"):
        opened(tmp_path)
    assert not (tmp_path / "keys" / "root.key").exists()


def test_wrong_root_key_is_named(tmp_path: Path) -> None:
    """A root key that is not the one of this keyring refuses, naming the file."""
    opened(tmp_path)
    (tmp_path / "keys" / "root.key").write_text("cd" * 32)
    with pytest.raises(KeyMissing, match=r"/keys/root\.key holds root key \w{16}, but .* was written with root key"):
        opened(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_root_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """One sentence says which file and what to do."""
    opened(tmp_path)
    (tmp_path / "keys" / "root.key").chmod(mode)
    with pytest.raises(KeyMissing, match=r"readable by others \(mode 06\d\d\); run: chmod 600 "):
        opened(tmp_path)


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab" * 31, "ab" * 33])
def test_malformed_root_key_is_refused(tmp_path: Path, text: str) -> None:
    """A root key is 64 hexadecimal digits; the message names where it came from and not what it was."""
    with pytest.raises(KeyMissing, match=f"{ROOT_VARIABLE} must hold a root key of 64 hexadecimal digits") as refused:
        opened(tmp_path, SPANFOLD_ROOT_KEY=text)
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize("used", ["journal/0000000001.seg", "lake/manifest/current"])
def test_lost_keyring_of_a_used_directory_is_not_replaced(tmp_path: Path, used: str) -> None:
    """With data but no keyring a new key would hide the loss: opening refuses, naming what was written."""
    path = tmp_path / used
    path.parent.mkdir(parents=True)
    path.write_bytes(b"1")
    with pytest.raises(KeyMissing, match=rf"keyring\.json is missing, .*{path.name}"):
        opened(tmp_path)
    assert not (tmp_path / "keys" / "root.key").exists()


def test_reader_makes_no_keys(tmp_path: Path) -> None:
    """Opening without `create` leaves an empty directory as it was."""
    with pytest.raises(KeyMissing, match=r"keyring\.json is missing"):
        Keyring.open(tmp_path, create=False, environ={})
    assert list(tmp_path.iterdir()) == []


def test_damaged_keyring_is_named(tmp_path: Path) -> None:
    """A torn or changed keyring file is an error that names it, never a new keyring."""
    ring = opened(tmp_path)
    data = ring.data_key("a", DAY)
    path = tmp_path / "keys" / "keyring.json"
    document = json.loads(path.read_text())
    path.write_text(path.read_text()[:-20])
    with pytest.raises(KeyMissing, match=r"keyring\.json is damaged"):
        opened(tmp_path)
    document["keys"][0]["tenant"] = "b"  # a key passed off as another tenant's
    path.write_text(json.dumps(document))
    with pytest.raises(KeyMissing, match=rf"key {data.id} in .*keyring\.json is damaged"):
        opened(tmp_path).data_key("b", DAY)


def test_keyring_of_a_later_release_is_refused(tmp_path: Path) -> None:
    """A newer format is not guessed at."""
    opened(tmp_path)
    path = tmp_path / "keys" / "keyring.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(KeyMissing, match=r"later release \(version 2\)"):
        opened(tmp_path)


def test_unknown_key_id_is_named(tmp_path: Path) -> None:
    """Data that names a key which is not there says which."""
    with pytest.raises(KeyMissing, match=r"key 99 is not in .*keyring\.json"):
        opened(tmp_path).key(99)


def _make_keys(directory: str) -> list[tuple[int, bytes]]:
    ring = Keyring.open(Path(directory), environ={})
    keys = [ring.data_key(f"tenant-{i % 5}", dt.date(2026, 1 + i % 3, 1)) for i in range(15)]
    return [(key.id, key.key) for key in keys]


def test_processes_that_make_the_same_keys_at_once_agree(tmp_path: Path) -> None:
    """Two processes never hold two keys for one tenant and month, and no id names two keys."""
    with ProcessPoolExecutor(4) as pool:
        made = list(pool.map(_make_keys, [str(tmp_path)] * 8))
    assert all(keys == made[0] for keys in made)
    assert len({key_id for key_id, _ in made[0]}) == 15


def test_threads_that_make_the_same_key_at_once_agree(tmp_path: Path) -> None:
    """The first use of a key may come from many threads."""
    ring, barrier = opened(tmp_path), threading.Barrier(8)

    def make(_: int) -> tuple[int, bytes]:
        barrier.wait()
        return ring.data_key("a", DAY).id, ring.hash_key("a", "content")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1
