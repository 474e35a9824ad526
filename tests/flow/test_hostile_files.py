"""[88] A hostile Parquet file in the place of one of ours, under the running product."""

from __future__ import annotations

import base64
import http.client
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from spanfold.exporter.manifest import read_current
from spanfold.exporter.quarantine import pieces
from tests.flow.running import Running, up, wait_for
from tests.flow.sending import chat, traces


class Keys(encryption.KmsClient):
    """Gives every key away: only the form of the file matters here."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


def encrypted(path: Path, rows: pa.Table) -> None:
    """The form that DuckDB cannot read: data pages of version 2, columns encrypted, the footer in clear."""
    factory = encryption.CryptoFactory(lambda config: Keys())
    config = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["trace_id", "span_id"]}, plaintext_footer=True
    )
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), config)
    pq.write_table(rows, path, encryption_properties=properties, data_page_version="2.0")


def cyclic(path: Path, rows: pa.Table) -> None:
    """A footer whose schema claims two thousand million children."""
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[-8:-4], "little")
    raw[-8 - size : -8] = b"\x15\x04\x19\xfc\xff\xff\xff\xff\x07" + b"\xff" * (size - 9)
    path.write_bytes(raw)


def ask(running: Running, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", running.dashboard_port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    except (OSError, ValueError):
        return 0, None
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("make", [encrypted, cyclic])
def test_a_hostile_file_costs_its_own_rows(tmp_path: Path, make: Any) -> None:
    """The file is set aside and named; the other day's traces are shown, health never fails, no process has died, and
    spans are taken and stored all the while."""
    with up(tmp_path) as running:
        day = 86_400 * 1_000_000_000
        running.send(traces([chat(1, 1)]))
        running.send(traces([chat(2, 1, start=1_763_640_000_000_000_000 + day)]))
        running.flush()
        wait_for(lambda: ask(running, "/api/v1/traces")[0] == 200, 60, "the API")
        pids = {part: running.pid(part) for part in ("collect", "fold", "dashboard")}
        (file,) = read_current(running.data).files_of("spans", "2025-11-20")
        path, rows = running.data / file.path, pq.read_table(running.data / file.path, partitioning=None)
        os.chmod(path, 0o600)
        make(path, rows)
        for _ in range(3):
            ask(running, "/api/v1/traces")
            ask(running, f"/api/v1/traces/{1:032x}")
            assert ask(running, "/api/healthz")[0] == 200
        running.send(traces([chat(3, 1)]))
        wait_for(lambda: [piece["was"] for piece in pieces(running.data)] == [file.path], 60, "the quarantine")
        running.flush()

        def shown() -> set[str]:
            found = ask(running, "/api/v1/traces")[1] or {}
            return {trace["trace_id"] for trace in found.get("traces", ())}

        wait_for(lambda: shown() == {f"{2:032x}", f"{3:032x}"}, 30, "the traces that are left")
        assert {part: running.pid(part) for part in pids} == pids
