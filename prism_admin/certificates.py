"""The server's certificate, its key and the authority of its callers: read again when they change."""

from __future__ import annotations

from pathlib import Path

import grpc

from prism_runtime import log
from prism_runtime.tls import TlsError, check_files, fingerprint

_log = log.get("prism.admin")
_FLAGS = {"cert": "--tls-cert", "key": "--tls-key", "ca": "--tls-client-ca"}


class Certificates:
    """Callers must have a certificate of `client_ca`, where there is one."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._seen = self._fingerprint()

    def credentials(self) -> grpc.ServerCredentials:
        """Connections have the files as they were when they were made. OSError when one cannot be used."""
        return grpc.dynamic_ssl_server_credentials(
            self._read(), self._changed, self._client_ca is not None)  # type: ignore[arg-type]  # None is allowed

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC calls this for every new connection, on its own thread. None keeps the old ones: so do files that cannot
        be used, such as a certificate whose key is still to come."""
        seen = self._fingerprint()
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            found = self._read()
        except OSError as error:
            _log.error("TLS files were not reloaded", error=str(error))
            return None
        _log.info("TLS files were reloaded", certificate=str(self._certificate))
        return found

    def _read(self) -> grpc.ServerCertificateConfiguration:
        try:
            check_files(self._certificate, self._key, self._client_ca)  # gRPC writes what is wrong to its own log
        except TlsError as error:
            raise OSError(f"{_FLAGS[error.field]}: {error}") from error
        return grpc.ssl_server_certificate_configuration(
            [(self._key.read_bytes(), self._certificate.read_bytes())],
            self._client_ca.read_bytes() if self._client_ca is not None else None)

    def _fingerprint(self) -> tuple[tuple[int, int], ...]:
        return fingerprint(self._certificate, self._key, self._client_ca)
