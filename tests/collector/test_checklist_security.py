"""OTLP checklist, security (76-82): keys, tenants, TLS, mTLS, CORS, rates. Further negative tests beside them."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanfold.collector import http_connection, senders
from spanfold.collector.errors import TlsUnusable
from spanfold.collector.guesses import Guesses
from spanfold.collector.senders import Caller, Rates
from spanfold.collector.server import Collector
from spanfold.collector.tls import Tls
from spanfold.sending_access import collector_options
from spanfold.settings import Settings
from spanfold.state.database import Database, sqlite_url
from spanfold.state.keys import Keys, NewKey

from .certificates import Authority, Pair
from .receiving import JSON, PROTOBUF, calling, post, request, running, span, stored

BODY = request(span(1)).SerializeToString()


def keys_of(data: Path) -> Keys:
    return Keys(Database(sqlite_url(data / "state.db")))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Collector, NewKey]]:
    """A collector that asks for keys, and a key of tenant `acme`."""
    key = keys_of(tmp_path).add("prod", tenant="acme", who="test")
    with running(tmp_path, senders=collector_options(Settings(data=tmp_path, otlp_auth="keys")).senders) as collector:
        yield collector, key


def call(collector: Collector, *metadata: tuple[str, str], body: bytes = BODY) -> grpc.StatusCode:
    """The code of one call over gRPC."""
    with calling(collector) as export:
        try:
            export(body, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


def test_default_is_loopback() -> None:
    """76: who sets nothing listens on 127.0.0.1."""
    assert Settings().host == "127.0.0.1"


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_key_opens_for_its_tenant(tmp_path: Path, guarded: tuple[Collector, NewKey], header: str) -> None:
    """79: with a key, in either header, on both ports; its tenant and label go with the record."""
    collector, key = guarded
    value = f"Bearer {key.secret}" if header == "authorization" else key.secret
    assert post(collector, BODY, **{header: value})[0] == 200
    assert call(collector, (header, value)) is grpc.StatusCode.OK
    assert [(record.tenant, record.key_label) for record in stored(tmp_path)] == [("acme", "prod")] * 2


WRONG = {
    "none": {},
    "wrong, right prefix": {"authorization": "Bearer {prefix}0000000000000000000000000000"},
    "other scheme": {"authorization": "Basic {secret}"},
    "SQL": {"authorization": "Bearer ' OR 1=1--"},
    "two that differ": {"authorization": "Bearer {secret}", "x-api-key": "other"},
    "empty": {"authorization": "Bearer "},
}


@pytest.mark.parametrize("encoding", [PROTOBUF, JSON])
@pytest.mark.parametrize("name", WRONG)
def test_without_an_open_key_nothing_is_stored(
    tmp_path: Path, guarded: tuple[Collector, NewKey], name: str, encoding: str
) -> None:
    """79: 401 with a Status, UNAUTHENTICATED, no retry asked for; counted; the body may be anything."""
    collector, key = guarded
    told = {k: v.format(prefix=key.info.prefix, secret=key.secret) for k, v in WRONG[name].items()}
    status, headers, body = post(collector, BODY, encoding, **told)
    assert (status, headers["www-authenticate"], headers["retry-after"]) == (401, "Bearer", None)
    told_code = Status.FromString(body).code if encoding == PROTOBUF else json.loads(body)["code"]
    assert told_code == grpc.StatusCode.UNAUTHENTICATED.value[0]
    assert key.secret.encode() not in body
    assert call(collector, *told.items()) is grpc.StatusCode.UNAUTHENTICATED
    assert stored(tmp_path) == []
    assert collector.counters.snapshot()["traces"]["requests"] == {"accepted": 0, "rejected": 2, "refused": 0}


def test_a_key_in_the_address_is_no_key(guarded: tuple[Collector, NewKey]) -> None:
    """Addresses are logged on the way: a key in one opens nothing."""
    collector, key = guarded
    assert post(collector, BODY, path=f"/v1/traces?api_key={key.secret}")[0] == 401


def test_the_tenant_of_somebody_else(tmp_path: Path, guarded: tuple[Collector, NewKey]) -> None:
    """79: a stated tenant that is not the key's: 403, PERMISSION_DENIED, nothing stored; its own is fine."""
    collector, key = guarded
    bearer = f"Bearer {key.secret}"
    assert post(collector, BODY, authorization=bearer, x_spanfold_tenant="other")[0] == 403
    metadata = ("authorization", bearer), ("x-spanfold-tenant", "other")
    assert call(collector, *metadata) is grpc.StatusCode.PERMISSION_DENIED
    assert stored(tmp_path) == []
    assert post(collector, BODY, authorization=bearer, x_spanfold_tenant="acme")[0] == 200


