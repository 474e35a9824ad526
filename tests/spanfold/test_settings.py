"""Settings: one table, four sources, clear refusals."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from spanfold.errors import HostRefused, SettingInvalid
from spanfold.sending_access import require_known_senders
from spanfold.settings import Settings, example_file, is_loopback, load


def test_each_source_goes_before_the_last(tmp_path: Path) -> None:
    """Defaults < spanfold.toml < environment < flags."""
    (tmp_path / "spanfold.toml").write_text("grpc_port = 1\nhttp_port = 1\ndashboard_port = 1\n")
    environ = {"SPANFOLD_HTTP_PORT": "2", "SPANFOLD_DASHBOARD_PORT": "2"}
    found = load({"data": str(tmp_path), "dashboard_port": 3, "host": None}, environ)
    assert (found.host, found.grpc_port, found.http_port, found.dashboard_port) == ("127.0.0.1", 1, 2, 3)
    assert found.data == tmp_path


def test_environment_names_the_data_directory(tmp_path: Path) -> None:
    """SPANFOLD_DATA is used where no --data is given, and its spanfold.toml is read."""
    (tmp_path / "spanfold.toml").write_text('content = "none"\n')
    found = load({}, {"SPANFOLD_DATA": str(tmp_path), "SPANFOLD_REDACTION_ENABLED": "false"})
    assert (found.data, found.content, found.redaction_enabled) == (tmp_path, "none", False)


def test_another_file_by_name(tmp_path: Path) -> None:
    """SPANFOLD_CONFIG names the file; one that is missing is an error."""
    file = tmp_path / "other.toml"
    file.write_text("retention_days = 30\nfold_interval_seconds = 1\n")
    found = load({"data": "x"}, {"SPANFOLD_CONFIG": str(file)})
    assert (found.retention_days, found.fold_interval_seconds) == (30, 1.0)
    with pytest.raises(SettingInvalid, match="is no file"):
        load({}, {"SPANFOLD_CONFIG": str(tmp_path / "missing")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grpc_prot = 1", "there is no setting 'grpc_prot'; did you mean grpc_port?"),
        ("grpc_port = 70000", "grpc_port cannot be 70000"),
        ("grpc_port = true", "grpc_port must be int, not True"),
        ("redaction_enabled = 'maybe'", "redaction_enabled must be bool"),
        ("otlp_cors_origins = 7", "otlp_cors_origins must be str, not 7"),
        ("otlp_cors_origins = [7]", "otlp_cors_origins must be str, not [7]"),
        ("content = 'clear'", "encrypted | plain | none"),
        ("grpc_port = ", "is not TOML"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A bad value is refused by name, with its source and what it may be."""
    (tmp_path / "spanfold.toml").write_text(text)
    with pytest.raises(SettingInvalid) as caught:
        load({"data": str(tmp_path)}, {})
    assert message in str(caught.value)
    assert "spanfold.toml" in str(caught.value)


def test_a_list_may_be_written_as_one(tmp_path: Path) -> None:
    """What is written with commas may be an array of TOML."""
    (tmp_path / "spanfold.toml").write_text('otlp_cors_origins = ["https://a.example", "https://b.example"]')
    assert load({"data": str(tmp_path)}, {}).otlp_cors_origins == "https://a.example,https://b.example"


def test_example_file_is_the_table() -> None:
    """Uncommented, the example gives exactly the defaults; every setting is in it."""
    lines = [line.removeprefix("# ") for line in example_file().splitlines() if " = " in line]
    stated = tomllib.loads("\n".join(line for line in lines if not line.endswith("(unset)")))
    unset = {line.partition(" ")[0]: None for line in lines if line.endswith("(unset)")}
    assert stated | unset == {f.name: f.default for f in fields(Settings) if f.name != "data"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback(host: str) -> None:
    """Anybody may send on a loopback address."""
    assert is_loopback(host)
    require_known_senders(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_not_loopback(host: str) -> None:
    """Elsewhere senders need keys or client certificates, and the refusal says how."""
    assert not is_loopback(host)
    with pytest.raises(HostRefused, match='otlp_auth = "keys"'):
        require_known_senders(Settings(host=host))
    require_known_senders(Settings(host=host, otlp_auth="keys"))
    pems = {name: Path(f"{name}.pem") for name in ("otlp_tls_cert", "otlp_tls_key", "otlp_client_ca")}
    require_known_senders(Settings(host=host, **pems))
    with pytest.raises(SettingInvalid, match="otlp_client_ca needs TLS"):
        require_known_senders(Settings(host=host, otlp_client_ca=pems["otlp_client_ca"]))
    with pytest.raises(SettingInvalid, match="go together"):
        require_known_senders(Settings(otlp_tls_cert=pems["otlp_tls_cert"]))
