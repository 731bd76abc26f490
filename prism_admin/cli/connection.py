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

CONNECT_SECONDS = 5.0
CALL_SECONDS = 30.0


@dataclass(slots=True)
class Endpoint:
    """Where the admin is, and how to show who we are; set by the flags before the command."""

    address: str = "localhost:8981"
    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = field(default_factory=lambda: os.environ.get("USER", ""))

    def call(self, make: Callable[[Any, dict[str, Any]], Any]) -> Any:
        """`make(stub, options)` does the call. Ends the command with exit code 1 when it fails."""
        try:
            with self._channel() as channel:
                grpc.channel_ready_future(channel).result(CONNECT_SECONDS)
                stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
                return make(stub, {"timeout": CALL_SECONDS, "metadata": self._metadata()})
        except grpc.FutureTimeoutError:
            raise fail(f"no admin answers at {self.address}: start one with 'prism-admin serve', or name another with "
                       "--endpoint") from None
        except grpc.RpcError as error:
            raise fail(f"{error.code().name}: {error.details()}") from None
        except OSError as error:
            raise fail(str(error)) from None

    def _channel(self) -> grpc.Channel:
        if self.ca is None:
            return grpc.insecure_channel(self.address)
        from prism_runtime.tls import TlsError, check_files

        try:
            check_files(self.certificate, self.key, self.ca)
        except TlsError as error:
            raise fail(f"--tls-{error.field}: {error}") from None
        key = self.key.read_bytes() if self.key is not None else None
        certificate = self.certificate.read_bytes() if self.certificate is not None else None
        return grpc.secure_channel(
            self.address, grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate))

    def _metadata(self) -> list[tuple[str, str]]:
        metadata = [("x-admin-user", self.user)] if self.user else []
        return [*metadata, *bearer(self.token)]


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
