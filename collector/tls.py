"""TLS for both edges: one certificate, and with a client CA only senders that hold a certificate of it (mTLS)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from spanfold.collector.errors import TlsUnusable


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files."""

    certificate: Path  # with its chain
    key: Path
    client_ca: Path | None = None  # whoever has no certificate of this one is turned away

    def context(self) -> ssl.SSLContext:
        """For HTTP: TLS 1.2 or later. Raises TlsUnusable, naming the file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise TlsUnusable(f"certificate {self.certificate} with key {self.key}: {_why(error)}") from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise TlsUnusable(f"client CA {self.client_ca}: {_why(error)}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which takes TLS 1.2 or later by itself. Raises TlsUnusable: grpcio would name no file."""
        self.context()
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        roots = self.client_ca.read_bytes() if self.client_ca is not None else None
        return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)


def _why(error: OSError) -> str:
    return error.strerror or getattr(error, "reason", None) or "it is not PEM"
