"""Erasure: what only the subject's spans hold is nowhere any more, what others hold is there, every sum is the same."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from spanfold.collector.dead_letters import DeadLetters
from spanfold.collector.journal_reader import JournalReader
from spanfold.collector.segments import JournalRecord, Position
from spanfold.erasing import Eraser, Request
from spanfold.exporter.keys import Keyring
from spanfold.exporter.quarantine import set_aside
from spanfold.retaining import Retention
from spanfold.state.comments import CommentSealer
from spanfold.state.store import StateStore
from spanfold.state.targets import Target
from tests.flow.planting import LONG, PREFIX, event
from tests.flow.running import printed_json, up
from tests.flow.searching import Search
from tests.flow.sending import NOON, Product, any_value, chat, logs, product, span, traces
from tests.flow.test_kills import plugin

ALICE, BOB, SESSION, BOBS = (f"{PREFIX}{name}" for name in ("useralice", "userbob", "sessiona", "sessionb"))
TRACE = "0" * 31 + "1"
DAY = 86_400 * 1_000_000_000
TOTALS = "SELECT date, model, sum(calls), sum(input_tokens), sum(output_tokens), sum(cost) FROM rollup_daily GROUP BY ALL ORDER BY ALL"  # noqa: E501
CALLS = "SELECT date, trace_id, span_id, request_model, input_tokens, output_tokens, cost, duration_ms, status FROM calls ORDER BY ALL"  # noqa: E501


def word(name: str) -> str:
    return f"{PREFIX}{name}"


def says(role: str, *names: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": word(name)} for name in names]}


SYSTEM = {"gen_ai.system_instructions": '[{"type": "text", "content": "' + word("system") + '"}]'}


def of_alice(day: int = 0) -> list[Any]:
    """Trace 1 (one trace a day): an agent names her, its call says things, a tool fails."""
    trace, start = 1 + 100 * day, NOON + day * DAY
    root = span(
        trace, 1, name="invoke_agent", start=start, user__id=ALICE, session__id=SESSION,
        gen_ai__operation__name="invoke_agent", app__blurb=word("aliceblurb") + LONG, app__short=word("aliceshort"),
    )  # fmt: skip
    call = chat(
        trace, 2, 1, start=start,
        history=[says("user", "shared"), says("assistant", "common"), says("user", "alicesaid")],
        answer=[says("assistant", "aliceheard")], user__id=ALICE, **SYSTEM,
    )  # fmt: skip
    failed = span(trace, 3, 1, name=f"look for {ALICE}", start=start)
    failed.status.code = 2
    failed.status.message = word("alicestatus")
    failed.events.append(event("exception", exception__message=word("aliceexception")))
    return [root, call, failed, chat(trace, 6, 1, start=start)]  # the words of the last come in log records


def of_bob() -> list[Any]:
    return [
        chat(2, 1, history=[says("user", "shared"), says("assistant", "common"), says("user", "bobsaid")],
             answer=[says("assistant", "bobheard")], user__id=BOB, session__id=BOBS, **SYSTEM),
        chat(3, 1, model="gpt-4o", history=[says("user", "nobodysaid")], answer=[says("assistant", "nobodyheard")]),
    ]  # fmt: skip


def log_records() -> bytes:
    details = [{"role": "user", "parts": [{"type": "text", "content": word("alicelate")}]}]
    return logs(
        [(1, 6, "gen_ai.client.inference.operation.details", {"gen_ai.input.messages": details}),
         (1, 2, "note", {"prompt": word("alicelog")}), (2, 1, "note", {"prompt": word("boblog")}),
         (0, 0, "note", {"user.id": ALICE, "prompt": word("alicelone")})]
    )  # fmt: skip


def log_record_of_bob() -> bytes:
    return logs([(2, 1, "note", {"prompt": word("boblog")})], service="another")


def points() -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    for number, user in enumerate((ALICE, BOB)):
        point = metric.sum.data_points.add(time_unix_nano=NOON, as_int=5)
        point.attributes.append(KeyValue(key="user.id", value=any_value(user)))
        exemplar = point.exemplars.add(as_int=1, trace_id=(1 + number).to_bytes(16, "big"))
        exemplar.filtered_attributes.append(KeyValue(key="prompt", value=any_value(word(f"exemplar{number}"))))
    return request.SerializeToString()


ALICES = {"alicesaid", "aliceheard", "aliceblurb", "aliceshort", "alicestatus", "aliceexception", "alicelog",
          "alicelone", "alicelate", "exemplar0", "useralice", "sessiona"}  # fmt: skip
OTHERS = {"system", "shared", "common", "bobsaid", "bobheard", "nobodysaid", "nobodyheard", "boblog", "exemplar1",
          "userbob", "sessionb"}  # fmt: skip


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Product]:
    """Kept plain, so that the search reads what is stored; two days, folded in pieces, partly merged."""
    with product(tmp_path / "data", content="plain") as p:
        p.send(traces(of_alice()), traces(of_bob()))
        p.send(points(), signal="metrics")
        p.fold()
        p.restart()  # forgets what is stored: the same words are stored again
        p.send(log_records(), signal="logs")
        p.send(traces([chat(1, 4, 1, history=[says("user", "shared"), says("assistant", "common"),
                                              says("user", "alicesaid")], **SYSTEM), *of_alice(day=1)]))  # fmt: skip
        p.fold()
        p.folding.merge_some()
        yield p


def erase(p: Product, kind: str, id_: str, *, dry_run: bool = False, tenant: str = "default") -> dict[str, Any]:
    return Eraser(p.folding, p.settings).erase(Request(kind, id_, tenant, "admin", dry_run))


def found_in(search: Search) -> set[str]:
    return {name for name in ALICES | OTHERS if word(name) in search.found}


def everywhere() -> Search:
    return Search(PREFIX, [word(name) for name in ALICES | OTHERS])


def stored_in_lake(p: Product) -> set[str]:
    return found_in(everywhere().tree(p.data / "lake"))


def journal_words(p: Product) -> set[str]:
    """Words in the records that a replay of the journal would give."""
    search = everywhere()
    reader = JournalReader(p.data / "journal", Keyring.open(p.data))
    at = Position(0, 0)
    while (read := reader.read(at, 1 << 30))[0]:
        for _, record in read[0]:
            search.bytes(record.body, "journal")
        at = read[1]
    reader.close()
    return found_in(search)


def stored(p: Product) -> set[str]:
    """Words that a search of all files, or a reader of the journal, finds."""
    return found_in(everywhere().tree(p.data)) | journal_words(p)


@pytest.mark.slow
def test_a_user_is_forgotten_and_every_sum_stays(filled: Product) -> None:
    """Planted words of a user are in no file, frame, column, snapshot or journal record; shared and other words are;
    calls, tokens and cost are what they were, and a rebuild of the rollups gives the same."""
    assert stored(filled) == ALICES | OTHERS
    totals, calls = filled.query(TOTALS), filled.query(CALLS)
    old_files = set((filled.data / "lake").rglob("*.parquet"))
    receipt = erase(filled, "user", ALICE)
    assert stored(filled) == OTHERS
    assert (filled.query(TOTALS), filled.query(CALLS)) == (totals, calls)
    assert receipt["rows"] | {"rollup": 0} == {
        "spans": 9, "contexts": 6, "logs": 3, "metrics": 1, "facts": 1, "suppressed": 6, "links": 0, "rollup": 0,
    }  # fmt: skip
    assert (receipt["traces"], receipt["messages_erased"], receipt["messages_shared"]) == (2, 3, 3)
    assert receipt["verified"] | {"files": 0, "bytes": 0} == {
        "files": 0, "bytes": 0, "files_with_something_left": [], "blocks_with_unreferenced_bytes": [],
        "rows_of_others_that_name_it": {},
    }  # fmt: skip
    assert not {path for path in old_files if path.exists() and "/spans/" in str(path)}
    filled.folding.rebuild_rollups()
    assert filled.query(TOTALS) == totals


def test_the_lake_and_the_journal_forget_a_user(filled: Product) -> None:
    """The same by lake and journal alone; erasing twice finds nothing more; a resent span is known and not stored."""
    totals = filled.query(TOTALS)
    assert erase(filled, "user", ALICE)["messages_erased"] == 3
    assert stored_in_lake(filled) | journal_words(filled) == OTHERS
    filled.send(log_record_of_bob(), signal="logs")  # what log records said before must not come back with it
    filled.fold()
    again = erase(filled, "user", ALICE)
    assert (again["traces"], again["messages_erased"], sum(again["rows"].values())) == (0, 0, 0)
    filled.send(traces(of_alice()))
    filled.fold()
    assert stored_in_lake(filled) == OTHERS
    assert filled.query(TOTALS) == totals


@pytest.mark.slow
def test_a_dry_run_says_the_same_and_changes_nothing(filled: Product) -> None:
    """Counts of a dry run are those of the erasure after it; until then every word and file is there."""
    before = stored_in_lake(filled), filled.folding.lake.manifest.files
    said = erase(filled, "user", ALICE, dry_run=True)
    assert (stored_in_lake(filled), filled.folding.lake.manifest.files) == before
    done = erase(filled, "user", ALICE)
    names = ("traces", "rows", "messages_erased", "shared_message_ids", "days_packed_anew", "journal_records_emptied")
    assert [said[name] for name in names] == [done[name] for name in names]


@pytest.mark.slow
def test_a_session_and_a_trace_are_forgotten_alone(filled: Product) -> None:
    """A session is erased by its id and leaves another user's; a trace leaves the same user's other traces."""
    erase(filled, "trace", f"{1:032x}")
    rows = filled.query("SELECT trace_id, count(*) FROM spans WHERE user_id IS NOT NULL GROUP BY ALL ORDER BY ALL")
    assert rows == [(f"{2:032x}", 1), (f"{101:032x}", 2)]
    assert "alicesaid" in stored_in_lake(filled)  # on the other day
    assert erase(filled, "session", SESSION)["traces"] == 1
    assert stored_in_lake(filled) == OTHERS | {
        "alicelone",
        "useralice",
    }  # a log of no trace, and a point, name the user


@pytest.mark.slow
def test_what_somebody_else_is_named_for_stays(tmp_path: Path) -> None:
    """A trace of two users: the span that names the other one keeps its words; a tenant does not reach another."""
    with product(tmp_path / "data", content="plain") as p:
        p.send(traces([chat(1, 1, history=[says("user", "alicesaid")], user__id=ALICE),
                       chat(1, 2, 1, history=[says("user", "bobsaid")], user__id=BOB)]))  # fmt: skip
        p.send(traces([chat(1, 1, history=[says("user", "nobodysaid")], user__id=ALICE)]), tenant="another")
        p.fold()
        assert erase(p, "user", ALICE)["rows"]["spans"] == 1
        assert stored_in_lake(p) == {"bobsaid", "userbob", "nobodysaid", "useralice"}


@pytest.mark.slow
def test_identifiers_that_are_personal_data_are_found_by_what_was_sent(tmp_path: Path) -> None:
    """A user id that is an e-mail address is stored as a keyed hash: the address erases it, in any spelling."""
    with product(tmp_path / "data", content="plain") as p:
        p.send(traces([chat(1, 1, history=[says("user", "alicesaid")], user__id="Alice@shop.example.com")]))
        p.fold()
        assert erase(p, "user", "alice@SHOP.example.com")["rows"]["spans"] == 1
        assert stored_in_lake(p) == set()
        assert p.query("SELECT user_id, input_tokens FROM calls") == [(None, 100)]


@pytest.mark.slow
def test_comments_and_dead_letters_go_and_decisions_stay(filled: Product) -> None:
    """Comments on the subject's spans and letters that hold it are gone; the decision, and comments elsewhere, stay."""
    keyring = Keyring.open(filled.data)
    sealer = CommentSealer(lambda tenant: keyring.hash_key(tenant, "comment"))
    spans = [Target.span(TRACE, f"{2:016x}"), Target.span(f"{2:032x}", f"{1:016x}")]
    letters = DeadLetters(filled.data, keyring)
    bodies = (traces(of_alice()), traces(of_bob()))
    for number, body in enumerate(bodies):
        letters.put(Position(9, number), JournalRecord("traces", "default", None, 1, body), "made up")
    with StateStore(f"sqlite:///{filled.data / 'state.db'}", sealer=sealer) as state:
        for target in spans:
            state.reviews.decide([target], "flagged", who="eve", comment="she said so")
        receipt = erase(filled, "user", ALICE)
        assert [state.reviews.history(target)[0].comment for target in spans] == [None, "she said so"]
        assert {review.state for review in state.reviews.get(spans).values()} == {"flagged"}
        assert state.audit.verify().broken is None
        assert [c.action for c in state.audit.changes("privacy")] == ["erase"]
        assert ALICE not in str(state.audit.changes())
    assert (receipt["comments_erased"], receipt["dead_letters_dropped"]) == (1, ["0000000009-000000000000"])
    assert letters.names() == ["0000000009-000000000001"]


