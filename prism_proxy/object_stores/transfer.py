"""What streams of all drivers share: an upload fed by an iterator, a whole object out of a stream, and ranges."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import UTC, datetime
from types import TracebackType

from prism_proxy.object_stores.contract import (
    EXPIRES_AT_TAG,
    TTL_SECONDS_TAG,
    TTL_TAG,
    ByteRange,
    Chunk,
    Download,
    ObjectInfo,
    PutResult,
    Upload,
)
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

ABORT_TIMEOUT_S = 10.0


async def feed(upload: Upload, chunks: AsyncIterable[Chunk]) -> PutResult:
    """Complete the upload with what `chunks` give; abort it when anything fails, cancellation included."""
    try:
        async for chunk in chunks:
            await upload.write(chunk)
        return await upload.complete()
    except BaseException:
        await abandon(upload)
        raise


async def abandon(upload: Upload) -> None:
    """Abort an upload whatever happens to the caller meanwhile; what cannot be aborted now is found by a sweep."""
    aborting = asyncio.ensure_future(_abort(upload))
    try:
        await asyncio.shield(aborting)
    except asyncio.CancelledError:
        await asyncio.wait({aborting})
        raise


async def _abort(upload: Upload) -> None:
    with contextlib.suppress(ObjectStoreError, TimeoutError):
        async with asyncio.timeout(ABORT_TIMEOUT_S):
            await upload.abort()


async def collect(download: Download) -> bytes:
    """The bytes of a download, which is closed."""
    async with download:
        return b"".join([chunk async for chunk in download])


def bounds(byte_range: ByteRange, size: int) -> tuple[int, int]:
    """Start and end of a range in an object of this size. INVALID_RANGE where it begins at or behind the end; the whole
    of an empty object is no error."""
    start, length = byte_range.offset, byte_range.length
    if start < 0 or (length is not None and length < 1) or (start >= size and start > 0):
        raise ObjectStoreError(f"the range begins at {start} with length {length}, and the object has {size} bytes",
                               ErrorCode.INVALID_RANGE)
    return start, size if length is None else min(size, start + length)


def with_ttl(tags: Mapping[str, str], seconds: float) -> dict[str, str]:
    """The tags of an object that may be removed after so many seconds."""
    expires = time.time() + seconds
    text = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {**tags, TTL_TAG: text, TTL_SECONDS_TAG: str(int(seconds)), EXPIRES_AT_TAG: str(int(expires))}


def expiry(tags: Mapping[str, str]) -> float | None:
    """When an object with these tags may be removed, epoch seconds; None when it says nothing, or nonsense."""
    try:
        return float(int(tags[EXPIRES_AT_TAG])) if EXPIRES_AT_TAG in tags else _parse(tags[TTL_TAG])
    except (KeyError, ValueError):
        return None


def _parse(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class CountedDownload:
    """A `Download` over a driver's iterator of bytes, which must give exactly those of the range."""

    def __init__(self, info: ObjectInfo, start: int, end: int, source: AsyncIterator[Chunk]) -> None:
        self.info, self.start, self.end = info, start, end
        self._source = source

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        left = self.end - self.start
        async for chunk in self._source:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise ObjectStoreError("the store gave another number of bytes than it had announced", ErrorCode.CORRUPT)

    async def aclose(self) -> None:
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> CountedDownload:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
