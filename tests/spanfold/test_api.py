"""The API on real parts: routes over a folded data directory and a real state database."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from spanfold.analytics.prices import PriceBook
from spanfold.analytics.snapshot import STATE, publish
from spanfold.api import api_routes
from spanfold.api_operations import House
from spanfold.exporter.manifest import read_current
from spanfold.gate import is_ours
from spanfold.openapi import BadRequest, Parameter
from spanfold.settings import Settings
from spanfold.state.store import StateStore
from tests.spanfold import webbing
from tests.spanfold.conftest import ANSWER, QUESTION, SHA, lines

CALLS = ["000000000000000b", "000000000000000c", "0000000000000015"]


@pytest.fixture(scope="module")
def data(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with a snapshot of its own, because these tests decide."""
    copy = tmp_path_factory.mktemp("api") / "data"
    subprocess.run(["cp", "-r", str(filled), str(copy)], check=True)
    shutil.rmtree(copy / "snapshots")
    with StateStore.open(copy) as state:
        publish(copy, read_current(copy), PriceBook.load(), state.copies())
    return copy


def client_of(data: Path) -> TestClient:
    return webbing.client_of(Settings(data=data))


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[TestClient]:
    with client_of(data) as opened:
        yield opened


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_health(client: TestClient) -> None:
    """Health says that the API is up and which snapshot it shows."""
    health = get(client, "/api/healthz")
    assert health["status"] == "ok"
    assert health["snapshot"].startswith("v")


def test_traces_newest_first_with_a_cursor(client: TestClient) -> None:
    """Traces come newest first, page by page, with their sums and review state (BR-014)."""
    first = get(client, "/api/v1/traces", limit=1)
    assert [(t["trace_id"], t["review_state"]) for t in first["traces"]] == [(f"{2:032x}", "flagged")]
    second = get(client, "/api/v1/traces", limit=1, after=first["next"])
    (trace,) = second["traces"]
    assert (trace["trace_id"], trace["calls"], trace["input_tokens"]) == (f"{1:032x}", 2, 250)
    assert trace["start_time"] == "2025-11-20T12:00:00Z"
    assert get(client, "/api/v1/traces", limit=1, after=second["next"]) == {
        "snapshot": first["snapshot"], "traces": [], "next": None,
    }  # fmt: skip
    assert get(client, "/api/v1/traces", limit=3)["next"] is None


@pytest.mark.parametrize(("parameters", "expected"), [
    ({"service": "batch"}, [2]), ({"service": ["batch", "shop"]}, [2, 1]), ({"model": "gpt-4o"}, [2]),
    ({"status": "error"}, [2]), ({"from": "2025-11-20T12:00:30Z"}, [2]), ({"to": "2025-11-20T12:00:30Z"}, [1]),
    ({"from": "2025-11-20T13:00:30+01:00"}, [2]), ({"from": "2025-11-20"}, [2, 1]), ({"review": "flagged"}, [2]),
    ({"review": "unreviewed"}, [1]), ({"key": "prod-frontend"}, [1]), ({"tenant": "acme"}, []),
    ({"service": "' OR 1=1 --"}, []), ({"service": "%"}, []), ({"provider": "openai", "status": "success"}, [1]),
])  # fmt: skip
def test_filters(client: TestClient, parameters: dict[str, Any], expected: list[int]) -> None:
    """Each filter keeps the traces that fit; several values of one are alternatives; text is never SQL [39]."""
    found = get(client, "/api/v1/traces", **parameters)["traces"]
    assert [t["trace_id"] for t in found] == [f"{n:032x}" for n in expected]


def test_trace_detail(client: TestClient) -> None:
    """A trace is whole: spans with attributes by key, messages on request, logs, review trail (BR-014)."""
    plain = get(client, f"/api/v1/traces/{1:032x}")
    assert [s["span_id"] for s in plain["span_documents"]] == [f"{n:016x}" for n in (10, 11, 12)]
    assert "canary" not in json.dumps(plain)
    whole = get(client, f"/api/v1/traces/{1:032x}", content="true")
    assert whole["span_documents"][1]["gen_ai.input.messages"] == [QUESTION]
    assert whole["span_documents"][1]["gen_ai.output.messages"] == [ANSWER | {"finish_reason": "stop"}]
    span = get(client, f"/api/v1/spans/{11:016x}", content="true")
    assert span == whole["span_documents"][1]