@pytest.mark.slow
def test_erasing_while_everything_runs(tmp_path: Path) -> None:
    """The verb asks the fold process that runs: what was accepted just before is erased, senders go on, the request
    and the answer, which name the subject, are gone; encrypted as usual, the keys give back others' words only."""
    with up(tmp_path) as running:
        running.send(traces(of_alice()))
        running.send(traces(of_bob()))
        receipt = printed_json(running.spanfold("erase", "--user", ALICE, "--json"))
        assert (receipt["rows"]["spans"], receipt["messages_erased"], receipt["journal_records_emptied"]) == (4, 2, 1)
        running.send(traces([chat(9, 1, history=[says("user", "nobodysaid")])]))
        running.flush()
        shown = running.spanfold("export", "--content").stdout
        assert {name for name in ALICES | OTHERS if word(name) in shown} >= {"shared", "bobsaid", "nobodysaid"}
        assert {name for name in ALICES if word(name) in shown} == set()
        assert not {"erase", "erased"} & {path.name for path in (running.data / "run").iterdir()}
        refused = running.spanfold("erase", "--trace", "12", check=False)
        assert refused.returncode == 2
        assert "32 hexadecimal digits" in refused.stderr
    offline = running.spanfold("erase", "--session", BOBS, "--json")
    assert printed_json(offline)["rows"]["spans"] == 1
    shown = running.spanfold("export", "--content").stdout
    assert "bobsaid" not in shown
    assert word("nobodysaid") in shown
    raw = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert ALICE.encode() not in raw


