"""The object store of a namespace's claims: one bucket, every call bounded in time and guarded by the slot.

Its errors are put in the terms of messages here: what is wrong with the store is temporary, and waits; what is wrong
with an object is its message's fate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.object_stores.contract import (
    ByteRange,
    Chunk,
    Download,
    LifecycleRule,
    ObjectStore,
    Page,
    PutOptions,
    Upload,
    UploadInfo,
)
from prism_proxy.slots.operation import Effect, Operation
from prism_proxy.slots.slot import Slot
from prism_proxy.steps.claim_check.options import ClaimCheckOptions

ResultT = TypeVar("ResultT")

RETRY_AFTER_S = 1.0
DELETE_BATCH = 1000
# Keys are never used twice, so that running a command again changes nothing: all of them may be repeated.
_PUT, _GET, _DELETE, _COPY, _TAG, _LIST, _BUCKET = (
    Operation(name, Effect.READ) for name in ("PutObject", "GetObject", "DeleteObjects", "CopyObject", "TagObject",
                                              "ListObjects", "Bucket"))
_UPLOAD, _DOWNLOAD = Operation("UploadObject", Effect.READ), Operation("DownloadObject", Effect.READ)
# of the store and its settings, not of an object: the same call may succeed when they are set right
_STORE_AT_FAULT = frozenset({"OBJECT_STORE_ACCESS_DENIED", "BUCKET_NOT_FOUND", "BACKEND_ERROR"})


class ClaimStore:
    """All methods raise PrismError. OBJECT_NOT_FOUND and OBJECT_CORRUPT are of the object; what else a read raises is
    UNAVAILABLE."""

    def __init__(self, slot: Slot[Any], options: ClaimCheckOptions) -> None:
        self._slot = slot
        self._store: ObjectStore = slot.driver.objects
        self._options = options
        self.bucket = options.bucket

    async def put(self, key: str, data: Chunk, options: PutOptions, sha256: bytes) -> None:
        await self._within(self._options.upload_timeout, self._slot.call(
            _PUT, None, self._store.put, self.bucket, key, data, options, sha256=sha256))

    async def begin_upload(self, key: str, options: PutOptions) -> Upload:
        return await self._within(self._options.upload_timeout, self._slot.blocking(
            _UPLOAD, None, self._store.begin_upload, self.bucket, key, options))

    async def guarded(self, command: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """A step of a stream, whose errors are those of the other methods."""
        return await self._slot.blocking(Operation("Stream", Effect.NON_IDEMPOTENT), None, command)

    async def get(self, key: str) -> bytes:
        _, data = await self._reading(self._slot.call(_GET, None, self._store.get, self.bucket, key))
        return data

    async def open_download(self, key: str, byte_range: ByteRange) -> Download:
        return await self._reading(self._slot.blocking(
            _DOWNLOAD, None, self._store.get_stream, self.bucket, key, byte_range))

    async def exists(self, key: str) -> bool:
        return await self._reading(self._slot.call(_GET, None, self._store.exists, self.bucket, key))

    async def delete(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Those that could not be deleted, and why."""
        failed = await self._within(self._options.deletion_timeout, self._slot.call(
            _DELETE, None, self._store.delete_many, self.bucket, keys))
        return {key: error.message for key, error in failed.items()}

    async def copy(self, key: str, target: str, tags: Mapping[str, str]) -> None:
        await self._within(self._options.retrieval_timeout, self._slot.call(
            _COPY, None, self._store.copy, self.bucket, key, self.bucket, target))
        await self.set_tags(target, tags)

    async def tags(self, key: str) -> Mapping[str, str]:
        return await self._within(self._options.deletion_timeout, self._slot.call(
            _TAG, None, self._store.get_tags, self.bucket, key))

    async def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        await self._within(self._options.deletion_timeout, self._slot.call(
            _TAG, None, self._store.set_tags, self.bucket, key, tags))

    async def page(self, prefix: str, token: str | None) -> Page:
        return await self._within(self._options.retrieval_timeout, self._slot.call(
            _LIST, None, self._store.list, self.bucket, prefix, limit=DELETE_BATCH, token=token))

    async def uploads(self, prefix: str) -> Sequence[UploadInfo]:
        return await self._within(self._options.retrieval_timeout, self._slot.call(
            _LIST, None, self._store.list_uploads, self.bucket, prefix))

    async def abort_upload(self, found: UploadInfo) -> None:
        await self._within(self._options.deletion_timeout, self._slot.call(
            _DELETE, None, self._store.abort_upload, self.bucket, found.key, found.upload_id))

    async def prepare(self, rules: Iterable[LifecycleRule]) -> bool:
        """Make the bucket where there is none; then, and where the settings say so or it has them already, it gets the
        rules. Whether it has them now."""
        made = await self._bucket(self._store.create_bucket)
        rules = tuple(rules)
        if not made and not self._options.manage_lifecycle:
            known = {rule.rule_id for rule in await self._bucket(self._store.lifecycle_rules)}
            if not known.issuperset(rule.rule_id for rule in rules):
                return False
        for rule in rules:
            await self._bucket(self._store.put_lifecycle_rule, rule)
        return True

    async def _bucket(self, command: Callable[..., Awaitable[ResultT]], *args: Any) -> ResultT:
        return await self._within(self._options.retrieval_timeout, self._slot.call(
            _BUCKET, None, command, self.bucket, *args))

    async def _reading(self, reading: Awaitable[ResultT]) -> ResultT:
        try:
            return await self._within(self._options.retrieval_timeout, reading)
        except PrismError as error:
            if error.reason in _STORE_AT_FAULT:
                raise unavailable(error.message) from error
            raise

    async def within_retrieval(self, reading: Awaitable[ResultT]) -> ResultT:
        """A whole retrieval, in the time for one."""
        return await self._within(self._options.retrieval_timeout, reading)

    async def within_upload(self, writing: Awaitable[ResultT]) -> ResultT:
        """A whole upload, in the time for one."""
        return await self._within(self._options.upload_timeout, writing)

    async def _within(self, seconds: float, running: Awaitable[ResultT]) -> ResultT:
        try:
            async with asyncio.timeout(seconds):
                return await running
        except TimeoutError as error:
            raise unavailable(f"the object store did not answer within {seconds:g} s") from error


def unavailable(why: str) -> PrismError:
    return PrismError(StatusCode.UNAVAILABLE, "CLAIM_STORE_UNAVAILABLE", why, {"outcome": "not_executed"},
                      retry_after=RETRY_AFTER_S)
