"""Who may send here: from the settings and the API keys of the control plane to what the collector is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spanfold.errors import HostRefused, SettingInvalid

if TYPE_CHECKING:
    from spanfold.collector.senders import Caller, Senders
    from spanfold.collector.server import CollectorOptions
    from spanfold.collector.tls import Tls
    from spanfold.settings import Settings


def require_known_senders(settings: Settings) -> None:
    """Raises HostRefused where strangers could send, SettingInvalid where the settings of TLS do not fit."""
    from spanfold.settings import is_loopback

    if settings.otlp_client_ca is not None and settings.otlp_tls_cert is None:
        raise SettingInvalid("otlp_client_ca needs TLS: set otlp_tls_cert and otlp_tls_key too")
    if (settings.otlp_tls_cert is None) != (settings.otlp_tls_key is None):
        raise SettingInvalid("otlp_tls_cert and otlp_tls_key go together: set both, or none")
    if is_loopback(settings.host) or settings.otlp_auth == "keys" or settings.otlp_client_ca is not None:
        return
    raise HostRefused(
        f'--host {settings.host} can be reached from other machines and anybody could send: set otlp_auth = "keys" '
        "and make a key with `spanfold keys add --label NAME`, or set otlp_client_ca; or use 127.0.0.1 and put an "
        "OpenTelemetry Collector in front"
    )


def collector_options(settings: Settings) -> CollectorOptions:
    """What the collector is told."""
    from spanfold.collector.limits import Limits
    from spanfold.collector.senders import Rates
    from spanfold.collector.server import CollectorOptions

    return CollectorOptions(
        data=settings.data, host=settings.host, grpc_port=settings.grpc_port, http_port=settings.http_port,
        journal_max_bytes=settings.journal_max_bytes, disk_floor_bytes=settings.disk_floor_bytes,
        limits=Limits(request_bytes=settings.max_request_bytes, in_flight_bytes=settings.in_flight_bytes),
        senders=_senders(settings), rates=Rates(settings.key_requests_per_second, settings.key_bytes_per_second),
        tls=_tls(settings),
        cors_origins=tuple(origin.strip() for origin in settings.otlp_cors_origins.split(",") if origin.strip()),
    )  # fmt: skip


def _senders(settings: Settings) -> Senders | None:
    """The gate of the collector; None where everybody may send."""
    if settings.otlp_auth != "keys":
        return None
    from spanfold.collector.senders import Caller, Senders
    from spanfold.state.database import Database, sqlite_url
    from spanfold.state.keys import Keys, hash_of

    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = Keys(Database(sqlite_url(settings.data / "state.db")))  # not the whole store: that brings Arrow

    def read() -> Mapping[bytes, Caller]:
        return {
            digest: Caller(tenant=info.tenant, key_label=info.label, key_id=info.id)
            for digest, info in keys.open_hashes().items()
        }

    return Senders(read, hash_of)


def _tls(settings: Settings) -> Tls | None:
    if settings.otlp_tls_cert is None or settings.otlp_tls_key is None:
        return None
    from spanfold.collector.tls import Tls

    return Tls(settings.otlp_tls_cert, settings.otlp_tls_key, settings.otlp_client_ca)
