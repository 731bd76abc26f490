"""The reference object store. What it does is what the contract says; what it costs is memory."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prism_proxy.object_stores import transfer
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
from prism_proxy.object_stores.errors import (
    BucketNotFound,
    ErrorCode,
    ObjectNotFound,
    ObjectStoreError,
    QuotaExceeded,
)
from prism_proxy.object_stores.memory.settings import MemoryObjectsSettings

CHUNK_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Object:
    data: bytes
    info: ObjectInfo
    tags: Mapping[str, str]


@dataclass(slots=True)
class _Bucket:
    objects: dict[str, _Object] = field(default_factory=dict)
    uploads: dict[str, MemoryUpload] = field(default_factory=dict)
    rules: dict[str, LifecycleRule] = field(default_factory=dict)


class MemoryUpload:
    """An `Upload`; its bytes count against the capacity from the start."""

    def __init__(self, store: MemoryStore, bucket: str, key: str, options: PutOptions) -> None:
        self.upload_id = uuid.uuid4().hex
        self.key = key
        self.initiated = time.time()
        self.size = 0
        self._store, self._bucket, self._options = store, bucket, options
        self._chunks: list[bytes] = []

    async def write(self, chunk: Chunk) -> None:
        self._store.reserve(len(chunk))
        self._chunks.append(bytes(chunk))
        self.size += len(chunk)
        await asyncio.sleep(0)  # a stream of it leaves the loop to others

    async def complete(self) -> PutResult:
        if not self._store.forget(self._bucket, self.upload_id):
            raise ObjectStoreError("the upload was aborted", ErrorCode.UPLOAD_NOT_FOUND)
        data = b"".join(self._chunks)
        self.release()
        return self._store.store(self._bucket, self.key, data, self._options)

    async def abort(self) -> None:
        if self._store.forget(self._bucket, self.upload_id):
            self.release()

    def release(self) -> None:
        """Give back what it had reserved."""
        self._store.reserve(-self.size)
        self._chunks, self.size = [], 0


class MemoryStore:
    """An `ObjectStore`."""

    name = "memory"

    def __init__(self, settings: MemoryObjectsSettings | None = None) -> None:
        self._capacity = (settings or MemoryObjectsSettings()).capacity
        self._used = 0
        self._buckets: dict[str, _Bucket] = {}

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        self._buckets.clear()
        self._used = 0

    # --- objects ----------------------------------------------------------------------------------------------------

    async def put(self, bucket: str, key: str, data: Chunk, options: PutOptions = NO_OPTIONS, *,
                  sha256: bytes | None = None) -> PutResult:
        if sha256 is not None and hashlib.sha256(data).digest() != sha256:
            raise ObjectStoreError("the bytes do not have the checksum that came with them", ErrorCode.CORRUPT)
        return self.store(bucket, key, bytes(data), options)

    async def put_stream(self, bucket: str, key: str, chunks: AsyncIterable[Chunk],
                         options: PutOptions = NO_OPTIONS) -> PutResult:
        return await transfer.feed(await self.begin_upload(bucket, key, options), chunks)

    async def begin_upload(self, bucket: str, key: str, options: PutOptions = NO_OPTIONS) -> MemoryUpload:
        upload = MemoryUpload(self, bucket, key, options)
        self._bucket(bucket).uploads[upload.upload_id] = upload
        return upload

    async def get(self, bucket: str, key: str, byte_range: ByteRange = ALL) -> tuple[ObjectInfo, bytes]:
        found = self._object(bucket, key)
        start, end = transfer.bounds(byte_range, found.info.size)
        return found.info, found.data[start:end]

    async def get_stream(self, bucket: str, key: str, byte_range: ByteRange = ALL, *,
                         etag: str | None = None) -> transfer.CountedDownload:
        found = self._object(bucket, key)
        if etag is not None and etag != found.info.etag:
            raise ObjectStoreError("the object is another one by now", ErrorCode.CHANGED)
        start, end = transfer.bounds(byte_range, found.info.size)
        return transfer.CountedDownload(found.info, start, end, _chunks(found.data, start, end))

    async def delete(self, bucket: str, key: str) -> None:
        self._drop(self._bucket(bucket).objects.pop(key, None))

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, ObjectStoreError]:
        for key in keys:
            await self.delete(bucket, key)
        return {}

    async def exists(self, bucket: str, key: str) -> bool:
        return key in self._bucket(bucket).objects

    async def get_metadata(self, bucket: str, key: str) -> ObjectInfo:
        found = self._object(bucket, key)
        return replace(found.info, expires_at=transfer.expiry(found.tags))

    async def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> PutResult:
        found = self._object(source_bucket, source_key)
        options = PutOptions(found.info.content_type, found.info.content_encoding, found.info.metadata, found.tags)
        return self.store(bucket, key, found.data, options)

    async def list(self, bucket: str, prefix: str = "", *, limit: int = 1000, token: str | None = None,
                   after: str | None = None) -> Page:
        objects, start = self._bucket(bucket).objects, (token or after or "").encode()
        keys = sorted((key for key in objects if key.startswith(prefix) and key.encode() > start), key=str.encode)
        page = [objects[key].info for key in keys[:limit]]
        return Page(page, page[-1].key if len(keys) > limit else None)

    # --- tags and life ----------------------------------------------------------------------------------------------

    async def get_tags(self, bucket: str, key: str) -> Mapping[str, str]:
        return dict(self._object(bucket, key).tags)

    async def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        self._object(bucket, key).tags = dict(tags)

    async def set_ttl(self, bucket: str, key: str, seconds: float) -> None:
        found = self._object(bucket, key)
        found.tags = transfer.with_ttl(found.tags, seconds)

    # --- buckets ----------------------------------------------------------------------------------------------------

    async def create_bucket(self, bucket: str) -> bool:
        new = bucket not in self._buckets
        self._buckets.setdefault(bucket, _Bucket())
        return new

    async def delete_bucket(self, bucket: str) -> None:
        gone = self._buckets.pop(bucket, None)
        if gone is not None:
            for found in gone.objects.values():
                self._drop(found)
            for upload in gone.uploads.values():
                upload.release()

    async def bucket_exists(self, bucket: str) -> bool:
        return bucket in self._buckets

    async def list_uploads(self, bucket: str, prefix: str = "") -> Sequence[UploadInfo]:
        return [UploadInfo(upload.key, upload.upload_id, upload.initiated)
                for upload in self._bucket(bucket).uploads.values() if upload.key.startswith(prefix)]

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        upload = self._bucket(bucket).uploads.get(upload_id)
        if upload is not None and upload.key == key:
            await upload.abort()

    async def lifecycle_rules(self, bucket: str) -> Sequence[LifecycleRule]:
        return list(self._bucket(bucket).rules.values())

    async def put_lifecycle_rule(self, bucket: str, rule: LifecycleRule) -> None:
        self._bucket(bucket).rules[rule.rule_id] = rule

    async def remove_lifecycle_rule(self, bucket: str, rule_id: str) -> None:
        self._bucket(bucket).rules.pop(rule_id, None)

    async def presign(self, method: Method, bucket: str, key: str, seconds: int) -> str:
        raise ObjectStoreError("objects in memory have no URL: use an s3, gcs or azure store", ErrorCode.UNSUPPORTED)

    # --- for uploads ------------------------------------------------------------------------------------------------

    def reserve(self, size: int) -> None:
        """QUOTA_EXCEEDED when so many bytes more would not fit."""
        if size > 0 and self._used + size > self._capacity:
            raise QuotaExceeded("the object store in memory is full: delete objects or raise its capacity")
        self._used += size

    def forget(self, bucket: str, upload_id: str) -> bool:
        """Whether there was such an upload; there is none any more."""
        known = self._buckets.get(bucket)
        return known is not None and known.uploads.pop(upload_id, None) is not None

    def store(self, bucket: str, key: str, data: bytes, options: PutOptions) -> PutResult:
        objects = self._bucket(bucket).objects
        before = objects.get(key)
        self.reserve(len(data) - (len(before.data) if before is not None else 0))
        info = ObjectInfo(key, len(data), uuid.uuid4().hex, time.time(), options.content_type,
                          options.content_encoding, dict(options.metadata))
        objects[key] = _Object(data, info, dict(options.tags))
        return PutResult(info.etag, info.size)

    def _drop(self, found: _Object | None) -> None:
        if found is not None:
            self._used -= len(found.data)

    def _bucket(self, bucket: str) -> _Bucket:
        found = self._buckets.get(bucket)
        if found is None:
            raise BucketNotFound("there is no such bucket: create it")
        return found

    def _object(self, bucket: str, key: str) -> _Object:
        found = self._bucket(bucket).objects.get(key)
        if found is None:
            raise ObjectNotFound("there is no such object")
        return found


async def _chunks(data: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    for position in range(start, end, CHUNK_BYTES):
        yield data[position:min(end, position + CHUNK_BYTES)]
        await asyncio.sleep(0)
