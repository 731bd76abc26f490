"""Data keys wrapped by the Key Management Service. Its key never leaves the service."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from prism_proxy.secrets.contract import SecretMissingError
from prism_proxy.secrets.providers.aws.client import AwsClient

if TYPE_CHECKING:
    from prism_proxy.secrets.providers.aws.options import AwsOptions

PATH = "prism-path"


class KmsWrapper:
    """The path of a key is part of the encryption context, which the service writes to its own audit log."""

    def __init__(self, client: AwsClient, options: AwsOptions) -> None:
        self._client = client
        self._key_id = options.key_id
        self._context = dict(options.encryption_context)

    async def wrap(self, data_key: bytes, path: str) -> str:
        reply = await self._client.call("encrypt", KeyId=self._key_id, Plaintext=data_key,
                                        EncryptionContext={**self._context, PATH: path})
        return b64encode(reply["CiphertextBlob"]).decode()

    async def unwrap(self, wrapped: str, path: str) -> bytes:
        try:
            blob = b64decode(wrapped, validate=True)
        except ValueError:
            raise SecretMissingError(f"{path!r} is damaged") from None
        reply = await self._client.call("decrypt", KeyId=self._key_id, CiphertextBlob=blob,
                                        EncryptionContext={**self._context, PATH: path})
        return bytes(reply["Plaintext"])

    async def close(self) -> None:
        await self._client.close()