FALTERING = """
import sys
if "fold" in sys.orig_argv:
    import os
    from pathlib import Path
    from spanfold.exporter import lake
    real = lake.Lake.forget_removed
    def forget_removed(self):
        mark = self.data / "run" / "faltered"
        if not mark.exists():
            mark.touch()
            os._exit(9)
        return real(self)
    lake.Lake.forget_removed = forget_removed
"""


@pytest.mark.slow
def test_an_erasure_survives_the_end_of_its_process(tmp_path: Path) -> None:
    """The fold process ends after the lake was changed and before the old files went: the next one finishes, and the
    receipt tells what the first one had found."""
    with up(tmp_path, PYTHONPATH=plugin(tmp_path, FALTERING), SPANFOLD_CONTENT="plain") as running:
        running.send(traces(of_alice()))
        running.send(traces(of_bob()))
        receipt = printed_json(running.spanfold("erase", "--user", ALICE, "--json"))
        assert (running.data / "run" / "faltered").exists()
        assert (receipt["rows"]["spans"], receipt["messages_erased"], receipt["journal_records_emptied"]) == (4, 2, 1)
        assert receipt["verified"]["blocks_with_unreferenced_bytes"] == []
    assert found_in(everywhere().tree(running.data)) == {
        "system", "shared", "common", "bobsaid", "bobheard", "nobodysaid", "nobodyheard", "userbob", "sessionb",
    }  # fmt: skip


