"""One call to a running admin, and its errors as sentences."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import typer

from prism.admin.v1 import admin_pb2_grpc
from prism_runtime.tokens import TokenError, bearer, read_token

CALL_SECONDS = 30.0
_OPTIONS = (("grpc.min_reconnect_backoff_ms", 5_000),)  # which is how long a connection may take, too


@dataclass(slots=True)
class Endpoint:
    """Where the admin is, and how to show who we are; set by the flags before the command."""

    address: str = "localhost:8981"
    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = field(default_factory=lambda: os.environ.get("USER", ""))

    def call(self, make: Callable[[Any, dict[str, Any]], Any], explain: Callable[[str], str] = str) -> Any:
        """`make(stub, options)` does the call. Ends the command with exit code 1 when it fails, with what `explain`
        makes of the admin's words."""
        try:
            with self.channel() as channel:
                stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
                return make(stub, {"timeout": CALL_SECONDS, "metadata": self._metadata()})
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and not _from_admin(error):
                raise fail(f"no admin answers at {self.address}: start one with 'prism-admin serve', or name another "
                           f"with --endpoint ({' '.join(str(error.details()).split())})") from None
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise fail(f"{self.address} is no admin, or one of an older version: a proxy's address, perhaps; name "
                           "that of 'prism-admin serve' with --endpoint") from None
            raise fail(f"{error.code().name}: {explain(error.details() or '')}") from None
        except OSError as error:
            raise fail(str(error)) from None

    def channel(self, address: str = "") -> grpc.Channel:
        """To the admin, or with the same certificates to another address."""
        address = address or self.address
        if self.ca is None:
            return grpc.insecure_channel(address, options=_OPTIONS)
        from prism_runtime.tls import TlsError, check_files

        try:
            check_files(self.certificate, self.key, self.ca)
        except TlsError as error:
            raise fail(f"--tls-{error.field}: {error}") from None
        key = self.key.read_bytes() if self.key is not None else None
        certificate = self.certificate.read_bytes() if self.certificate is not None else None
        return grpc.secure_channel(
            address, grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate), options=_OPTIONS)

    def _metadata(self) -> list[tuple[str, str]]:
        metadata = [("x-admin-user", self.user)] if self.user else []
        return [*metadata, *bearer(self.token)]


def _from_admin(error: Any) -> bool:
    """Whether the status was sent, with its reason, rather than made here."""
    return any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())


def misused(message: str) -> typer.Exit:
    """Say what is wrong with the command line; raise what this returns."""
    typer.echo(f"prism-admin: {message}", err=True)
    return typer.Exit(2)


def fail(message: str) -> typer.Exit:
    """Say what went wrong; raise what this returns."""
    typer.echo(f"prism-admin: {message}", err=True)
    return typer.Exit(1)


def token_of(path: Path | None) -> str:
    """The token in the file of --token-file; empty without one."""
    try:
        return read_token(path) if path is not None else ""
    except TokenError as error:
        raise fail(f"--token-file {error}") from None