def test_a_revoked_key_closes_within_five_seconds(tmp_path: Path, guarded: tuple[Collector, NewKey]) -> None:
    """79: revoked in another process, closed here within 5 s; a new key opens at once."""
    collector, key = guarded
    assert post(collector, BODY, x_api_key=key.secret)[0] == 200
    keys_of(tmp_path).revoke(key.info.id, who="test")
    began = time.monotonic()
    while post(collector, BODY, x_api_key=key.secret)[0] == 200:
        assert time.monotonic() - began < 5
        time.sleep(0.05)
    time.sleep(0.5)
    assert post(collector, BODY, x_api_key=keys_of(tmp_path).add("next", who="test").secret)[0] == 200


def test_keys_that_cannot_be_read_let_nobody_in(
    tmp_path: Path, guarded: tuple[Collector, NewKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """79, 42: while keys cannot be read, known ones open a little longer; then senders are told to retry."""
    collector, key = guarded
    for name, seconds in (("RENEW_SECONDS", 0.1), ("RENEW_FOR_UNKNOWN_SECONDS", 0.05), ("LONGEST_SECONDS", 1.0)):
        monkeypatch.setattr(senders, name, seconds)
    assert post(collector, BODY, x_api_key=key.secret)[0] == 200

    def fail(self: Keys) -> dict[bytes, Any]:
        raise OSError("broken")

    monkeypatch.setattr(Keys, "open_hashes", fail)
    time.sleep(0.15)
    assert post(collector, BODY, x_api_key=key.secret)[0] == 200
    time.sleep(1.1)
    status, headers, _ = post(collector, BODY, x_api_key=key.secret)
    assert (status, headers["retry-after"]) == (503, "1")


def test_only_health_answers_without_a_key(guarded: tuple[Collector, NewKey]) -> None:
    """79, 82: metrics and all signals ask for a key, health does not."""
    collector, key = guarded

    def get(path: str, **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=10)
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status

    assert {path: get(path) for path in ("/healthz", "/metrics", "/v1/traces", "/v1/logs", "/v1/metrics", "/x")} == {
        "/healthz": 200, "/metrics": 401, "/v1/traces": 401, "/v1/logs": 401, "/v1/metrics": 401, "/x": 404,
    }  # fmt: skip
    assert get("/metrics", authorization=f"Bearer {key.secret}") == 200


def test_stock_exporters_take_the_key_from_the_environment(
    tmp_path: Path, guarded: tuple[Collector, NewKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    """79: OTEL_EXPORTER_OTLP_HEADERS is all that a service needs."""
    collector, key = guarded
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{key.secret}")
    provider = TracerProvider()
    for exporter in (
        HttpExporter(endpoint=f"http://127.0.0.1:{collector.http_port}/v1/traces"),
        GrpcExporter(endpoint=f"127.0.0.1:{collector.grpc_port}", insecure=True),
    ):
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("test").start_span("one").end()
    provider.shutdown()
    assert [record.tenant for record in stored(tmp_path)] == ["acme", "acme"]


def test_secrets_are_nowhere(
    tmp_path: Path, guarded: tuple[Collector, NewKey], caplog: pytest.LogCaptureFixture
) -> None:
    """80: neither a right nor a wrong key is written into the data directory or a log."""
    collector, key = guarded
    wrong = "sf_wrongwrongwrongwrongwrongwrongwro"
    post(collector, BODY, x_api_key=key.secret)
    post(collector, BODY, x_api_key=wrong)
    call(collector, ("x-api-key", wrong))
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()) + caplog.text.encode()
    assert key.secret.encode() not in written
    assert wrong.encode() not in written


# ---- rates ----------------------------------------------------------------------------------------------------------
def test_a_rate_per_key(tmp_path: Path) -> None:
    """Who sends more than its key may gets 429 and RESOURCE_EXHAUSTED, both with the delay; other keys go on."""
    keys = keys_of(tmp_path)
    busy, calm = (keys.add(label, who="test").secret for label in ("busy", "calm"))
    options = collector_options(Settings(data=tmp_path, otlp_auth="keys", key_requests_per_second=0.5))
    with running(tmp_path, senders=options.senders, rates=options.rates) as collector:
        answers = [post(collector, BODY, x_api_key=busy) for _ in range(4)]
        assert [status for status, _, _ in answers] == [200, 200, 429, 429]  # 5 s of half a request a second
        delay = int(answers[2][1]["retry-after"])
        assert 1 <= delay <= 2
        with calling(collector) as export, pytest.raises(grpc.RpcError) as caught:
            export(BODY, timeout=10, metadata=(("x-api-key", busy),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailers = dict(caught.value.trailing_metadata())
        assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay == Duration(seconds=delay)
        assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Is(RetryInfo.DESCRIPTOR)
        assert post(collector, BODY, x_api_key=calm)[0] == 200
        time.sleep(delay)
        assert post(collector, BODY, x_api_key=busy)[0] == 200
        assert collector.counters.snapshot()["traces"]["requests"] == {"accepted": 4, "rejected": 0, "refused": 3}


def test_bytes_per_key() -> None:
    """A bucket holds 5 s of the rate; a request larger than that passes when the bucket is empty."""
    rates, caller = Rates(None, 100.0), Caller(key_label="big", key_id="k")
    rates.take(caller, 10_000)
    with pytest.raises(Exception, match="100 bytes a second") as caught:
        rates.take(caller, 1)
    assert caught.value.retry_seconds == 96  # 100 s are owed, 5 s may be owed, and 0.01 s for this one
    rates.take(Caller(), 10_000)  # who needs no key has no limit of a key


# ---- TLS ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def post_tls(collector: Collector, authority: Authority, pair: Pair | None = None) -> int:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    connection = http.client.HTTPSConnection("localhost", collector.http_port, timeout=10, context=context)
    try:
        connection.request("POST", "/v1/traces", BODY, {"content-type": PROTOBUF})
        return connection.getresponse().status
    finally:
        connection.close()


def call_tls(collector: Collector, authority: Authority, pair: Pair | None = None) -> None:
    private, public = (pair.key.read_bytes(), pair.certificate.read_bytes()) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), private, public)
    with grpc.secure_channel(f"localhost:{collector.grpc_port}", credentials) as channel:
        channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")(BODY, timeout=5)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls(tmp_path: Path, authority: Authority) -> None:
    """77: both ports speak TLS 1.2 or later, and nothing else."""
    pair = authority.pair("server")
    with running(tmp_path, tls=Tls(pair.certificate, pair.key)) as collector:
        assert post_tls(collector, authority) == 200
        call_tls(collector, authority)
        assert len(stored(tmp_path)) == 2
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            post(collector, BODY)
        assert call(collector) is grpc.StatusCode.UNAVAILABLE
        for port in (collector.http_port, collector.grpc_port):
            for version, allowed in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
                assert speaks(port, authority, version) is allowed
    assert len(stored(tmp_path)) == 2


def speaks(port: int, authority: Authority, version: ssl.TLSVersion) -> bool:
    """Does the port take a handshake of exactly this version?"""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with (
            socket.create_connection(("localhost", port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            return True
    except (ssl.SSLError, ConnectionError):
        return False


def test_mutual_tls(tmp_path: Path, authority: Authority) -> None:
    """78: without a certificate of the client CA (none, expired, of another CA) no request gets through."""
    server, good = authority.pair("server"), authority.pair("good")
    stranger = Authority(tmp_path / "other").pair("stranger")
    bad = {"none": None, "expired": authority.pair("expired", days=-1), "other CA": stranger}
    with running(tmp_path, tls=Tls(server.certificate, server.key, authority.certificate)) as collector:
        assert post_tls(collector, authority, good) == 200
        call_tls(collector, authority, good)
        for pair in bad.values():
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.BadStatusLine)):
                post_tls(collector, authority, pair)
            with pytest.raises(grpc.RpcError) as caught:
                call_tls(collector, authority, pair)
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert len(stored(tmp_path)) == 2


def test_unusable_files_are_named(tmp_path: Path, authority: Authority) -> None:
    """77: a missing file, or one that is not PEM, is named in one sentence before anything listens."""
    pair = authority.pair("server")
    (tmp_path / "empty.pem").write_bytes(b"")
    for tls, message in (
        (Tls(tmp_path / "no.pem", pair.key), "no.pem with key .* No such file"),
        (Tls(tmp_path / "empty.pem", pair.key), "empty.pem with key"),
        (Tls(pair.certificate, pair.key, tmp_path / "ca.pem"), "client CA .*ca.pem: No such file"),
    ):
        with pytest.raises(TlsUnusable, match=message), running(tmp_path, tls=tls):
            pass


# ---- pages in browsers ----------------------------------------------------------------------------------------------
def options(collector: Collector, origin: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=10)
    asked = {"origin": origin, "access-control-request-method": "POST"}
    connection.request("OPTIONS", "/v1/traces", headers=asked)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders() if k.lower().startswith("access-control-")}


def test_cors_is_off(tmp_path: Path) -> None:
    """81: nothing configured, nothing allowed."""
    with running(tmp_path) as collector:
        assert options(collector, "https://app.example.com") == (405, {})
        _, headers, _ = post(collector, BODY, origin="https://app.example.com")
        assert headers["access-control-allow-origin"] is None


def test_cors_of_listed_origins(tmp_path: Path) -> None:
    """81: a listed origin may ask and send, and may read errors too; one that is not listed gets nothing."""
    origins = collector_options(
        Settings(data=tmp_path, otlp_cors_origins="https://app.example.com, https://*.example.org")
    ).cors_origins
    with running(tmp_path, cors_origins=origins) as collector:
        for origin in ("https://app.example.com", "https://a.b.example.org"):
            status, allowed = options(collector, origin)
            assert status == 200
            assert allowed["access-control-allow-origin"] == origin
            assert allowed["access-control-allow-methods"] == "POST"
            assert {"content-type", "authorization", "x-api-key"} <= set(
                allowed["access-control-allow-headers"].split(", ")
            )
            assert int(allowed["access-control-max-age"]) > 0
            for body, expected in ((b"{}", 200), (b"{", 400)):
                status, headers, _ = post(collector, body, JSON, origin=origin)
                assert (status, headers["access-control-allow-origin"], headers["vary"]) == (expected, origin, "origin")
        for origin in ("https://app.example.com.evil.net", "http://app.example.com", "https://example.org", "null"):
            assert options(collector, origin) == (405, {})


# ---- connections ----------------------------------------------------------------------------------------------------
def test_endless_headers(tmp_path: Path) -> None:
    """Headers over 64 KiB get 431; over gRPC they are refused; the next sender is served."""
    with running(tmp_path) as collector:
        assert post(collector, BODY, x_api_key="x" * 60_000)[0] == 200
        for size in (66_000, 200_000, 1_000_000):
            status, _, body = post(collector, BODY, x_api_key="x" * size)
            assert (status, json.loads(body)["code"]) == (431, 3)
        assert call(collector, ("x-api-key", "x" * 1_000_000)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert post(collector, BODY)[0] == 200


def test_a_connection_that_says_nothing_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent connections, and headers that never end, are closed; the number of connections is bounded."""
    monkeypatch.setattr(http_connection, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 3)
    with running(tmp_path) as collector:
        address = ("127.0.0.1", collector.http_port)
        silent, endless = socket.create_connection(address), socket.create_connection(address)
        endless.sendall(b"POST /v1/traces HTTP/1.1\r\nx: ")
        third, fourth = socket.create_connection(address), socket.create_connection(address)
        assert fourth.recv(4096).startswith(b"HTTP/1.1 503 ")
        for one in (silent, endless, third):
            one.settimeout(5)
            assert one.recv(1) == b""
        for one in (silent, endless, third, fourth):
            one.close()
        assert post(collector, BODY)[0] == 200


def test_a_body_that_goes_on_after_its_answer_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[20, 79] Who got an answer and goes on sending byte by byte is closed; who ends in time keeps the connection."""

    def answered(connection: socket.socket) -> bytes:
        told = b""
        while not told.endswith(b"}") and (more := connection.recv(4096)):
            told += more
        return told

    monkeypatch.setattr(http_connection, "REST_SECONDS", 0.5)
    with running(tmp_path) as collector:
        head = b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
        with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as dripping:
            dripping.sendall(head)
            assert answered(dripping).startswith(b"HTTP/1.1 404 ")
            closed = False
            for _ in range(9):
                time.sleep(0.2)
                try:
                    dripping.sendall(b"x")
                except OSError:
                    closed = True
            assert closed
        with socket.create_connection(("127.0.0.1", collector.http_port), timeout=5) as ending:
            for _ in range(2):
                ending.sendall(head)
                assert answered(ending).startswith(b"HTTP/1.1 404 ")
                ending.sendall(b"x" * 10)
                time.sleep(0.7)


def test_streams_that_are_reset_at_once_cost_others_no_call(tmp_path: Path) -> None:
    """[80] 20,000 calls, each reset as soon as it began: calls of other connections are answered OK."""

    def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:  # RFC 9113, 4.1
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    path = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    headers = b"\x83\x86\x44" + bytes([len(path)]) + path + b"\x5f\x10application/grpc\x40\x02te\x08trailers\x41\x01x"
    with running(tmp_path) as collector, calling(collector) as export:
        export(BODY, timeout=10)
        with socket.create_connection(("127.0.0.1", collector.grpc_port), timeout=10) as resetting:
            resetting.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            for stream in range(1, 40_000, 2):
                resetting.sendall(frame(1, 4, stream, headers) + frame(3, 0, stream, b"\0\0\0\x08"))
            assert [export(BODY, timeout=10) for _ in range(20)] == [b""] * 20


def test_guessing_keys_is_slowed_per_address(guarded: tuple[Collector, NewKey]) -> None:
    """[76] After a hundred keys that open nothing an address is told to wait, on both ports; a key that worked from
    there before goes on working."""
    collector, key = guarded
    assert post(collector, BODY, x_api_key=key.secret)[0] == 200
    assert call(collector, ("x-api-key", key.secret)) is grpc.StatusCode.OK
    told = [post(collector, BODY, x_api_key=f"sf_{number}")[:2] for number in range(110)]
    assert [status for status, _ in told[:100]] == [401] * 100
    slowed = [headers for status, headers in told[100:] if status == 429]
    assert slowed
    assert int(slowed[0]["retry-after"]) >= 1
    with calling(collector) as export:
        codes = []
        for number in range(110):
            with pytest.raises(grpc.RpcError) as refused:
                export(BODY, timeout=10, metadata=[("x-api-key", f"sf_{number}")])
            codes.append(refused.value.code())
    assert codes[0] is grpc.StatusCode.UNAUTHENTICATED
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes[100:]
    assert post(collector, BODY, x_api_key=key.secret)[0] == 200
    assert call(collector, ("x-api-key", key.secret)) is grpc.StatusCode.OK


def test_attempts_come_back() -> None:
    """[76] A burst, then the rate, never beyond the burst; a right secret that turns wrong counts as the others do."""
    now = [0.0]
    guesses = Guesses(2, 0.5, lambda: now[0])
    for _ in range(2):
        assert guesses.wait("a", b"x") == 0
        guesses.was_wrong("a", b"x")
    assert (guesses.wait("a", b"x"), guesses.wait("b", b"x")) == (2.0, 0)
    now[0] = 1.0
    assert guesses.wait("a", b"x") == 1.0
    now[0] = 100.0
    guesses.was_right("a", b"good")
    for _ in range(2):
        assert guesses.wait("a", b"x") == 0
        guesses.was_wrong("a", b"x")
    assert (guesses.wait("a", b"x"), guesses.wait("a", b"good")) == (2.0, 0)
    guesses.was_wrong("a", b"good")
    assert guesses.wait("a", b"good") == 4.0
