"""The journal keeps what it acknowledged, whatever happens to process, bytes and disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanfold.collector import journal as journal_module
from spanfold.collector import journal_reader, segments
from spanfold.collector.errors import JournalFull, JournalUnavailable, LockHeld, RecordTooNew
from spanfold.collector.journal import Journal, JournalReader, JournalRecord, Position, durable_end, trim
from spanfold.collector.journal_reader import backlog, damage
from spanfold.collector.segments import Ciphers, parse_header, seal, segment_path, unseal

SMALL = 1 << 20
START = Position(0, 0)


@dataclass(frozen=True)
class Key:
    id: int
    key: bytes


class Keys:
    """A keyring with two journal keys, the newer in use."""

    def journal_key(self) -> Key:
        return Key(2, self.key(2))

    def key(self, key_id: int) -> bytes:
        return bytes([key_id]) * 32


def record(
    body: bytes = b"body", signal_name: str = "traces", items: int = 1, label: str | None = None
) -> JournalRecord:
    return JournalRecord(signal_name, "default", label, 1_700_000_000_000_000_000, body, items)


def open_journal(tmp_path: Path, **options: int) -> Journal:
    return Journal(tmp_path / "journal", Keys(), **{"segment_bytes": SMALL, "floor_bytes": 0, **options})


def read_all(tmp_path: Path, position: Position = START) -> list[JournalRecord]:
    reader = JournalReader(tmp_path / "journal", Keys())
    found: list[JournalRecord] = []
    while True:
        records, after = reader.read(position, SMALL)
        found += [r for _, r in records]
        if not records and after == position:
            reader.close()
            return found
        position = after


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = open_journal(tmp_path)
    yield opened
    opened.close()


@given(
    body=st.binary(max_size=300), tenant=st.text(max_size=20), label=st.none() | st.text(max_size=20),
    signal_name=st.sampled_from(["traces", "logs", "metrics"]), items=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_frame_is_inverse(body: bytes, tenant: str, label: str | None, signal_name: str, items: int) -> None:
    """A sealed record opens to exactly what it was."""
    ciphers = Ciphers(Keys())
    key_id, cipher = ciphers.current()
    original = JournalRecord(signal_name, tenant, label, 7, body, items)
    frame = bytes(seal(original, key_id, cipher))
    header = parse_header(frame)
    assert header is not None
    assert header.frame_bytes == len(frame)
    assert original == unseal(header, frame, ciphers)


def test_no_clear_text_on_disk(tmp_path: Path, journal: Journal) -> None:
    """Neither body nor tenant nor key label can be read in the files."""
    journal.append(JournalRecord("traces", "tenant-canary", "label-canary", 1, b"body-canary" * 10, 1))
    raw = segment_path(tmp_path / "journal", 1).read_bytes()
    assert b"canary" not in raw


def test_positions_and_order(tmp_path: Path, journal: Journal) -> None:
    """Positions ascend, over segments too, and reading gives every record once, in that order."""
    bodies = [bytes([i]) * 200_000 for i in range(20)]
    positions = [journal.append(record(body)) for body in bodies]
    assert sorted(positions) == positions
    assert positions[-1].segment == 4
    assert [r.body for r in read_all(tmp_path)] == bodies
    assert [r.body for r in read_all(tmp_path, positions[7])] == bodies[7:]
    assert journal.end() == durable_end(tmp_path / "journal")


def test_read_respects_max_bytes_and_gives_at_least_one(tmp_path: Path, journal: Journal) -> None:
    """A chunk is not larger than asked for, unless one record alone is."""
    for _ in range(10):
        journal.append(record(b"x" * 1000))
    reader = JournalReader(tmp_path / "journal", Keys())
    records, after = reader.read(Position(0, 0), 3300)
    assert len(records) == 3
    assert len(reader.read(after, 1)[0]) == 1


def test_read_gives_no_more_items_than_are_folded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal
) -> None:
    """Requests of many small spans are few to a chunk, however few bytes they are; one alone may be larger."""
    monkeypatch.setattr(journal_reader, "ITEMS_AT_ONCE", 250)
    for items in (100, 150, 1, 300):
        journal.append(record(items=items))
    reader, position, found = JournalReader(tmp_path / "journal", Keys()), START, []
    while (read := reader.read(position, SMALL))[0]:
        found.append([r.items for _, r in read[0]])
        position = read[1]
    assert found == [[100, 150], [1], [300]]


def test_a_large_record_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal) -> None:
    """No write is larger than 256 KB, small frames share one, and all bytes stand where they belong."""
    sizes: list[int] = []
    real = os.pwritev

    def spy(descriptor: int, views: list[memoryview], offset: int) -> int:
        sizes.append(sum(map(len, views)))
        return real(descriptor, views, offset)

    monkeypatch.setattr(journal_module.os, "pwritev", spy)
    body = os.urandom(700_000)
    journal.append(record(body))
    assert [size == 256 << 10 for size in sizes] == [True, True, False]
    frames = [seal(record(bytes([i]) * 100_000), 2, Ciphers(Keys()).of(2)) for i in range(4)]
    del sizes[:]
    offset = journal.end().offset
    journal._put(frames)
    assert sizes == [256 << 10, sum(map(len, frames)) - (256 << 10)]
    assert segment_path(tmp_path / "journal", 1).read_bytes()[offset:][: sum(map(len, frames))] == b"".join(frames)
    assert read_all(tmp_path)[0].body == body


def test_records_of_the_first_format_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal
) -> None:
    """An upgrade finds journals whose checksums are CRC-32; one that is damaged is found by them."""
    with monkeypatch.context() as of_old:
        of_old.setattr(segments, "FRAME_VERSION", 1)
        positions = [journal.append(record(body)) for body in (b"one", b"two")]
    journal.append(record(b"three"))
    path = segment_path(tmp_path / "journal", 1)
    raw = path.read_bytes()
    assert [frame.header.version for frame in segments.frames(raw)] == [1, 1, 2]
    assert [r.body for r in read_all(tmp_path)] == [b"one", b"two", b"three"]
    path.write_bytes(
        raw[: positions[1].offset - 1] + bytes([raw[positions[1].offset - 1] ^ 1]) + raw[positions[1].offset :]
    )
    assert next(segments.frames(path.read_bytes())).offset == positions[1].offset


def test_a_record_of_a_later_format_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal
) -> None:
    """After a downgrade the reader says which release is missing, and sets nothing aside."""
    with monkeypatch.context() as later:
        later.setattr(segments, "FRAME_VERSION", segments.FRAME_VERSION + 1)
        journal.append(record())
    reader = JournalReader(tmp_path / "journal", Keys())
    with pytest.raises(RecordTooNew, match="install the release that wrote it"):
        reader.read(START, SMALL)
    assert damage(segment_path(tmp_path / "journal", 1), newest=False) == []
    assert not (tmp_path / "quarantine").exists()


def test_group_commit_shares_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal) -> None:
    """Many waiting requests share one sync, and each gets a place of its own (TC-004)."""
    syncs: list[int] = []
    real = os.fdatasync

    def slow(descriptor: int) -> None:
        syncs.append(descriptor)
        time.sleep(0.01)
        real(descriptor)

    monkeypatch.setattr(journal_module.os, "fdatasync", slow)
    positions: list[Position] = []
    threads = [
        threading.Thread(target=lambda i=i: positions.append(journal.append(record(b"%d" % i)))) for i in range(32)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(positions)) == 32
    assert len(syncs) < 16
    assert sorted(r.body for r in read_all(tmp_path)) == sorted(b"%d" % i for i in range(32))


def test_a_record_larger_than_a_segment(tmp_path: Path, journal: Journal) -> None:
    """One large request gets a segment of its size."""
    journal.append(record(b"a" * (3 * SMALL)))
    journal.append(record(b"b"))
    assert [len(r.body) for r in read_all(tmp_path)] == [3 * SMALL, 1]


def test_one_writer(tmp_path: Path, journal: Journal) -> None:
    """A second writer is refused and told the holder's process id (F23)."""
    with pytest.raises(LockHeld, match=rf"held by process {os.getpid()}"):
        open_journal(tmp_path)


