"""What shows who we are, in files that are replaced now and then."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from prism_runtime.tls import fingerprint
from prism_runtime.tokens import bearer


@dataclass(frozen=True, slots=True)
class Credentials:
    """With `ca` the connection is TLS; `certificate` and `key` are for mTLS."""

    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __repr__(self) -> str:
        return f"Credentials(token={'***' if self.token else ''!r}, ca={self.ca}, certificate={self.certificate})"

    def channel(self) -> grpc.ChannelCredentials | None:
        """None is cleartext. OSError when a file cannot be read."""
        if self.ca is None:
            return None
        key = self.key.read_bytes() if self.key is not None else None
        certificate = self.certificate.read_bytes() if self.certificate is not None else None
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)

    def fingerprint(self) -> tuple[tuple[int, int], ...]:
        return fingerprint(self.ca, self.certificate, self.key)

    def validate(self) -> None:
        """ValueError or OSError when the files cannot be used together; gRPC would say so at the first call only."""
        if self.ca is None:
            return
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key, password="")

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return bearer(self.token)
