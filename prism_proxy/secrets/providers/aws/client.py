"""Calls to one AWS service, and which of its errors means what. aiobotocore is loaded by the first call."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from prism_proxy.secrets.contract import SecretDeniedError, SecretError, SecretMissingError, SecretUnavailableError
from prism_proxy.secrets.http import SECONDS

if TYPE_CHECKING:
    from prism_proxy.secrets.providers.aws.options import AwsOptions

MISSING = frozenset({"ResourceNotFoundException", "NotFoundException", "InvalidCiphertextException",
                     "KMSInvalidStateException", "InvalidRequestException"})
DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnrecognizedClientException", "DisabledException",
                    "InvalidSignatureException", "ExpiredTokenException", "IncorrectKeyException"})


class AwsClient:
    """One client, opened by the first call."""

    def __init__(self, options: AwsOptions) -> None:
        self._options = options
        self._stack: AsyncExitStack | None = None
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One call. SecretMissingError, SecretDeniedError, SecretUnavailableError; none quotes the arguments."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            client = await self._open()
            found: dict[str, Any] = await getattr(client, operation)(**arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            kind: type[SecretError] = SecretUnavailableError
            if code in MISSING:
                kind = SecretMissingError
            elif code in DENIED:
                kind = SecretDeniedError
            raise kind(f"AWS {self._options.service} in {self._options.region} answered {operation} with {code}") \
                from None
        except NoCredentialsError:
            raise SecretDeniedError("there are no AWS credentials in the environment or its files") from None
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise SecretUnavailableError(f"AWS {self._options.service} in {self._options.region}: {error}") from None
        return found

    async def close(self) -> None:
        if self._stack is not None:
            await self._stack.aclose()
            self._stack = self._client = None

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._stack = AsyncExitStack()
                try:
                    self._client = await self._make(self._stack)
                except BaseException:
                    await self._stack.aclose()
                    raise
            return self._client

    async def _make(self, stack: AsyncExitStack) -> Any:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        session = get_session()
        settings: dict[str, Any] = {
            "region_name": self._options.region, "endpoint_url": self._options.endpoint or None,
            "config": AioConfig(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 2})}
        if self._options.role_arn:
            settings |= await self._assumed(session, settings)
        return await stack.enter_async_context(session.create_client(self._options.service, **settings))

    async def _assumed(self, session: Any, settings: dict[str, Any]) -> dict[str, str]:
        async with session.create_client("sts", **settings) as sts:
            given = (await sts.assume_role(RoleArn=self._options.role_arn, RoleSessionName="prism"))["Credentials"]
        return {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"],
                "aws_session_token": given["SessionToken"]}
