"""A file of the lake that is not there any more: replaced while a question ran, or lost for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanfold.analytics.errors import FileUnreadable
from spanfold.analytics.prices import PriceBook
from spanfold.analytics.queries import Reader
from spanfold.analytics.snapshot import publish
from spanfold.analytics.snapshots import Snapshots
from spanfold.query_client import QueryFailed
from spanfold.reading import run_sql
from spanfold.settings import Settings
from tests.analytics.lake import Lake, span, usage
from tests.spanfold import webbing

SAID = (
    "A file could not be read or written: it was replaced meanwhile, or the disk is full or fails. Ask again; "
    "if it stays, `spanfold scrub` finds damaged and missing files."
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """One call of 10 tokens, published."""
    lake = Lake(tmp_path)
    lake.add("spans", [span(1, **usage(uncached_input=10))])
    publish(tmp_path, lake.manifest(), PriceBook.load(), {})
    return lake


def test_a_file_that_is_replaced_while_a_query_runs_costs_a_second_try(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that was asked first says what happened; who asks for a named query gets the answer of the next."""
    reader = Reader(lake.data)
    held = reader.view()
    replaced = lake.files.pop()
    lake.add("spans", [span(1, **usage(uncached_input=10)), span(2, **usage(uncached_input=7))])
    publish(lake.data, lake.manifest(), PriceBook.load(), {})
    (lake.data / replaced.path).unlink()
    with pytest.raises(FileUnreadable):
        held.query("tail_calls", limit=9)
    views = iter([held, reader.view()])
    monkeypatch.setattr(Reader, "view", lambda _: next(views))
    assert sorted(row["input_tokens"] for row in reader.rows("tail_calls", limit=9)) == [7, 10]


def test_a_file_that_is_lost_is_told_over_http(lake: Lake) -> None:
    """503, one sentence without a path of this machine, and when to come back."""
    (lake.data / lake.files[0].path).unlink()
    with webbing.client_of(Settings(data=lake.data)) as client:
        for path in ("/api/v1/traces", "/api/v1/calls", f"/api/v1/traces/{1:032x}"):
            answer = client.get(path)
            assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (503, {"error": SAID}, "1")


def test_a_file_that_is_lost_is_told_to_who_asks_in_sql(lake: Lake) -> None:
    """The process of the query ends with the same sentence, in SQL of a person's own, too."""
    (lake.data / lake.files[0].path).unlink()
    with pytest.raises(QueryFailed) as told:
        run_sql(lake.data, "SELECT sum(input_tokens) FROM calls", snapshots=Snapshots(lake.data))
    assert str(told.value) == SAID