def test_reopening_starts_a_new_segment(tmp_path: Path) -> None:
    """No start ever writes at a position that a reader may have passed; empty segments do not pile up."""
    for start in range(3):
        journal = open_journal(tmp_path)
        journal.append(record(b"%d" % start))
        journal.close()
    for _ in range(5):
        open_journal(tmp_path).close()
    assert [r.body for r in read_all(tmp_path)] == [b"0", b"1", b"2"]
    assert sorted(os.listdir(tmp_path / "journal")) == [
        "0000000001.seg", "0000000002.seg", "0000000003.seg", "0000000008.seg",
    ]  # fmt: skip


def test_torn_tail_at_every_byte(tmp_path: Path) -> None:
    """A tail cut at any byte keeps the records before it, starts without help, and takes new ones (F11)."""
    journal = open_journal(tmp_path)
    journal.append(record(b"kept"))
    cut_from = journal.append(record(b"torn")).offset
    journal.close()
    path = segment_path(tmp_path / "journal", 1)
    whole = path.read_bytes()
    for size in range(cut_from, len(whole)):
        for number in range(2, 4):
            segment_path(tmp_path / "journal", number).unlink(missing_ok=True)
        path.write_bytes(whole[:size])
        journal = open_journal(tmp_path)
        journal.append(record(b"new"))
        journal.close()
        assert [r.body for r in read_all(tmp_path)] == [b"kept", b"new"]
    assert not (tmp_path / "quarantine").exists()


