"""An object store in a folder. Files change by rename only, so a crash leaves the old object or the new one."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import os
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

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
from prism_proxy.object_stores.directory import errors, paths, uploads
from prism_proxy.object_stores.directory.files import Files
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.directory.uploads import DirectoryUpload, Submit
from prism_proxy.object_stores.errors import BucketNotFound, ErrorCode, ObjectStoreError

READ_BYTES = 1024 * 1024
ResultT = TypeVar("ResultT")
Args = ParamSpec("Args")


class DirectoryStore:
    """An `ObjectStore`. What blocks runs in threads of its own."""

    name = "directory"

    def __init__(self, settings: DirectorySettings) -> None:
        self._files = Files(settings.path, settings.sync)
        self._pool = ThreadPoolExecutor(settings.threads, "prism-objects")

    async def open(self) -> None:
        """Makes the folder, and removes what dead processes left."""
        await self._run(self._files.prepare)

    async def close(self) -> None:
        self._pool.shutdown(wait=False)

    # --- objects ----------------------------------------------------------------------------------------------------

    async def put(self, bucket: str, key: str, data: Chunk, options: PutOptions = NO_OPTIONS, *,
                  sha256: bytes | None = None) -> PutResult:
        if sha256 is not None and await self._run(_digest, data) != sha256:
            raise ObjectStoreError("the bytes do not have the checksum that came with them", ErrorCode.CORRUPT)

        async def once() -> AsyncIterator[Chunk]:
            yield data

        return await self.put_stream(bucket, key, once(), options)

    async def put_stream(self, bucket: str, key: str, chunks: AsyncIterable[Chunk],
                         options: PutOptions = NO_OPTIONS) -> PutResult:
        return await transfer.feed(await self.begin_upload(bucket, key, options), chunks)

    async def begin_upload(self, bucket: str, key: str, options: PutOptions = NO_OPTIONS) -> DirectoryUpload:
        upload = DirectoryUpload(self.submit, self._files, bucket, key, options)
        try:
            await upload.begin()
        except BaseException:
            await transfer.abandon(upload)
            raise
        return upload

    async def get(self, bucket: str, key: str, byte_range: ByteRange = ALL) -> tuple[ObjectInfo, bytes]:
        download = await self.get_stream(bucket, key, byte_range)
        return download.info, await transfer.collect(download)

    async def get_stream(self, bucket: str, key: str, byte_range: ByteRange = ALL, *,
                         etag: str | None = None) -> transfer.CountedDownload:
        record, handle = await self._run(self._files.open, bucket, key)
        try:
            if etag is not None and etag != record.data:
                raise ObjectStoreError("the object is another one by now", ErrorCode.CHANGED)
            start, end = transfer.bounds(byte_range, record.size)
        except BaseException:
            os.close(handle)
            raise
        return _FileDownload(self.submit, record.info, start, end, handle)

    async def delete(self, bucket: str, key: str) -> None:
        await self._run(self._files.delete, bucket, key)

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> Mapping[str, ObjectStoreError]:
        failed: dict[str, ObjectStoreError] = {}
        for key in keys:
            try:
                await self.delete(bucket, key)
            except BucketNotFound:
                raise
            except ObjectStoreError as error:
                failed[key] = error
        return failed

    async def exists(self, bucket: str, key: str) -> bool:
        return await self._run(lambda: paths.meta_path(self._files.existing(bucket), key).exists())

    async def get_metadata(self, bucket: str, key: str) -> ObjectInfo:
        return (await self._run(self._files.record, bucket, key)).info

    async def copy(self, source_bucket: str, source_key: str, bucket: str, key: str) -> PutResult:
        return await self._run(self._files.copy, source_bucket, source_key, bucket, key)

    async def list(self, bucket: str, prefix: str = "", *, limit: int = 1000, token: str | None = None,
                   after: str | None = None) -> Page:
        return await self._run(self._files.list, bucket, prefix, limit, token or after)

    # --- tags and life ----------------------------------------------------------------------------------------------

    async def get_tags(self, bucket: str, key: str) -> Mapping[str, str]:
        return dict((await self._run(self._files.record, bucket, key)).tags)

    async def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        await self._run(self._files.retag, bucket, key, lambda _: dict(tags))

    async def set_ttl(self, bucket: str, key: str, seconds: float) -> None:
        await self._run(self._files.retag, bucket, key, lambda tags: transfer.with_ttl(tags, seconds))

    # --- buckets ----------------------------------------------------------------------------------------------------

    async def create_bucket(self, bucket: str) -> bool:
        return await self._run(self._files.create, bucket)

    async def delete_bucket(self, bucket: str) -> None:
        await self._run(self._files.delete_bucket, bucket)

    async def bucket_exists(self, bucket: str) -> bool:
        return await self._run(self._files.folder(bucket).is_dir)

    async def list_uploads(self, bucket: str, prefix: str = "") -> Sequence[UploadInfo]:
        return await self._run(lambda: uploads.listed(self._files.existing(bucket), prefix))

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        if uuid.UUID(upload_id).hex == upload_id:  # it becomes a part of a path
            await self._run(uploads.remove, self._files.folder(bucket) / paths.UPLOADS / upload_id)

    async def lifecycle_rules(self, bucket: str) -> Sequence[LifecycleRule]:
        return list((await self._run(self._files.rules, bucket)).values())

    async def put_lifecycle_rule(self, bucket: str, rule: LifecycleRule) -> None:
        await self._run(self._files.change_rules, bucket, lambda rules: {**rules, rule.rule_id: rule})

    async def remove_lifecycle_rule(self, bucket: str, rule_id: str) -> None:
        await self._run(self._files.change_rules, bucket,
                        lambda rules: {key: rule for key, rule in rules.items() if key != rule_id})

    async def presign(self, method: Method, bucket: str, key: str, seconds: int) -> str:
        raise ObjectStoreError("objects in a folder have no URL: use an s3, gcs or azure store", ErrorCode.UNSUPPORTED)

    # --- threads ----------------------------------------------------------------------------------------------------

    def submit(self, work: Callable[Args, ResultT], *args: Args.args, **kwargs: Args.kwargs) -> asyncio.Future[ResultT]:
        """Run it in a thread; errors of files become those of the contract."""
        return asyncio.get_running_loop().run_in_executor(
            self._pool, functools.partial(_translated, work, *args, **kwargs))

    async def _run(self, work: Callable[Args, ResultT], *args: Args.args, **kwargs: Args.kwargs) -> ResultT:
        return await self.submit(work, *args, **kwargs)


class _FileDownload(transfer.CountedDownload):
    """Holds the file open, so that its bytes stay when the object is replaced or deleted."""

    def __init__(self, submit: Submit, info: ObjectInfo, start: int, end: int, handle: int) -> None:
        super().__init__(info, start, end, self._read(submit, handle, start, end))
        self._handle = handle
        self._running: asyncio.Future[bytes] | None = None

    async def _read(self, submit: Submit, handle: int, start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            self._running = submit(os.pread, handle, min(READ_BYTES, end - start), start)
            chunk = await asyncio.shield(self._running)
            if not chunk:
                return
            start += len(chunk)
            yield chunk

    async def aclose(self) -> None:
        await super().aclose()
        handle, self._handle = self._handle, -1
        if handle >= 0:
            if self._running is not None:  # a thread may still read from it
                await asyncio.wait({self._running})
            os.close(handle)


def _translated(work: Callable[Args, ResultT], *args: Args.args, **kwargs: Args.kwargs) -> ResultT:
    try:
        return work(*args, **kwargs)
    except OSError as error:
        raise errors.meaning(error) from error


def _digest(data: Chunk) -> bytes:
    return hashlib.sha256(data).digest()
