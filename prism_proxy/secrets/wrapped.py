"""Keys that lie in files, encrypted by a key service: a provider that unwraps them, and what writes them.

A file holds the key document under a data key that was drawn for it, and the data key as the service wrapped it. The
key of the service may be rotated at any time: the service goes on unwrapping, and nothing that was encrypted changes.
The path is bound as associated data, so a file under another name does not open.
"""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64decode, b64encode
from typing import Protocol

from prism_proxy.secrets.contract import SecretMissingError
from prism_proxy.secrets.providers.file import FileProvider

FORMAT = 1
IV_BYTES = 12


class KeyWrapper(Protocol):
    """The key service. `path` is bound to what is wrapped where the service offers it. SecretError."""

    async def wrap(self, data_key: bytes, path: str) -> str: ...

    async def unwrap(self, wrapped: str, path: str) -> bytes: ...

    async def close(self) -> None: ...


class WrappedProvider:
    """`type` is that of the service."""

    def __init__(self, kind: str, files: FileProvider, wrapper: KeyWrapper) -> None:
        self.type = kind
        self.files = files
        self.wrapper = wrapper

    async def fetch(self, path: str) -> bytes:
        """Public parts lie there in the clear. SecretError."""
        data = await asyncio.to_thread(self.files.read, path)
        return data if path.endswith(".pub") else await unwrap(data, path, self.wrapper)

    async def close(self) -> None:
        await self.wrapper.close()


async def wrap(document: bytes, path: str, wrapper: KeyWrapper) -> bytes:
    """The file of a key document. SecretError."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    data_key, iv = os.urandom(32), os.urandom(IV_BYTES)
    sealed = AESGCM(data_key).encrypt(iv, document, path.encode())
    made = {"prism_wrapped": FORMAT, "data_key": await wrapper.wrap(data_key, path), "iv": b64encode(iv).decode(),
            "document": b64encode(sealed).decode()}
    return (json.dumps(made, indent=1) + "\n").encode()


async def unwrap(data: bytes, path: str, wrapper: KeyWrapper) -> bytes:
    """The key document of a file. SecretError; SecretMissingError for a file that is none, or is damaged."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        found = json.loads(data)
        if found["prism_wrapped"] != FORMAT:
            raise SecretMissingError(f"{path!r} has format {found['prism_wrapped']!r}, and this program reads {FORMAT}")
        wrapped, iv = str(found["data_key"]), b64decode(found["iv"], validate=True)
        sealed = b64decode(found["document"], validate=True)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise SecretMissingError(f"{path!r} is no wrapped key: `prism-proxy keys generate` makes one") from None
    data_key = await wrapper.unwrap(wrapped, path)
    try:
        return AESGCM(data_key).decrypt(iv, sealed, path.encode())
    except (InvalidTag, ValueError):
        raise SecretMissingError(f"{path!r} does not open: it is damaged, or was made under another name") from None
