"""Who may tell a proxy what to serve: callers that hold the shared token, or a certificate, or are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prism_proxy._native.grpc.connection import is_local
from prism_proxy.errors import PrismError, StatusCode
from prism_runtime import tokens
from prism_runtime.lifecycle import StartError

LOCAL = "local"


def read_token(path: Path | None) -> str:
    """The token of a file; empty without one. StartError when the file cannot be read or is empty."""
    try:
        return tokens.read_token(path) if path is not None else ""
    except tokens.TokenError as error:
        raise StartError(f"--admin-token-file {error}") from error


class PeerAuthenticator:
    """With a token, only who shows it passes. Without one: verified certificates, and callers of this machine."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def principal(self, context: Any, claimed: str = "") -> str:
        """Who the caller is; what it claims to be counts only when nothing better is known. PrismError
        UNAUTHENTICATED."""
        certified: list[str] = [name.decode(errors="replace") for name in context.peer_identities() or ()]
        if self._token:
            metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
            if not tokens.same(tokens.shown(metadata), self._token):
                raise PrismError(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED",
                                 "send authorization: Bearer TOKEN, with the token of --admin-token-file")
            return certified[0] if certified else claimed or "token"
        if certified:
            return certified[0]
        if not is_local(context.peer()):
            raise PrismError(StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED",
                             "the proxy has no token: callers from other machines are not believed; give it "
                             "--admin-token-file, or a client CA")
        return claimed or LOCAL

