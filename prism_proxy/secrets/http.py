"""JSON over HTTP to key services, and which of its failures means what.

A reply is read up to a bound and within a time limit. A redirect is not followed: a key service that moved is
configured anew, and a token never goes to a host that nobody named.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from prism_proxy.secrets.contract import SecretDeniedError, SecretMissingError, SecretUnavailableError
from prism_proxy.secrets.key_document import MAX_BYTES

SECONDS = 5.0  # for one request; a fetch with a login before it stays within the key store's 10 s


class JsonHttp:
    """Requests to one address. `ca_file` replaces the system's certificate authorities."""

    def __init__(self, address: str, ca_file: Path | None = None) -> None:
        self.address = address.rstrip("/")
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, path: str, *, headers: Mapping[str, str], body: Any = None) -> dict[str, Any]:
        """The reply to one request. SecretMissingError (404), SecretDeniedError (400, 401, 403),
        SecretUnavailableError (anything else but 2xx, and no reply in time). No text of the reply is quoted."""
        where = f"{method} {self.address}{path}"
        try:
            session = self._session = self._session or self._open()
            async with session.request(method, self.address + path, headers=dict(headers), json=body,
                                       allow_redirects=False) as reply:
                data = await reply.content.read(2 * MAX_BYTES + 1)
                status = reply.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SecretUnavailableError(f"{where}: {str(error) or type(error).__name__}") from None
        if status == 404:
            raise SecretMissingError(f"{where} answered 404")
        if status in (400, 401, 403):
            raise SecretDeniedError(f"{where} answered {status}")
        if not 200 <= status < 300:
            raise SecretUnavailableError(f"{where} answered {status}")
        try:
            found = json.loads(data) if data else {}
        except (ValueError, RecursionError):
            found = None
        if len(data) > 2 * MAX_BYTES or not isinstance(found, dict):
            raise SecretUnavailableError(f"{where} answered with no JSON object of at most {2 * MAX_BYTES} bytes")
        return found

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        context: ssl.SSLContext | bool = True
        if self._ca_file is not None:
            context = ssl.create_default_context(cafile=str(self._ca_file))
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS),
                                     connector=aiohttp.TCPConnector(ssl=context))
