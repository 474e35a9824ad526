"""Settings: defaults < spanfold.toml < SPANFOLD_* environment < flags.

The fields of `Settings` are the one table: name, default and meaning of each stand together, and the example file is
generated from them. They are read here once and passed into the stages as values.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

from spanfold.errors import SettingInvalid
from spanfold.exporter.retention_tiers import read_tiers

FILE_NAME = "spanfold.toml"
CONFIG_VARIABLE = "SPANFOLD_CONFIG"
PREFIX = "SPANFOLD_"
_NOT_SETTINGS = frozenset(
    {CONFIG_VARIABLE, "SPANFOLD_ROOT_KEY", "SPANFOLD_NEW_ROOT_KEY"}
)  # of the same prefix, read elsewhere
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def _about(meaning: str, check: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    return {"meaning": meaning, "check": check}


def _port(value: int) -> bool:
    return 0 <= value < 65536


def _positive(value: float) -> bool:
    return value > 0


def _not_negative(value: float) -> bool:
    return value >= 0


def _rules(value: str) -> bool:
    try:
        read_tiers(value)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one data directory."""

    data: Path = field(default=Path("spanfold-data"), metadata=_about("where everything is kept"))
    host: str = field(
        default="127.0.0.1", metadata=_about("address to listen on; others than loopback need auth and otlp_auth")
    )
    grpc_port: int = field(default=4317, metadata=_about("OTLP over gRPC", _port))
    http_port: int = field(default=4318, metadata=_about("OTLP over HTTP, /healthz and /metrics", _port))
    dashboard_port: int = field(default=8501, metadata=_about("dashboard and read API", _port))

    auth: str = field(
        default="none",
        metadata=_about(
            "who may use dashboard and API: none (loopback only) | login (users of `spanfold users`, or OIDC)",
            lambda value: value in ("none", "login"),
        ),
    )
    dashboard_url: str | None = field(
        default=None,
        metadata=_about(
            "address at which people reach the dashboard, such as https://spanfold.example.com; needed when that is "
            "not the address to listen on",
            lambda value: value.startswith(("https://", "http://")),
        ),
    )
    policy: str = field(
        default="spanfold.state.access:default_policy",
        metadata=_about("module:function (caller, action, tenant, resource) -> bool that allows or denies everything"),
    )
    api_requests_per_minute: int = field(
        default=600,
        metadata=_about("requests to the API per user; more get 429 and are told when to come back", _positive),
    )
    query_seconds: float = field(
        default=30.0,
        metadata=_about("what one query of a screen or the API may take; longer ones are stopped", _positive),
    )
    oidc_issuer: str | None = field(
        default=None, metadata=_about("OpenID Connect provider that signs users in, such as https://login.example.com")
    )
    oidc_client_id: str | None = field(default=None, metadata=_about("client id at that provider"))
    oidc_client_secret: str | None = field(
        default=None, metadata=_about("client secret; better in the environment than in a file")
    )
    oidc_claim: str = field(default="email", metadata=_about("claim that holds the name of the user here"))
    oidc_trust_email: bool = field(
        default=False,
        metadata=_about("that provider proves each address: email counts without email_verified, never if it is false"),
    )
    otlp_auth: str = field(
        default="none",
        metadata=_about(
            "who may send: none (loopback only) | keys (API keys of `spanfold keys add`)",
            lambda value: value in ("none", "keys"),
        ),
    )
    otlp_tls_cert: Path | None = field(
        default=None, metadata=_about("PEM file with the certificate and its chain; with it both OTLP ports speak TLS")
    )
    otlp_tls_key: Path | None = field(default=None, metadata=_about("PEM file with the key of that certificate"))
    otlp_client_ca: Path | None = field(
        default=None,
        metadata=_about("PEM file of a CA: only senders that hold a certificate of it are let in (mTLS)"),
    )
    otlp_cors_origins: str = field(
        default="",
        metadata=_about("web pages that may send, such as https://app.example.com, https://*.example.org; empty: none"),
    )
    key_requests_per_second: float | None = field(
        default=None, metadata=_about("requests that each API key may send; unset: any number", _positive)
    )
    key_bytes_per_second: float | None = field(
        default=None, metadata=_about("bytes (decompressed) that each API key may send; unset: any number", _positive)
    )

    error_hook: str = field(
        default="log",
        metadata=_about(
            "who hears of problems: log (stderr of `up`) | https://... (JSON is posted there) | module:function "
            "(problem, context)",
            lambda value: value == "log" or value.startswith(("https://", "http://")) or ":" in value,
        ),
    )

    content: str = field(
        default="encrypted",
        metadata=_about(
            "what people and models said is kept: encrypted | plain | none",
            lambda value: value in ("encrypted", "plain", "none"),
        ),
    )
    dialects: str | None = field(
        default=None, metadata=_about("folder of YAML files that add or override dialects; unset: DATA/dialects")
    )
    redaction_enabled: bool = field(
        default=True, metadata=_about("replace e-mail addresses, card numbers, keys and the like before storing")
    )

    currency: str = field(
        default="USD",
        metadata=_about(
            "money in which `stats` shows costs; others than USD need `spanfold prices rate`",
            lambda value: len(value) == 3 and value.isascii() and value.isupper(),
        ),
    )

    max_request_bytes: int = field(
        default=64 << 20, metadata=_about("largest request, before and after decompression", _positive)
    )
    in_flight_bytes: int = field(
        default=512 << 20, metadata=_about("requests being worked on; more are told to come back", _positive)
    )
    journal_max_bytes: int = field(
        default=16 << 30, metadata=_about("refuse requests when the journal would grow past this", _positive)
    )
    journal_window_bytes: int = field(
        default=4 << 30, metadata=_about("folded records are kept for replay up to this size", _not_negative)
    )
    journal_window_seconds: float = field(default=86_400.0, metadata=_about("and up to this age", _not_negative))
    disk_floor_bytes: int = field(
        default=256 << 20,
        metadata=_about("refuse requests when less is free on the disk (5 % of it, if that is less)", _not_negative),
    )

    fold_interval_seconds: float = field(default=0.25, metadata=_about("how often the journal is looked at", _positive))
    chunk_bytes: int = field(
        default=64 << 20, metadata=_about("most journal bytes folded at once; decides the memory of `fold`", _positive)
    )
    quiet_seconds: float = field(
        default=5.0, metadata=_about("how long content in log records waits for its span", _not_negative)
    )
    drop_spans: str = field(
        default="",
        metadata=_about("internal spans not to keep: globs `scope` or `scope:name`, by commas; never GenAI spans"),
    )
    content_days: int | None = field(
        default=None, metadata=_about("words of days older than this go, measures stay; unset keeps all", _not_negative)
    )
    retention_rules: str = field(
        default="",
        metadata=_about(
            "by tenant and project, days of words and of everything: acme/*=7:90, */chatbot=30; before content_days",
            _rules,
        ),
    )
    archive: Path | None = field(
        default=None,
        metadata=_about("folder that call records are written to, in clear, before their words go by their age"),
    )
    retention_days: int | None = field(
        default=None, metadata=_about("drop days older than this; unset keeps all", _positive)
    )

    @property
    def dialects_folder(self) -> Path:
        return Path(self.dialects) if self.dialects else self.data / "dialects"