def test_absent_is_404_and_wrong_is_400(client: TestClient) -> None:
    """[11, 31] An id that is not there gives 404, one that is no id 400; a misspelt parameter is not ignored."""
    for path, status in (
        (f"/api/v1/traces/{9:032x}", 404), (f"/api/v1/spans/{9:016x}", 404), ("/api/v1/traces/zz", 400),
        (f"/api/v1/spans/{'A' * 16}", 400), ("/api/v1/traces/..%2f..%2fetc%2fpasswd", 404),
        ("/api/v1/traces?servce=shop", 400), ("/api/v1/traces?limit=0", 400), ("/api/v1/traces?limit=1001", 400),
        ("/api/v1/traces?limit=٣", 400), ("/api/v1/traces?from=yesterday", 400), ("/api/v1/traces?status=ok", 400),
        ("/api/v1/traces?after=x", 400), ("/api/v1/traces?limit=1&limit=2", 400), ("/api/attribution", 400),
        ("/api/v1/calls?content=1", 400), ("/api/cost", 400), ("/api/nothing", 404),
    ):  # fmt: skip
        answer = client.get(path)
        assert answer.status_code == status, path
        if status == 400:
            assert set(answer.json()) == {"error"}


def test_calls_stream_as_ndjson(client: TestClient) -> None:
    """Call records come one a line, with the filters of the lists, content on request (BR-049)."""
    answer = client.get("/api/v1/calls")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [r["span_id"] for r in lines(answer.text)] == CALLS
    chosen = client.get("/api/v1/calls", params={"session": "s-1", "content": "true", "from": "2025-11-20T12:00:01Z"})
    (record,) = lines(chosen.text)
    assert record["span_id"] == CALLS[1]
    assert record["gen_ai.output.messages"][0]["parts"] == [{"type": "text", "content": "Six."}]  # type: ignore[index]
    assert client.get("/api/v1/calls", params={"service": "') OR ('1'='1"}).text == ""


def test_cost_of_a_session(client: TestClient) -> None:
    """Calls, tokens and cost by model for a session; sums are of its calls only (LT-044)."""
    answer = get(client, "/api/cost", session="s-1")
    assert (answer["session"], answer["calls"], answer["input_tokens"], answer["output_tokens"]) == ("s-1", 2, 250, 30)
    (row,) = answer["models"]
    assert (row["provider"], row["model"], row["calls"], row["errors"]) == ("openai", "gpt-4o-mini", 2, 0)
    assert answer["cost"] == row["cost"] == pytest.approx((250 * 0.15 + 30 * 0.60) / 1e6, rel=1e-12)
    nobody = get(client, "/api/cost", session="' OR 1=1 --")
    assert (nobody["calls"], nobody["cost"], nobody["models"]) == (0, None, [])


def test_cost_by_another_basis(client: TestClient) -> None:
    """What is asked by today's prices says so; an unknown basis is refused with those there are."""
    usual, today = (get(client, "/api/cost", session="s-1", **asked) for asked in ({}, {"prices": "today"}))
    assert (usual["prices"], today["prices"]) == ("true", "today")
    assert today["cost"] == pytest.approx(usual["cost"], rel=1e-12)  # the list has one price of this model for all time
    refused = client.get("/api/cost", params={"session": "s-1", "prices": "tomorrow"})
    assert (refused.status_code, "true, believed, today" in refused.text) == (400, True)


def test_cost_of_a_window(client: TestClient, data: Path) -> None:
    """The same for a time window, exact to its ends, equal to plain SQL on the published view (LT-045)."""
    window = {"from": "2025-11-20T12:00:01Z", "to": "2025-11-20T12:01:00Z"}
    answer = get(client, "/api/cost", **window)
    assert (answer["calls"], answer["input_tokens"], answer["from"]) == (1, 150, "2025-11-20T12:00:01Z")
    whole = get(client, "/api/cost", **{"from": "2025-11-20T00:00:00Z", "to": "2025-11-21T00:00:00Z"})
    with duckdb.connect(str(data / "spanfold.duckdb"), read_only=True) as connection:
        expected = connection.execute("SELECT count(*), sum(input_tokens), sum(cost) FROM calls").fetchone()
    assert expected is not None
    assert (whole["calls"], whole["input_tokens"]) == expected[:2]
    assert whole["cost"] == pytest.approx(expected[2], rel=1e-12)


