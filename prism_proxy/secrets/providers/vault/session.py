"""A login at Vault, and requests with its token.

    logged out --login--> logged in --half of the lease--> renewed (or logged in again when that is refused)
                            |--403--> one new login, then denied
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prism_proxy.secrets.contract import SecretDeniedError, SecretMissingError, SecretUnavailableError
from prism_proxy.secrets.http import JsonHttp

if TYPE_CHECKING:
    from prism_proxy.secrets.providers.vault.options import VaultOptions


class VaultSession:
    """`clock` is monotonic seconds."""

    def __init__(self, options: VaultOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._http = JsonHttp(options.address, options.ca_file)
        self._clock = clock
        self._token = ""
        self._renew_at = float("inf")
        self._login = asyncio.Lock()

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request below /v1/. SecretError."""
        used = await self._valid_token()
        try:
            return await self._send(method, path, used, body)
        except SecretDeniedError:
            # The token may have been revoked, or its file replaced: once, a new login decides.
            async with self._login:
                if self._token == used:
                    await self._log_in()
            if self._token == used:
                raise
            return await self._send(method, path, self._token, body)

    async def close(self) -> None:
        self._token = ""
        await self._http.close()

    async def _valid_token(self) -> str:
        async with self._login:
            if not self._token:
                await self._log_in()
            elif self._clock() >= self._renew_at:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        try:
            self._accept(await self._send("POST", "auth/token/renew-self", self._token, {}), self._token)
        except (SecretDeniedError, SecretMissingError):
            await self._log_in()

    async def _log_in(self) -> None:
        options = self._options
        mount = options.auth_mount or options.auth
        if options.auth == "token":
            self._token, self._renew_at = await asyncio.to_thread(self._given_token), float("inf")
            return
        if options.auth == "approle":
            body = {"role_id": options.role, "secret_id": options.secret_id}
        else:
            body = {"role": options.role, "jwt": await asyncio.to_thread(_text, options.jwt_path)}
        self._accept(await self._send("POST", f"auth/{mount}/login", "", body), "")

    def _accept(self, reply: dict[str, Any], fallback: str) -> None:
        auth = reply.get("auth")
        token = auth.get("client_token", fallback) if isinstance(auth, dict) else fallback
        if not isinstance(auth, dict) or not token:
            raise SecretUnavailableError(f"{self._options.address} answered a login without a token")
        lease = float(auth.get("lease_duration") or 0)
        self._token = str(token)
        self._renew_at = self._clock() + lease / 2 if lease else float("inf")

    def _given_token(self) -> str:
        return _text(self._options.token_path) if self._options.token_path else self._options.token

    async def _send(self, method: str, path: str, token: str, body: Any) -> dict[str, Any]:
        headers = {"X-Vault-Request": "true"}
        if token:
            headers["X-Vault-Token"] = token
        if self._options.namespace:
            headers["X-Vault-Namespace"] = self._options.namespace
        return await self._http.call(method, f"/v1/{path}", headers=headers, body=body)


def _text(path: Any) -> str:
    try:
        return str(path.read_text().strip())
    except OSError as error:
        raise SecretDeniedError(f"{path} cannot be read: {error.strerror}") from None