def _kind(hint: Any) -> type:
    """The type of a field's value, None aside."""
    kinds: list[type] = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if kinds else hint


_FIELDS = {setting.name: setting for setting in fields(Settings)}
_KINDS = {name: _kind(hint) for name, hint in get_type_hints(Settings).items()}


def load(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in force. `flags` holds those given on the command line; None means not given.

    Raises SettingInvalid, naming where the value came from and what it may be.
    """
    values = {name: value for name, value in flags.items() if value is not None}
    from_environment = _from_environment(environ)
    data = values.get("data") or from_environment.get("data") or _FIELDS["data"].default
    merged: dict[str, object] = {}
    path = _find_file(environ, Path(str(data)))
    if path is not None:
        merged |= _from_file(path)
    merged |= from_environment | {name: _convert(name, value, f"--{name}") for name, value in values.items()}
    return Settings(**cast(dict[str, Any], merged))


def is_loopback(host: str) -> bool:
    """Is this an address that only this machine can reach?"""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def example_file() -> str:
    """A spanfold.toml with every setting at its default, commented out."""
    lines = [
        "# Settings of Spanfold. A line without its # is in force; SPANFOLD_<NAME> in the environment and the flags of",
        "# a command come before it.",
    ]
    for name, setting in _FIELDS.items():
        if name != "data":
            default = "(unset)" if setting.default is None else _toml(setting.default)
            lines += ["", f"# {setting.metadata['meaning']}", f"# {name} = {default}"]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _find_file(environ: Mapping[str, str], data: Path) -> Path | None:
    named = environ.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise SettingInvalid(f"{CONFIG_VARIABLE} names {named}, which is no file")
        return Path(named)
    return next((path for path in (data / FILE_NAME, Path(FILE_NAME)) if path.is_file()), None)


def _from_file(path: Path) -> dict[str, object]:
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not TOML: {error}") from error
    return {name: _convert(name, value, str(path)) for name, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    found = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and variable not in _NOT_SETTINGS and name in _FIELDS:
            found[name] = _convert(name, value, variable)
    return found


def _convert(name: str, value: object, source: str) -> object:
    """The value in the type of its field."""
    if name not in _FIELDS:
        near = get_close_matches(name, _FIELDS, 1)
        raise SettingInvalid(f"{source}: there is no setting {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    kind = _KINDS[name]
    meaning, check = _FIELDS[name].metadata["meaning"], _FIELDS[name].metadata["check"]
    try:
        converted = _as(kind, value)
    except (ValueError, TypeError) as error:
        raise SettingInvalid(f"{source}: {name} must be {kind.__name__}, not {value!r}") from error
    if check is not None and not check(converted):
        raise SettingInvalid(f"{source}: {name} cannot be {value!r} ({meaning})")
    return converted


def _as(kind: type, value: object) -> object:
    if kind is bool:
        text = str(value).strip().lower()
        if text not in _TRUE + _FALSE:
            raise ValueError(value)
        return text in _TRUE
    if kind is int and isinstance(value, bool | float):
        raise TypeError(value)
    if kind is str and isinstance(value, list):  # what is written with commas, as TOML writes it
        return ",".join(_as(str, item) for item in value)  # type: ignore[misc]
    if kind is str and not isinstance(value, str):
        raise TypeError(value)
    return kind(value)