@pytest.mark.slow
def test_the_archive_forgets_a_user(filled: Product, tmp_path: Path) -> None:
    """Calls of the user are in no file of the archive any more, also those of a day that is no longer in the lake;
    others' are, and a file that cannot be read is named."""
    archive = tmp_path / "archive"
    settings = dataclasses.replace(filled.settings, archive=archive, content_days=30)
    filled.send(traces([chat(50, 1, start=NOON + 300 * DAY)]))  # so that the others are old
    filled.fold()
    retention = Retention(filled.folding, settings)
    retention.work(confirmed=True)
    gone = archive / "date=2020-01-01"
    gone.mkdir()
    (file,) = (archive / "date=2025-11-20").glob("*.parquet")
    shutil.copy(file, gone / "calls-00000001.parquet")
    (gone / "calls-00000002.tmp").write_bytes(b"what a kill left")
    assert {"alicesaid", "bobsaid", "nobodysaid"} <= found_in(everywhere().tree(archive))
    damaged = gone / "calls-00000003.parquet"
    damaged.write_bytes(b"no Parquet")
    said = Eraser(filled.folding, settings).erase(Request("user", ALICE, "default", "admin", True))
    assert (gone / "calls-00000002.tmp").exists()
    damaged.rename(tmp_path / "damaged")
    assert "alicesaid" in found_in(everywhere().tree(archive))
    (tmp_path / "damaged").rename(damaged)
    receipt = Eraser(filled.folding, settings).erase(Request("user", ALICE, "default", "admin", False))
    damaged.unlink()
    assert found_in(everywhere().tree(archive)) & ALICES == set()
    assert {"bobsaid", "nobodysaid"} <= found_in(everywhere().tree(archive))
    names = ("archive_rows_removed", "archive_folders", "archive_files", "archive_left")
    assert [said[name] for name in names] == [receipt[name] for name in names]
    assert len(receipt["archive_files"]) == 3
    assert list(receipt["archive_left"]) == [str(damaged)]
    assert [path.name for path in gone.iterdir() if path.suffix == ".tmp"] == []
    assert {path.stat().st_mode & 0o777 for path in archive.rglob("*.parquet") if path.parent != gone} == {0o600}


