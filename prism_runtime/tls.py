"""TLS of listeners and towards other proxies: 1.3 only, ALPN h2 unless said otherwise, reloaded when the files change.

A new set of files is validated as a whole before it replaces the old one; a bad set keeps the old one active.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prism_runtime.pem import PassphraseError, PemError, check_certificates, check_key
from prism_runtime.settings import setting

_SHOWN = {"cert": "certificate", "key": "key", "ca": "CA"}


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Paths of PEM files, read again when they change."""

    cert: Path = setting("Certificate chain (PEM).")
    key: Path = setting("Private key of the certificate (PEM), without passphrase.")
    client_ca: Path | None = setting("Require client certificates signed by this CA (PEM).", None)


class TlsError(ValueError):
    """The certificate, key or CA cannot be used; the message names the file, and its line where one is to blame.

    `field` is `cert`, `key` or `ca`.
    """

    def __init__(self, message: str, field: str = "cert") -> None:
        super().__init__(message)
        self.field = field


def check_files(cert: Path | None, key: Path | None, ca: Path | None) -> None:
    """TlsError for the first that cannot be used, or does not go with the others."""
    for field, path, check in (("cert", cert, check_certificates), ("key", key, check_key),
                               ("ca", ca, check_certificates)):
        if path is None:
            continue
        try:
            check(path)
        except PemError as error:
            raise TlsError(f"{_SHOWN[field]} {path} {_problem(error)}", field) from None
    if cert is not None:
        _show(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert, key)


def fingerprint(*files: Path | None) -> tuple[tuple[int, int], ...]:
    """Differs once a file has changed or was replaced."""
    found = []
    for path in files:
        try:
            status = path.stat() if path is not None else None
        except OSError:
            status = None
        found.append((status.st_mtime_ns, status.st_ino) if status is not None else (0, 0))
    return tuple(found)


class Reloaded(ABC):
    """The active context, and its reload. Connections that are there keep the one that they were made with."""

    def __init__(self, *paths: Path | None) -> None:
        self._paths = [path for path in paths if path is not None]
        self._seen = fingerprint(*self._paths)
        self.current = self._load()

    def reload_if_changed(self) -> bool:
        """Load the files again when one of them changed. True when a new set is active; TlsError keeps the old."""
        found = fingerprint(*self._paths)
        if found == self._seen:
            return False
        self._seen = found
        self.current = self._load()
        return True

    @abstractmethod
    def _load(self) -> ssl.SSLContext:
        """TlsError names the file that cannot be used."""


def server_context(protocols: Sequence[str] = ("h2",)) -> ssl.SSLContext:
    """The bare context of a listener, without a certificate, for protocols by their ALPN names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, protocols)
    return context


class TlsContexts(Reloaded):
    """Of a listener of `protocols`."""

    def __init__(self, config: TlsConfig, protocols: Sequence[str] = ("h2",)) -> None:
        self._config = config
        self._protocols = protocols
        super().__init__(config.cert, config.key, config.client_ca)

    def _load(self) -> ssl.SSLContext:
        config = self._config
        check_files(config.cert, config.key, None)
        context = server_context(self._protocols)
        _show(context, config.cert, config.key)
        if config.client_ca is not None:
            try:
                check_certificates(config.client_ca)
                context.load_verify_locations(config.client_ca)
            except (OSError, PemError) as error:
                raise TlsError(f"client CA {config.client_ca} {_problem(error)}", "ca") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class PeerContexts(Reloaded):
    """Of connections to other proxies; without `ca` the system's authorities are trusted."""

    def __init__(self, ca: Path | None, cert: Path | None, key: Path | None) -> None:
        self._ca, self._cert, self._key = ca, cert, key
        super().__init__(ca, cert, key)

    def _load(self) -> ssl.SSLContext:
        check_files(self._cert, self._key, self._ca)
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self._ca)
        except OSError as error:
            raise TlsError(f"CA {self._ca} {_problem(error)}", "ca") from error
        _harden(context)
        if self._cert is not None:
            _show(context, self._cert, self._key)
        return context


def _harden(context: ssl.SSLContext, protocols: Sequence[str] = ("h2",)) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(list(protocols))


def _show(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Load a certificate and its key. TlsError."""

    def refuse_passphrase() -> str:
        """OpenSSL would ask on the terminal, and the process would stand still until someone answers."""
        raise TlsError(f"key {key} is protected by a passphrase: store it without one, readable by this process alone",
                       "key")

    try:
        context.load_cert_chain(cert, key, password=refuse_passphrase)
    except OSError as error:  # an SSLError too
        if getattr(error, "reason", "") in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            raise TlsError(f"certificate {cert} with key {key} cannot be loaded: the key belongs to another one",
                           "key") from error
        raise TlsError(f"certificate {cert} with key {key} {_problem(error)}", "key") from error


def _problem(error: Exception) -> str:
    """What is wrong with a file, to follow its name."""
    if isinstance(error, PassphraseError):
        return str(error)
    return f"cannot be loaded: {getattr(error, 'reason', None) or getattr(error, 'strerror', None) or error}"
