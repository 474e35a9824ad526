"""No span twice: identity runs find what was stored, across runs, merges and reopening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanfold.exporter import identity
from spanfold.exporter.errors import RunDamaged
from spanfold.exporter.identity import (
    Identities,
    IdentityRuns,
    problem_of_run,
    record_identities,
    span_identities,
    tenant_hash,
)


def identities(ids: np.ndarray, tenant: str = "default", digest: int = 0) -> Identities:
    owners = np.full(len(ids), tenant_hash(tenant), np.uint64)
    return span_identities(owners, ids, np.full(len(ids), digest, np.uint64))


def some_ids(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24), np.uint8)


def test_stored_identities_are_found_and_others_are_not(tmp_path: Path) -> None:
    """Over fifty commits of 100 spans each, merged in between, every one is known and no stranger is."""
    runs = IdentityRuns(tmp_path, [])
    ids = some_ids(5000)
    for commit in range(50):
        runs, _ = runs.add(identities(ids[commit * 100 : commit * 100 + 100]), f"spans-{commit:08d}")
    reopened = IdentityRuns(tmp_path, runs.paths)
    assert len(runs.paths) < 16
    assert reopened.find(identities(ids))[0].all()
    assert not reopened.find(identities(some_ids(5000, seed=2)))[0].any()


def test_the_same_ids_of_another_tenant_are_another_span(tmp_path: Path) -> None:
    """Identity is (tenant, trace_id, span_id)."""
    runs, _ = IdentityRuns(tmp_path, []).add(identities(some_ids(10)), "spans-1")
    assert not runs.find(identities(some_ids(10), tenant="other"))[0].any()


def test_a_changed_span_is_told_from_a_resent_one(tmp_path: Path) -> None:
    """Equal digest = the same span again; another digest = a later version of it."""
    runs, _ = IdentityRuns(tmp_path, []).add(identities(some_ids(10), digest=7), "spans-1")
    known, same = runs.find(identities(some_ids(10), digest=7))
    assert (known.all(), same.all()) == (True, True)
    known, same = runs.find(identities(some_ids(10), digest=8))
    assert (known.all(), same.any()) == (True, False)


def test_sequential_ids_do_not_collide() -> None:
    """Test services send ids 1, 2, 3: every pair of 300 x 300 keeps an identity of its own."""
    ids = np.zeros((90_000, 24), np.uint8)
    ids[:, 14:16] = np.repeat(np.arange(300, dtype=">u2"), 300).view(np.uint8).reshape(-1, 2)
    ids[:, 22:24] = np.tile(np.arange(300, dtype=">u2"), 300).view(np.uint8).reshape(-1, 2)
    found = identities(ids)
    assert 90_000 == len(np.unique(np.stack([found.low, found.high], 1), axis=0))
    assert 90_000 == len(np.unique(found.low))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**128 - 1), unique=True, min_size=1, max_size=50))
def test_record_hashes_keep_all_their_bits(tmp_path_factory: pytest.TempPathFactory, hashes: list[int]) -> None:
    """Of all but the last hash stored, the last one alone is new."""
    runs, _ = IdentityRuns(tmp_path_factory.mktemp("runs"), []).add(record_identities(hashes[:-1]), "logs-1")
    known = runs.find(record_identities(hashes))[0].tolist()
    assert [True] * (len(hashes) - 1) + [False] == known


def test_runs_are_whole_or_named(tmp_path: Path) -> None:
    """A flipped, cut or missing run is known by its checksum (F12); one of the first format is read as before."""
    runs, _ = IdentityRuns(tmp_path, []).add(identities(some_ids(100)), "spans-1")
    path = tmp_path / runs.paths[0]
    whole = path.read_bytes()
    assert problem_of_run(path) is None
    flipped = bytearray(whole)
    flipped[1000] ^= 1
    path.write_bytes(flipped)
    assert problem_of_run(path) == "its checksum does not fit"
    for torn in (whole[:-1], whole[:-24], whole[:10], b"", b"\0" * len(whole)):
        path.write_bytes(torn)
        assert problem_of_run(path) == "it is not a whole run of identities"
        with pytest.raises(RunDamaged):
            IdentityRuns(tmp_path, runs.paths)
    path.write_bytes(b"SFKEYS1\n" + whole[32:])
    assert problem_of_run(path) is None
    assert IdentityRuns(tmp_path, runs.paths).find(identities(some_ids(100)))[0].all()
    path.unlink()
    assert problem_of_run(path) == "it is missing"


def test_merges_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run grows past the limit, however many spans there are; every one is found all the same."""
    monkeypatch.setattr(identity, "LARGEST_RUN", 1000)
    runs, ids = IdentityRuns(tmp_path, []), some_ids(10_000)
    for commit in range(100):
        runs, _ = runs.add(identities(ids[commit * 100 : commit * 100 + 100]), f"spans-{commit:08d}")
    sizes = [((tmp_path / path).stat().st_size - 32) // 24 for path in runs.paths]
    assert max(sizes) <= 1000
    assert (sum(sizes), len(sizes) < 24) == (10_000, True)
    assert runs.find(identities(ids))[0].all()
