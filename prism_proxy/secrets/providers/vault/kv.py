"""What lies in the KV engine: the field `key` of the secret at a path, or all fields of credentials."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from prism_proxy.secrets.contract import SecretMissingError
from prism_proxy.secrets.providers.vault.session import VaultSession

if TYPE_CHECKING:
    from prism_proxy.secrets.providers.vault.options import VaultOptions


class VaultKvProvider:
    """A deleted version of a secret is missing."""

    type = "vault"

    def __init__(self, session: VaultSession, options: VaultOptions) -> None:
        self._session = session
        self._field = options.field
        mount = options.mount or "secret"
        self._prefix = f"{mount}/data" if options.kv_version == 2 else mount
        self._nested = options.kv_version == 2

    async def fetch(self, path: str) -> bytes:
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise SecretMissingError(f"{path!r} is no path of a secret")
        reply = await self._session.call("GET", f"{self._prefix}/{quote(path)}")
        data: Any = reply.get("data")
        if self._nested and isinstance(data, dict):
            data = data.get("data")
        if isinstance(data, dict) and self._field not in data and "password" in data:
            return json.dumps(data).encode()  # credentials, in fields of their own
        value = data.get(self._field) if isinstance(data, dict) else None
        if not isinstance(value, str) or not value:
            raise SecretMissingError(f"the secret {path!r} has no text in its field {self._field!r}")
        return value.encode()

    async def close(self) -> None:
        await self._session.close()
