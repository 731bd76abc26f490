"""The S3 API beside plain objects, by aiobotocore: buckets, tags, listings, uploads, lifecycle."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Iterator
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from prism_proxy.object_stores.cloud.errors import away, of_code, timed_out
from prism_proxy.object_stores.errors import AccessDenied, BucketAlreadyExists, ErrorCode, ObjectStoreError
from prism_proxy.object_stores.s3.settings import S3Settings


class S3Api:
    """One client, made at the first call."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._making = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self._client: Any = None
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        self._client = self._http = None
        await self._stack.aclose()

    async def call(self, method: str, **parameters: Any) -> Any:
        """One request of the API by the name that boto gives it. ObjectStoreError when it fails."""
        client = await self._made()
        with translated():
            return await getattr(client, method)(**parameters)

    async def presigned(self, method: str, seconds: int, **parameters: Any) -> str:
        client = await self._made()
        with translated():
            return str(await client.generate_presigned_url(method, Params=parameters, ExpiresIn=seconds))

    async def raw(self, verb: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
                  ) -> tuple[int, bytes]:
        """The status and the bytes of an answer, for documents that must not be parsed and written again."""
        await self._made()
        assert self._http is not None
        with translated():
            async with self._http.request(verb, url, data=body, headers=headers) as response:
                return response.status, await response.read()

    async def _made(self) -> Any:
        async with self._making:
            if self._client is None:
                settings = self._settings
                verify = str(settings.ca_cert) if settings.ca_cert is not None else None
                session = await asyncio.to_thread(_session)
                self._client = await self._stack.enter_async_context(session.create_client(
                    "s3", endpoint_url=settings.url if settings.endpoint else None, region_name=settings.region,
                    aws_access_key_id=settings.access_key or None, aws_secret_access_key=settings.secret_key or None,
                    aws_session_token=settings.session_token or None, verify=verify, config=_config(settings)))
                self._http = await self._stack.enter_async_context(aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=settings.timeout, connect=settings.connect_timeout),
                    connector=aiohttp.TCPConnector(ssl=_tls(settings))))
        return self._client


@functools.cache
def _session() -> Any:
    """With the description of the API, whose reading takes a tenth of a second: once a process, and in a thread."""
    session = get_session()
    loader = session.get_component("data_loader")
    for part in ("service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"):
        loader.load_service_model("s3", part)
    loader.load_data_with_path("endpoints")
    return session


def _config(settings: S3Settings) -> AioConfig:
    return AioConfig(
        connect_timeout=settings.connect_timeout, read_timeout=settings.timeout, signature_version="s3v4",
        retries={"total_max_attempts": settings.max_retries + 1, "mode": "standard"},
        max_pool_connections=max(10, settings.idle_connections),
        s3={"addressing_style": "virtual" if settings.virtual_hosts else "path"},
        request_checksum_calculation="when_required", response_checksum_validation="when_required")


def _tls(settings: S3Settings) -> Any:
    return ssl.create_default_context(cafile=str(settings.ca_cert)) if settings.ca_cert is not None else True


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors of boto and of its HTTP client as those of the contract."""
    try:
        yield
    except ClientError as error:
        raise _meaning(error) from error
    except (ConnectTimeoutError, ReadTimeoutError, TimeoutError) as error:
        raise timed_out() from error
    except NoCredentialsError as error:
        raise AccessDenied("there are no credentials for the object store: give access_key and secret_key") from error
    except ParamValidationError as error:
        raise ObjectStoreError("the store does not take this name", ErrorCode.INVALID_NAME) from error
    except (ConnectionError, HTTPClientError, aiohttp.ClientError, OSError) as error:
        raise away() from error
    except BotoCoreError as error:
        raise ObjectStoreError("the answer of the object store makes no sense", ErrorCode.UNAVAILABLE) from error


def _meaning(error: ClientError) -> ObjectStoreError:
    response: Any = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    status = str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    if code == "BucketAlreadyExists":
        return BucketAlreadyExists("somebody else has a bucket of this name: choose another one")
    return of_code(code, status) or ObjectStoreError("the object store refused the request", ErrorCode.FAILED)
