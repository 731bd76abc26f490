"""Data keys wrapped by the transit engine. Its key never leaves the server."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

from prism_proxy.secrets.contract import SecretUnavailableError
from prism_proxy.secrets.providers.vault.session import VaultSession

if TYPE_CHECKING:
    from prism_proxy.secrets.providers.vault.options import VaultOptions


class VaultTransit:
    """The path of a key is the associated data of its wrapping."""

    def __init__(self, session: VaultSession, options: VaultOptions) -> None:
        self._session = session
        self._mount = options.mount or "transit"
        self._key = quote(options.key_name, safe="")

    async def wrap(self, data_key: bytes, path: str) -> str:
        return await self._call("encrypt", "ciphertext", path, plaintext=b64encode(data_key).decode())

    async def unwrap(self, wrapped: str, path: str) -> bytes:
        return b64decode(await self._call("decrypt", "plaintext", path, ciphertext=wrapped))

    async def close(self) -> None:
        await self._session.close()

    async def _call(self, operation: str, field: str, path: str, **body: str) -> str:
        body["associated_data"] = b64encode(path.encode()).decode()
        reply = await self._session.call("POST", f"{self._mount}/{operation}/{self._key}", body)
        data = reply.get("data")
        if not isinstance(data, dict) or not isinstance(data.get(field), str):
            raise SecretUnavailableError(f"the transit engine answered {operation} without {field}")
        return str(data[field])