def test_bytes_that_were_read_before_a_power_cut_took_them(tmp_path: Path) -> None:
    """The folder may have read what was written and not yet synced: its position then lies past the end of the file,
    and reading goes on with the next segment."""
    journal = open_journal(tmp_path)
    journal.append(record(b"kept"))
    cut = journal.append(record(b"never synced")).offset
    passed = journal.end()
    journal.close()
    os.truncate(segment_path(tmp_path / "journal", 1), cut)
    journal = open_journal(tmp_path)
    journal.append(record(b"after"))
    journal.close()
    assert [r.body for r in read_all(tmp_path, passed)] == [b"after"]


def test_a_damaged_last_record_that_was_acknowledged_is_set_aside(tmp_path: Path) -> None:
    """Behind the position that the collector has stated, what is not whole at the end is damage and no torn write:
    it is kept for the reader to set aside (P8)."""
    journal = open_journal(tmp_path)
    journal.append(record(b"kept"))
    last = journal.append(record(b"flipped")).offset
    stated = journal.end()
    journal.close()
    path = segment_path(tmp_path / "journal", 1)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    Journal(tmp_path / "journal", Keys(), segment_bytes=SMALL, floor_bytes=0, acknowledged=stated).close()
    assert damage(path, newest=False) == [(last, len(raw) - last)]
    assert [r.body for r in read_all(tmp_path)] == [b"kept"]
    assert (tmp_path / "quarantine" / f"journal-0000000001-{last}.bin").read_bytes() == bytes(raw[last:])


def test_flipped_byte_anywhere_is_set_aside(tmp_path: Path) -> None:
    """A flipped byte costs its own record only; its bytes are kept in quarantine and counted (F12, P8)."""
    journal = open_journal(tmp_path)
    offsets = [journal.append(record(b"number %d" % i)).offset for i in range(3)]
    journal.close()
    path = segment_path(tmp_path / "journal", 1)
    whole = path.read_bytes()
    open_journal(tmp_path).close()  # a later segment: the first one is finished
    for offset in range(offsets[1], offsets[2]):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x40
        path.write_bytes(damaged)
        reader = JournalReader(tmp_path / "journal", Keys())
        records, _ = reader.read(Position(0, 0), SMALL)
        assert [r.body for _, r in records] == [b"number 0", b"number 2"]
        assert reader.damaged == 1
    kept = tmp_path / "quarantine" / f"journal-0000000001-{offsets[1]}.bin"
    assert kept.stat().st_size == offsets[2] - offsets[1]