@pytest.mark.slow
def test_every_archive_that_was_ever_written_is_searched(filled: Product, tmp_path: Path) -> None:
    """Folders that `archive` named earlier lose the subject's calls too; one that is gone, or an empty mount point in
    its place, is named as not searched, and so is a day that is a link. A later erasure reaches what is back."""
    filled.send(traces([chat(50, 1, start=NOON + 300 * DAY)]))  # so that the others are old
    filled.fold()
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for archive, days in ((first, 90), (second, 60)):
        settings = dataclasses.replace(filled.settings, archive=archive, content_days=days)
        Retention(filled.folding, settings).work(confirmed=True)
        if archive is first:
            filled.send(traces(of_alice(day=225)))
            filled.fold()
    assert all("alicesaid" in found_in(everywhere().tree(archive)) for archive in (first, second))
    (second / "date=2020-01-01").symlink_to(first)
    first.rename(tmp_path / "away")

    def erased(**settings: object) -> dict[str, Any]:
        changed = dataclasses.replace(filled.settings, **settings)  # type: ignore[arg-type]
        return Eraser(filled.folding, changed).erase(Request("user", ALICE, "default", "admin", False))

    gone = "what was archived there is not there now: mount it, and erase again"
    link = {str(second / "date=2020-01-01"): "it is a link, which is not followed"}
    receipt = erased(archive=third)
    assert receipt["archive_folders"] == [str(second)]
    assert receipt["archive_left"] == {str(first): gone} | link
    assert "alicesaid" not in found_in(everywhere().tree(second))
    assert "alicesaid" in found_in(everywhere().tree(tmp_path / "away"))
    first.mkdir()
    assert erased()["archive_left"] == {str(first): gone} | link
    first.rmdir()
    (tmp_path / "away").rename(first)
    receipt = erased()
    assert (receipt["archive_folders"], receipt["archive_left"]) == ([str(first), str(second)], link)
    assert {Path(path).parent.parent for path in receipt["archive_files"]} == {first}
    assert found_in(everywhere().tree(first)) & ALICES == set()


def test_what_lies_in_quarantine_is_named_or_dropped(tmp_path: Path) -> None:
    """A damaged piece that may hold words is named by every erasure and goes only when that is asked for; one that
    holds keyed hashes alone is not in the way."""
    with product(tmp_path / "data") as p:
        for name in ("lake/spans/x.parquet", "lake/keys/y.run"):
            (p.data / name).parent.mkdir(parents=True, exist_ok=True)
            (p.data / name).write_bytes(b"damaged")
            set_aside(p.data, p.data / name, "made up")
        doubtful = ["quarantine/lake-spans-x.parquet"]
        assert erase(p, "user", ALICE)["not_searched"] == doubtful
        request = Request("user", ALICE, "default", "admin", False, drop_quarantine=True)
        receipt = Eraser(p.folding, p.settings).erase(request)
        assert (receipt["quarantine_dropped"], receipt["not_searched"]) == (doubtful, [])
        left = {path.name for path in (p.data / "quarantine").iterdir()}
        assert left == {"lake-keys-y.run", "lake-keys-y.run.note"}