def test_attribution_by_commit(client: TestClient) -> None:
    """A short or full commit finds its deploy; without an anomaly blamed on it there is no attribution (LT-043)."""
    for sha in (SHA, SHA[:7], SHA.upper()):
        answer = get(client, "/api/attribution", sha=sha)
        assert (answer["sha"], answer["matched"], answer["attribution"]) == (sha, True, None)
        deploy = {name: answer["deploy"][name] for name in ("id", "pr_number", "title", "commit_sha")}
        assert deploy == {"id": "d-1", "pr_number": 129, "title": "Sonnet", "commit_sha": SHA}
    assert get(client, "/api/attribution", sha="ffff") == {
        "sha": "ffff", "matched": False, "deploy": None, "attribution": None,
    }  # fmt: skip
    for wrong in ("abc", "%", "x' OR 1=1"):
        assert client.get("/api/attribution", params={"sha": wrong}).status_code == 400


def test_attribution_names_the_anomaly(filled: Path, tmp_path: Path) -> None:
    """With an anomaly blamed on the deploy its numbers are given, the difference computed (LT-043)."""
    copy = tmp_path / "data"
    subprocess.run(["cp", "-r", str(filled), str(copy)], check=True)
    shutil.rmtree(copy / "snapshots")
    day = dt.datetime(2025, 11, 20)
    anomaly = {
        "tenant": "default", "id": "a-1", "metric": "daily_cost", "service_name": "shop", "dimension": "prod-frontend",
        "window_start": day, "window_end": day + dt.timedelta(days=1), "expected": 4.5, "actual": 19.0, "sigma": 28.0,
        "status": "open", "deploy_id": "d-1", "confidence": 0.55, "detected_at": day,
    }  # fmt: skip
    schema = STATE["anomalies"]
    rows = pa.Table.from_pylist([{name: anomaly.get(name) for name in schema.names}], schema)
    publish(copy, read_current(copy), PriceBook.load(), {"anomalies": rows})
    with client_of(copy) as client:
        found = get(client, "/api/attribution", sha=SHA[:8])["attribution"]
    assert {name: found[name] for name in ("metric", "date", "baseline", "actual", "delta", "sigma", "confidence")} == {
        "metric": "daily_cost", "date": "2025-11-20", "baseline": 4.5, "actual": 19.0, "delta": 14.5, "sigma": 28.0,
        "confidence": 0.55,
    }  # fmt: skip


