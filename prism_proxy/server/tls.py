"""Server-side TLS: 1.3 only, ALPN h2, optional client certificates, reloaded when the files change.

A new set of files is validated as a whole before it replaces the old one; a bad set keeps the old one in force.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from prism_proxy.settings import setting


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Paths of PEM files, read again when they change."""

    cert: Path = setting("Certificate chain (PEM).")
    key: Path = setting("Private key of the certificate (PEM), without passphrase.")
    client_ca: Path | None = setting("Require client certificates signed by this CA (PEM).", None)

    def paths(self) -> list[Path]:
        return [path for path in (self.cert, self.key, self.client_ca) if path is not None]


class TlsError(ValueError):
    """The certificate, key or CA cannot be used; the message names the file."""


class TlsContexts:
    """The context in force, and its reload."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._seen = self._fingerprint()
        self.current = self._load()

    def reload_if_changed(self) -> bool:
        """Load the files again when one of them changed. True when a new set is in force; TlsError keeps the old."""
        fingerprint = self._fingerprint()
        if fingerprint == self._seen:
            return False
        self._seen = fingerprint
        self.current = self._load()
        return True

    def _fingerprint(self) -> list[tuple[int, int]]:
        out = []
        for path in self._config.paths():
            try:
                status = path.stat()
                out.append((status.st_mtime_ns, status.st_ino))
            except OSError:
                out.append((0, 0))
        return out

    def _load(self) -> ssl.SSLContext:
        config = self._config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        try:
            context.load_cert_chain(config.cert, config.key, password=self._refuse_passphrase)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(
                f"certificate {config.cert} with key {config.key} cannot be loaded: {error}") from error
        if config.client_ca is not None:
            try:
                context.load_verify_locations(config.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise TlsError(f"client CA {config.client_ca} cannot be loaded: {error}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _refuse_passphrase(self) -> str:
        """OpenSSL would ask on the terminal, and the process would stand still until someone answers."""
        raise TlsError(f"key {self._config.key} is protected by a passphrase: store it without one, readable by the "
                       "proxy alone")


def peer_context(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """How another proxy is reached by TLS; without `ca` the system's authorities are trusted. TlsError."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(ca) if ca is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    if cert is not None:
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"certificate {cert} with key {key} cannot be loaded: {error}") from error
    return context
