"""Keys that lie in Secrets Manager: the path is the name or the ARN of a secret."""

from __future__ import annotations

from prism_proxy.secrets.contract import SecretMissingError
from prism_proxy.secrets.providers.aws.client import AwsClient


class SecretsManagerProvider:
    """The current version of a secret, text or binary."""

    type = "aws"

    def __init__(self, client: AwsClient) -> None:
        self._client = client

    async def fetch(self, path: str) -> bytes:
        reply = await self._client.call("get_secret_value", SecretId=path)
        text, binary = reply.get("SecretString"), reply.get("SecretBinary")
        if not text and not binary:
            raise SecretMissingError(f"the secret {path!r} is empty")
        return str(text).encode() if text else bytes(binary or b"")

    async def close(self) -> None:
        await self._client.close()
