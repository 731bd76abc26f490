"""An object store by obstore alone: objects, ranges, listings. What S3 alone can do is left to its own driver, and
refused here."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterable, Awaitable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import obstore

from prism_proxy.object_stores import transfer
from prism_proxy.object_stores.cloud import downloads
from prism_proxy.object_stores.cloud.budget import BufferBudget
from prism_proxy.object_stores.cloud.errors import ERRORS, meaning
from prism_proxy.object_stores.cloud.settings import CloudSettings
from prism_proxy.object_stores.cloud.uploads import CloudUpload
from prism_proxy.object_stores.contract import (
    ALL,
    NO_OPTIONS,
    ByteRange,
    Chunk,
    LifecycleRule,
    Method,
    ObjectInfo,
    Page,
    PutOptions,
    PutResult,
    UploadInfo,
)
from prism_proxy.object_stores.errors import ErrorCode, ObjectNotFound, ObjectStoreError

ResultT = TypeVar("ResultT")


class CloudStore:
    """The base of drivers; `client(bucket)` makes obstore's store of a bucket."""

    name = "cloud"

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._budget = BufferBudget(settings.buffer_bytes)
        self._clients: dict[str, Any] = {}

    def client(self, bucket: str) -> Any:
        raise NotImplementedError

    def of(self, bucket: str) -> Any:
        """obstore's store of a bucket, with its connections. Buckets are those of configurations: few."""
        if bucket not in self._clients:
            self._clients[bucket] = self.client(bucket)
        return self._clients[bucket]

    async def open(self) -> None:
        """Connections are made when they are needed."""

    async def close(self) -> None:
        self._clients.clear()

    # --- objects ----------------------------------------------------------------------------------------------------

    async def put(self, bucket: str, key: str, data: Chunk, options: PutOptions = NO_OPTIONS, *,
                  sha256: bytes | None = None) -> PutResult:
        if sha256 is not None and hashlib.sha256(data).digest() != sha256:
            raise ObjectStoreError("the bytes do not have the checksum that came with them", ErrorCode.CORRUPT)
        result = await self._done(obstore.put_async(
            self.of(bucket), key, bytes(data), use_multipart=False, **_put_options(options)))
        return PutResult((result["e_tag"] or "").strip('"'), len(data), result["version"] or "")

    async def put_stream(self, bucket: str, key: str, chunks: AsyncIterable[Chunk],
                         options: PutOptions = NO_OPTIONS) -> PutResult:
        return await transfer.feed(await self.begin_upload(bucket, key, options), chunks)

    async def begin_upload(self, bucket: str, key: str, options: PutOptions = NO_OPTIONS) -> CloudUpload:
        put = functools.partial(_put, self.of(bucket), key, _put_options(options))
        return CloudUpload(put, self._settings.part_bytes, self._budget)

    async def get(self, bucket: str, key: str, byte_range: ByteRange = ALL) -> tuple[ObjectInfo, bytes]:
        download = await self.get_stream(bucket, key, byte_range)
        return download.info, await transfer.collect(download)

    async def get_stream(self, bucket: str, key: str, byte_range: ByteRange = ALL, *,
                         etag: str | None = None) -> transfer.CountedDownload:
        return await downloads.open_download(self.of(bucket), key, byte_range, etag)

    async def delete(self, bucket: str, key: str) -> None:
        try:
            await self._done(obstore.delete_async(self.of(bucket), key))
        except ObjectNotFound:
            return

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, ObjectStoreError]:
        failed: dict[str, ObjectStoreError] = {}
        for key in keys:
            try:
                await self.delete(bucket, key)
            except ObjectStoreError as error:
                if error.code is ErrorCode.BUCKET_NOT_FOUND:
                    raise
                failed[key] = error
        return failed

    async def exists(self, bucket: str, key: str) -> bool:
        try:
            await self._done(obstore.head_async(self.of(bucket), key))
        except ObjectNotFound:
            return False
        return True

    async def get_metadata(self, bucket: str, key: str) -> ObjectInfo:
        found = await self._done(obstore.get_async(self.of(bucket), key, options={"head": True}))
        return downloads.info(found.meta, dict(found.attributes))

    async def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> PutResult:
        """Within a bucket by the store itself, between buckets through this process, in parts."""
        if source_bucket == bucket:
            await self._done(obstore.copy_async(self.of(bucket), source_key, key))
            info = await self.get_metadata(bucket, key)
            return PutResult(info.etag, info.size)
        async with await self.get_stream(source_bucket, source_key) as download:
            info = download.info
            return await self.put_stream(bucket, key, download, PutOptions(
                info.content_type, info.content_encoding, info.metadata))

    async def list(self, bucket: str, prefix: str = "", *, limit: int = 1000, token: str | None = None,
                   after: str | None = None) -> Page:
        """obstore's prefixes are whole parts of keys; the rest is compared here."""
        whole = prefix.rpartition("/")[0]
        found: list[ObjectInfo] = []
        stream = obstore.list(self.of(bucket), whole or None, offset=token or after, chunk_size=min(limit + 1, 1000))
        while len(found) <= limit:
            try:
                chunk = await self._done(stream.__anext__())
            except StopAsyncIteration:
                return Page(found[:limit])
            found += [downloads.info(meta, {}) for meta in chunk if meta["path"].startswith(prefix)]
        return Page(found[:limit], found[limit - 1].key)

    async def presign(self, method: Method, bucket: str, key: str, seconds: int) -> str:
        return str(await self._done(obstore.sign_async(self.of(bucket), method, key, timedelta(seconds=seconds))))

    # --- what obstore cannot do -------------------------------------------------------------------------------------

    async def get_tags(self, bucket: str, key: str) -> Mapping[str, str]:
        raise self._unsupported("tags")

    async def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        raise self._unsupported("tags")

    async def set_ttl(self, bucket: str, key: str, seconds: float) -> None:
        raise self._unsupported("tags")

    async def create_bucket(self, bucket: str) -> bool:
        if await self.bucket_exists(bucket):
            return False
        raise self._unsupported("the creation of buckets: create it with the tools of the cloud")

    async def delete_bucket(self, bucket: str) -> None:
        raise self._unsupported("the deletion of buckets")

    async def bucket_exists(self, bucket: str) -> bool:
        try:
            await self.list(bucket, limit=1)
        except (ObjectNotFound, ObjectStoreError) as error:
            if error.code in (ErrorCode.BUCKET_NOT_FOUND, ErrorCode.OBJECT_NOT_FOUND):
                return False
            raise
        return True

    async def list_uploads(self, bucket: str, prefix: str = "") -> Sequence[UploadInfo]:
        raise self._unsupported("the listing of unfinished uploads")

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        raise self._unsupported("the listing of unfinished uploads")

    async def lifecycle_rules(self, bucket: str) -> Sequence[LifecycleRule]:
        raise self._unsupported("lifecycle rules")

    async def put_lifecycle_rule(self, bucket: str, rule: LifecycleRule) -> None:
        raise self._unsupported("lifecycle rules")

    async def remove_lifecycle_rule(self, bucket: str, rule_id: str) -> None:
        raise self._unsupported("lifecycle rules")

    def _unsupported(self, what: str) -> ObjectStoreError:
        return ObjectStoreError(f"the driver {self.name} does not have {what}", ErrorCode.UNSUPPORTED)

    @staticmethod
    async def _done(request: Awaitable[ResultT]) -> ResultT:
        try:
            return await request
        except ERRORS as error:
            raise meaning(error) or error from error


async def _put(store: Any, key: str, options: dict[str, Any], source: Any, **more: Any) -> Any:
    return await obstore.put_async(store, key, source, **options, **more)


def _put_options(options: PutOptions) -> dict[str, Any]:
    attributes: dict[str, str] = dict(options.metadata)
    if options.content_type:
        attributes["Content-Type"] = options.content_type
    if options.content_encoding:
        attributes["Content-Encoding"] = options.content_encoding
    found: dict[str, Any] = {}
    if attributes:
        found["attributes"] = attributes
    if options.tags:
        found["tags"] = dict(options.tags)
    return found
