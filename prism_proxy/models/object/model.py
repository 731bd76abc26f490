"""The meaning of the Object methods, over a slot filled by any object store.

Callers reach the buckets of their namespace's list and nothing else: an unknown bucket and one of others are refused
alike, before any I/O. Objects pass in pieces; nothing here holds one whole.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, ParamSpec, TypeVar

from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.models.object import operations, validation
from prism_proxy.models.object.contract import ObjectDriver
from prism_proxy.models.object.options import ObjectOptions
from prism_proxy.object_stores import transfer
from prism_proxy.object_stores.contract import (
    ByteRange,
    Chunk,
    Download,
    ObjectInfo,
    Page,
    PutOptions,
    PutResult,
)
from prism_proxy.object_stores.errors import BucketNotFound
from prism_proxy.slots.composition import Part, Surroundings
from prism_proxy.slots.operation import Caller, Operation
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Metric, Sample
from prism_runtime import log

PAGE = 1000
PIECE_BYTES = 1024 * 1024  # of an object in a message: a stock client takes 4 MiB
MAX_URL_SECONDS = 3600
MAX_TTL_SECONDS = 10 * 365 * 86_400
CLAIMS = "claim_check"
ResultT = TypeVar("ResultT")
Args = ParamSpec("Args")
_log = log.get("prism.objects")


class Presigned(NamedTuple):
    url: str
    expires_at: int


@dataclass(slots=True)
class _Counts:
    bytes_in: int = 0
    bytes_out: int = 0
    stored: int = 0
    abandoned: int = 0
    presigned: int = 0


class ObjectModel(Part):
    """One per namespace and configuration."""

    def __init__(self, slot: Slot[ObjectDriver], options: ObjectOptions, surroundings: Surroundings = Surroundings(),
                 previous: ObjectModel | None = None) -> None:
        self._slot = slot
        self._objects = slot.driver.objects
        self._options = options
        self._chain = surroundings.chain
        self._namespace = surroundings.namespace
        self._counts = _Counts() if previous is None else previous.counts
        self._known: set[str] = set()  # buckets of the list that are there
        self._claims = getattr(surroundings.options.get(CLAIMS), "bucket", None)

    @property
    def native(self) -> bool:
        return True

    @property
    def counts(self) -> _Counts:
        """Of this namespace since the store was opened, over changes of the configuration."""
        return self._counts

    def metrics(self) -> Iterable[Metric]:
        label = (("namespace", self._namespace),)
        for name, text, count in (
            ("received_bytes", "Bytes of objects that callers sent.", self._counts.bytes_in),
            ("sent_bytes", "Bytes of objects that went to callers.", self._counts.bytes_out),
            ("stored", "Objects that were stored whole.", self._counts.stored),
            ("abandoned", "Uploads that ended early, and left nothing.", self._counts.abandoned),
            ("presigned_urls", "Presigned URLs that were given.", self._counts.presigned),
        ):
            yield Metric(f"prism_object_{name}_total", "counter", text, [Sample(label, float(count))])

    # --- one object -------------------------------------------------------------------------------------------------

    async def put(self, bucket: str, key: str, chunks: AsyncIterable[Chunk], content_type: str = "",
                  metadata: Mapping[str, str] | None = None, ttl_seconds: int | None = None,
                  caller: Caller | None = None) -> PutResult:
        """The object is there when it returns; when `chunks` fail nothing is, and what was there stays."""
        self._check_bucket(bucket)
        validation.key(key)
        if ttl_seconds is not None and not 0 < ttl_seconds <= MAX_TTL_SECONDS:
            raise invalid("ttl_seconds", f"it must be 1 to {MAX_TTL_SECONDS}")
        tags = transfer.with_ttl({}, ttl_seconds) if ttl_seconds is not None else {}
        said = validation.metadata(metadata or {})
        if (schema := self._chain.schema) is not None:
            said = {**said, **schema.entries()}
        options = PutOptions(validation.content_type(content_type), "", said, tags)
        if bucket not in self._known and self._options.create_buckets:
            await self._call(operations.PUT, caller, bucket, self._objects.create_bucket, bucket)
            self._known.add(bucket)
        upload = await self._open(operations.PUT, caller, bucket, self._objects.begin_upload, bucket, key, options)
        try:
            async for chunk in self._bounded(chunks):
                await upload.write(chunk)
            result = await upload.complete()
        except BaseException as raw:
            self._counts.abandoned += 1
            await transfer.abandon(upload)
            if isinstance(raw, BucketNotFound):  # deleted meanwhile: the next one makes it again
                self._known.discard(bucket)
            raise self._meaning(operations.PUT, raw) from raw
        self._counts.stored += 1
        return result

    async def get(self, bucket: str, key: str, offset: int = 0, length: int | None = None,
                  caller: Caller | None = None) -> Download:
        """Close it. `pieces` reads it."""
        self._check_bucket(bucket)
        validation.key(key)
        return await self._open(operations.GET, caller, bucket, self._objects.get_stream, bucket, key,
                                ByteRange(offset, length))

    async def pieces(self, download: Download) -> AsyncIterator[bytes]:
        """The bytes of a download in pieces that fit in a message."""
        try:
            async for chunk in download:
                self._counts.bytes_out += len(chunk)
                for start in range(0, len(chunk), PIECE_BYTES):
                    yield bytes(chunk if len(chunk) <= PIECE_BYTES else chunk[start:start + PIECE_BYTES])
        except Exception as raw:
            raise self._meaning(operations.GET, raw) from raw

    async def head(self, bucket: str, key: str, caller: Caller | None = None) -> ObjectInfo:
        self._check_bucket(bucket)
        return await self._call(operations.HEAD, caller, bucket, self._objects.get_metadata, bucket,
                                validation.key(key))

    async def delete(self, bucket: str, key: str, caller: Caller | None = None) -> bool:
        """Whether there was one."""
        self._check_bucket(bucket)
        validation.key(key)
        existed = await self._call(operations.HEAD, caller, bucket, self._objects.exists, bucket, key)
        if existed:
            await self._call(operations.DELETE, caller, bucket, self._objects.delete, bucket, key)
        return existed

    async def copy(self, source_bucket: str, source_key: str, bucket: str, key: str,
                   caller: Caller | None = None) -> PutResult:
        self._check_bucket(source_bucket, "source_bucket")
        self._check_bucket(bucket)
        validation.key(source_key, "source_key")
        return await self._call(operations.COPY, caller, bucket, self._objects.copy, source_bucket, source_key, bucket,
                                validation.key(key))

    # --- many -------------------------------------------------------------------------------------------------------

    async def page(self, bucket: str, prefix: str, limit: int, token: str, caller: Caller | None = None) -> Page:
        """At most `limit` objects, 0 = as many as a page has; `token` is that of an earlier page."""
        self._check_bucket(bucket)
        if limit < 0:
            raise invalid("max_results", "it must not be negative")
        return await self._list(bucket, validation.prefix(prefix), limit, token or None, None, caller)

    async def walk(self, bucket: str, prefix: str, limit: int, after: str,
                   caller: Caller | None = None) -> AsyncIterator[ObjectInfo]:
        """All objects behind the key `after`, or the first `limit` of them, fetched by the page."""
        self._check_bucket(bucket)
        if limit < 0:
            raise invalid("max_keys", "it must not be negative")
        validation.prefix(prefix)
        start: str | None = validation.prefix(after, "continuation_token") or None
        token, left = None, limit
        while True:
            page = await self._list(bucket, prefix, left, token, start, caller)
            for info in page.objects:
                yield info
            left -= len(page.objects)
            token, start = page.token, None
            if token is None or (limit and left <= 0):
                return

    async def _list(self, bucket: str, prefix: str, limit: int, token: str | None, after: str | None,
                    caller: Caller | None) -> Page:
        async def command() -> Page:
            return await self._objects.list(bucket, prefix, limit=min(limit or PAGE, PAGE), token=token, after=after)

        return await self._call(operations.LIST, caller, bucket, command)

    # --- presigned URLs ---------------------------------------------------------------------------------------------

    async def presign(self, method: str, bucket: str, key: str, seconds: int,
                      caller: Caller | None = None) -> Presigned:
        if not self._options.presign:
            raise PrismError(StatusCode.FAILED_PRECONDITION, "PRESIGN_DISABLED",
                             "this namespace gives no presigned URLs: set object.presign to true")
        self._check_bucket(bucket)
        validation.key(key)
        if method not in ("GET", "PUT"):
            raise invalid("method", "it must be GET or PUT", value=method, constraint="GET, PUT")
        if not 0 <= seconds <= MAX_URL_SECONDS:
            raise invalid("expires_in_seconds", f"it must be at most {MAX_URL_SECONDS}", value=str(seconds))
        seconds = seconds or MAX_URL_SECONDS
        expires = int(time.time()) + seconds
        url = await self._call(operations.PRESIGN, caller, bucket, self._objects.presign,
                               "GET" if method == "GET" else "PUT", bucket, key, seconds)
        self._counts.presigned += 1
        _log.info("a presigned URL was given", namespace=self._namespace, bucket=bucket, method=method, seconds=seconds)
        return Presigned(url, expires)

    # --- the slot ---------------------------------------------------------------------------------------------------

    def _check_bucket(self, bucket: str, field: str = "bucket") -> None:
        if bucket in self._options.buckets and bucket != self._claims:
            return
        raise PrismError(
            StatusCode.PERMISSION_DENIED, "BUCKET_NOT_ALLOWED",
            f"the namespace does not reach the bucket of field {field}: list it in object.buckets"
            if bucket != self._claims else "the bucket of claims is not served: read claims by their messages",
            field_name=field)

    async def _call(self, operation: Operation, caller: Caller | None, bucket: str,
                    command: Callable[Args, Awaitable[ResultT]], *args: Args.args, **kwargs: Args.kwargs) -> ResultT:
        return await self._slot.call(operation, caller, self._made(bucket, command), *args, **kwargs)

    async def _open(self, operation: Operation, caller: Caller | None, bucket: str,
                    command: Callable[Args, Awaitable[ResultT]], *args: Args.args, **kwargs: Args.kwargs) -> ResultT:
        return await self._slot.stream(operation, caller, self._made(bucket, command), *args, **kwargs)

    def _made(self, bucket: str, command: Callable[Args, Awaitable[ResultT]]) -> Callable[Args, Awaitable[ResultT]]:
        """The command, and once more when its bucket had to be made first."""

        async def run(*args: Args.args, **kwargs: Args.kwargs) -> ResultT:
            try:
                return await command(*args, **kwargs)
            except BucketNotFound:
                if not self._options.create_buckets:
                    raise
            await self._objects.create_bucket(bucket)
            return await command(*args, **kwargs)

        return run

    def _meaning(self, operation: Operation, raw: BaseException) -> BaseException:
        """The caller's error for what ended a stream; other errors as they are."""
        error = self._slot.stream_error(operation, raw) if isinstance(raw, Exception) else None
        return error or raw

    async def _bounded(self, chunks: AsyncIterable[Chunk]) -> AsyncIterator[Chunk]:
        most, size = self._options.max_object_bytes, 0
        async for chunk in chunks:
            size += len(chunk)
            self._counts.bytes_in += len(chunk)
            if size > most:
                raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "OBJECT_TOO_LARGE",
                                 f"the object has more than {most} bytes: raise object.max_object_bytes")
            yield chunk