def test_damage_in_the_live_segment_does_not_stop_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damage before whole records is passed after a moment, while the writer is still at work."""
    monkeypatch.setattr("spanfold.collector.journal_reader.STUCK_SECONDS", 0.05)
    journal = open_journal(tmp_path)
    first = journal.append(record(b"flipped"))
    journal.append(record(b"good"))
    with segment_path(tmp_path / "journal", 1).open("r+b") as file:
        file.seek(first.offset + 50)
        file.write(b"\xff")
    reader = JournalReader(tmp_path / "journal", Keys())
    assert reader.read(Position(0, 0), SMALL) == ([], Position(1, 0))
    time.sleep(0.06)
    records, _ = reader.read(Position(1, 0), SMALL)
    assert [r.body for _, r in records] == [b"good"]
    journal.close()


def test_another_key_is_damage_not_garbage(tmp_path: Path, journal: Journal) -> None:
    """A record under another key than the one its id names is set aside, never returned."""

    class OtherKeys(Keys):
        def key(self, key_id: int) -> bytes:
            return b"z" * 32

    journal.append(record())
    reader = JournalReader(tmp_path / "journal", OtherKeys())
    assert reader.read(Position(0, 0), SMALL)[0] == []
    assert reader.damaged == 1


def test_sync_error_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal) -> None:
    """After a failed sync the request fails, its segment is never synced again, the next request works (F06, P5)."""
    journal.append(record(b"before"))
    synced: list[int] = []
    real = os.fdatasync

    def fail_once(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 1:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(journal_module.os, "fdatasync", fail_once)
    with pytest.raises(JournalUnavailable):
        journal.append(record(b"failed"))
    assert journal.problem is not None
    assert journal.append(record(b"after")).segment == 2
    assert journal.problem is None
    assert [r.body for r in read_all(tmp_path)] == [b"before", b"after"]


def test_limit_and_recovery(tmp_path: Path) -> None:
    """Past its limit the journal refuses; trimmed, it takes records again."""
    journal = open_journal(tmp_path, max_bytes=3 * SMALL)
    for _ in range(10):
        journal.append(record(b"x" * 300_000))
    with pytest.raises(JournalFull, match="of at most"):
        journal.append(record(b"x" * 300_000))
    assert trim(tmp_path / "journal", journal.end(), 0, 0) == 3
    time.sleep(0.25)
    journal.append(record(b"fits"))
    journal.close()


def test_no_room_is_refused_and_recovers(tmp_path: Path) -> None:
    """A full disk refuses the record cleanly; with room the next one is taken (F07, F08, P4)."""
    journal = open_journal(tmp_path)
    journal.append(record(b"first"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the kernel answers EFBIG to what passes it
    try:
        with pytest.raises(JournalFull):
            journal.append(record(b"x" * 2 * SMALL))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.check()
    journal.append(record(b"second"))
    journal.close()
    assert [r.body for r in read_all(tmp_path)] == [b"first", b"second"]


def test_disk_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: Journal) -> None:
    """Below the floor of free space nothing is taken, so that folding keeps room."""
    monkeypatch.setattr(Journal, "_free", lambda self: (10, 20))
    with pytest.raises(JournalFull, match="floor"):
        journal.append(record())


def test_trim_keeps_window_and_newest(tmp_path: Path) -> None:
    """Only folded segments go, oldest first, by age or size; the newest stays."""
    journal = open_journal(tmp_path)
    for _ in range(8):
        journal.append(record(b"x" * 600_000))
    directory, end = tmp_path / "journal", journal.end()
    assert trim(directory, Position(3, 10), 3600, 1 << 40) == 0
    assert trim(directory, Position(3, 10), 0, 1 << 40) == 2
    assert trim(directory, end, 3600, 3 * SMALL) == 2
    assert len(os.listdir(directory)) == 4
    trim(directory, Position(99, 0), 0, 0)
    assert os.listdir(directory) == ["0000000008.seg"]
    journal.close()


def test_backlog_counts_without_a_key(tmp_path: Path, journal: Journal) -> None:
    """What waits is counted by items and signal from the headers alone."""
    journal.append(record(items=5))
    middle = journal.append(record(items=7, signal_name="logs"))
    journal.append(record(items=9))
    found = backlog(tmp_path / "journal", middle)
    assert found.items == {"traces": 9, "logs": 7, "metrics": 0}
    assert found.requests == {"traces": 1, "logs": 1, "metrics": 0}
    assert found.oldest_ns == 1_700_000_000_000_000_000
    assert backlog(tmp_path / "journal", journal.end()).bytes == 0


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_journal import open_journal, record
journal = open_journal(Path(sys.argv[1]))
for number in range(1_000_000):
    journal.append(record(b"%d" % number))
    print(number, flush=True)
"""


def test_kill_9_after_ack(tmp_path: Path) -> None:
    """Every record acknowledged before SIGKILL is read afterwards, once, in order (F01, P2)."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout if line.endswith(b"\n")]
    open_journal(tmp_path).close()
    stored = [int(r.body) for r in read_all(tmp_path)]
    assert stored[: len(acknowledged)] == acknowledged
    assert len(stored) <= len(acknowledged) + 1