def decide(client: TestClient, status: int = 200, **body: Any) -> Any:
    answer = client.post("/api/v1/reviews", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_review_over_http(client: TestClient) -> None:
    """A decision is stored with its trail, shown at once, refused when stale, undone (TB-050, TB-051, TB-061)."""
    target = {"kind": "span", "trace_id": f"{1:032x}", "span_id": f"{11:016x}"}
    first = decide(client, targets=[target], state="approved", who="ann", comment="clean", batch_id="x-1")
    assert (first["batch_id"], first["repeated"]) == ("x-1", False)
    assert [(r["state"], r["revision"], r["who"]) for r in first["reviews"]] == [("approved", 1, "ann")]
    assert decide(client, targets=[target], state="approved", who="ann", batch_id="x-1")["repeated"] is True
    conflict = decide(client, 409, targets=[target | {"expected_revision": 0}], state="rejected", who="bob")
    assert [(r["state"], r["who"]) for r in conflict["current"]] == [("approved", "ann")]
    trail = get(client, f"/api/v1/reviews/{1:032x}", span_id=f"{11:016x}")["events"]
    assert [(e["who"], e["from_state"], e["to_state"], e["comment"]) for e in trail] == [
        ("ann", "unreviewed", "approved", "clean")
    ]
    decide(client, undo="x-1", who="ann")
    listed = get(client, "/api/v1/reviews", kind="span")["reviews"]
    assert [(r["span_id"], r["state"], r["revision"]) for r in listed] == [(f"{11:016x}", "unreviewed", 2)]
    assert get(client, "/api/v1/reviews", state="flagged")["counts"]["flagged"] == 1
    decide(client, 409, undo="x-1", who="ann")
    decide(client, 404, undo="nothing", who="ann")


@pytest.mark.parametrize("body", [
    {}, {"targets": [], "state": "approved"}, {"targets": [{"kind": "trace", "trace_id": "a" * 32}]},
    {"targets": [{"kind": "trace", "trace_id": "a" * 32}], "state": "seen"},
    {"targets": [{"kind": "span", "trace_id": "a" * 32}], "state": "approved"},
    {"targets": [{"kind": "trace", "trace_id": "'; DROP TABLE reviews"}], "state": "approved"},
    {"targets": [{"kind": "trace", "trace_id": "a" * 32, "x": 1}], "state": "approved"},
    {"targets": [{"kind": "trace", "trace_id": "a" * 32}], "state": "approved", "undo": "x"},
    {"targets": [{"kind": "trace", "trace_id": "a" * 32}], "state": "approved", "who": "x" * 201},
    {"targets": {"kind": "trace"}, "state": "approved"}, [], "approved", 7,
])  # fmt: skip
def test_wrong_reviews_are_refused(client: TestClient, body: Any) -> None:
    """A body that is not a decision gets 400 with one sentence, and nothing is stored."""
    answer = client.post("/api/v1/reviews", json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_foreign_pages_cannot_post(client: TestClient) -> None:
    """[77] A form post and a foreign Host are refused; a large body is cut; other methods are not there."""
    body = json.dumps({"undo": "x"})
    assert client.post("/api/v1/reviews", content=body, headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/api/v1/reviews", data={"undo": "x"}).status_code == 415
    kind = {"content-type": "application/json"}
    assert client.post("/api/v1/reviews", content="{", headers=kind).status_code == 400
    assert client.post("/api/v1/reviews", content=b'"' + b"x" * (5 << 20) + b'"', headers=kind).status_code == 413
    assert client.delete("/api/v1/reviews").status_code == 405
    for path in ("/api/v1/traces", "/api/v1/calls", "/api/healthz"):
        assert client.get(path, headers={"host": "evil.example:8501"}).status_code == 403


@pytest.mark.parametrize(("header", "ours"), [
    ("127.0.0.1:8501", True), ("localhost", True), ("LOCALHOST:1", True), ("[::1]:8501", True), ("[::1]", True),
    ("127.8.8.8", True), ("evil.example", False), ("127.0.0.1.evil.example", False), ("", False), ("0.0.0.0:1", False),
    ("localhost.evil.example:8501", False), ("10.0.0.7:8501", False),
])  # fmt: skip
def test_host_names(header: str, ours: bool) -> None:
    """Only names of this machine's loopback are ours (DNS rebinding)."""
    assert is_ours(header, frozenset({"localhost", "127.0.0.1"})) is ours


def test_nothing_published_yet(tmp_path: Path) -> None:
    """Before the first snapshot the API is healthy and says 503 with the next step."""
    with client_of(tmp_path) as client:
        assert get(client, "/api/healthz") == {"status": "ok", "snapshot": None}
        for path in ("/api/v1/traces", "/api/v1/calls", f"/api/v1/traces/{1:032x}", "/api/cost?session=s"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "spanfold up" in answer.json()["error"]


def test_document_describes_every_route(client: TestClient, data: Path) -> None:
    """The OpenAPI document has every route with its parameters and errors (BR-057)."""
    document = get(client, "/api/openapi.json")
    assert document["openapi"] == "3.1.0"
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    routes = {
        (route.path, method.lower())
        for route in api_routes(House(Settings(data=data)))
        for method in (route.methods or ()) - {"HEAD"}
    }
    assert routes - described == {("/api", "get"), ("/api/docs", "get"), ("/api/openapi.json", "get")}
    assert described <= routes
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids))
    references = set(_references(document))
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def test_docs_page_fetches_nothing(client: TestClient) -> None:
    """The docs page names every path, has no script, and loads nothing from anywhere."""
    page = client.get("/api/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in get(client, "/api/openapi.json")["paths"]:
        assert path in page.text
    for word in ("<script", "http://", "https://", "src=", "@import", "url("):
        assert word not in page.text


@pytest.mark.parametrize(("text", "expected"), [
    ("2026-04-18T14:05:00Z", dt.datetime(2026, 4, 18, 14, 5)), ("2026-04-18", dt.datetime(2026, 4, 18)),
    ("2026-04-18T16:05:00 02:00", dt.datetime(2026, 4, 18, 14, 5)),
    ("2026-04-18T14:05:00", dt.datetime(2026, 4, 18, 14, 5)),
])  # fmt: skip
def test_times_are_utc(text: str, expected: dt.datetime) -> None:
    """A time without zone is UTC; the + of an offset survives a URL that made it a blank."""
    parameter = Parameter("from", "", {"type": "string", "format": "date-time"})
    assert parameter.parse([text]) == expected
    with pytest.raises(BadRequest):
        parameter.parse(["2026-13-01"])
