"""Streams of an object store: uploads that complete or leave nothing, downloads of ranges, flat memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from prism_proxy.object_stores.contract import ByteRange, ObjectStore, PutOptions
from prism_proxy.object_stores.errors import ErrorCode
from prism_proxy.testing.contracts.object_store_fixtures import (
    PART,
    ObjectStoreFixtures,
    failing,
    joined,
    pieces,
    refused,
)

LARGE = os.urandom(2 * PART + 4321)


class ObjectStoreStreamsSuite(ObjectStoreFixtures):
    @pytest.mark.parametrize("size", [0, 1, 70_000, PART, len(LARGE)])
    async def test_CLM_9_what_streams_in_streams_out(self, objects: ObjectStore, bucket: str, size: int) -> None:
        data = LARGE[:size]
        options = PutOptions("video/mp4", metadata={"prism-original-size": str(size)}, tags={"prism-pending": "1"})
        result = await objects.put_stream(bucket, "key", pieces(data, 70_000), options)
        assert result.size == size
        async with await objects.get_stream(bucket, "key") as download:
            assert (download.start, download.end, download.info.size) == (0, size, size)
            assert await joined(download) == data
        info = await objects.get_metadata(bucket, "key")
        assert (info.etag, info.content_type) == (result.etag, "video/mp4")
        assert dict(info.metadata) == dict(options.metadata)
        assert await objects.get_tags(bucket, "key") == {"prism-pending": "1"}

    async def test_ranges_of_a_stream(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put_stream(bucket, "key", pieces(LARGE, 1024 * 1024))
        for offset, length in ((0, 10), (PART - 5, 10), (2 * PART, None), (100, 2 * PART)):
            async with await objects.get_stream(bucket, "key", ByteRange(offset, length)) as download:
                found = await joined(download)
                assert len(found) == download.end - download.start
            assert found == LARGE[offset:][:length]

    async def test_nothing_is_seen_before_complete(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"before")
        upload = await objects.begin_upload(bucket, "key")
        async for piece in pieces(LARGE, PART):
            await upload.write(piece)
        assert (await objects.get(bucket, "key"))[1] == b"before"
        await upload.complete()
        assert (await objects.get(bucket, "key"))[1] == LARGE

    async def test_an_aborted_upload_leaves_nothing(self, objects: ObjectStore, bucket: str) -> None:
        upload = await objects.begin_upload(bucket, "key")
        await upload.write(LARGE)
        await upload.abort()
        await upload.abort()
        await self._nothing_is_left(objects, bucket)
        with refused(ErrorCode.UPLOAD_NOT_FOUND):
            await upload.complete()

    async def test_a_failed_source_leaves_nothing(self, objects: ObjectStore, bucket: str) -> None:
        with pytest.raises(RuntimeError, match="ended early"):
            await objects.put_stream(bucket, "key", failing(LARGE, 1024 * 1024))
        await self._nothing_is_left(objects, bucket)

    async def test_a_cancelled_upload_leaves_nothing(self, objects: ObjectStore, bucket: str) -> None:
        arrived = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield LARGE[:PART]
            arrived.set()
            await asyncio.Event().wait()

        putting = asyncio.ensure_future(objects.put_stream(bucket, "key", endless()))
        await arrived.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        await self._nothing_is_left(objects, bucket)

    async def test_uploads_that_nobody_ends_are_found_and_aborted(self, objects: ObjectStore, bucket: str) -> None:
        if not self.lists_uploads:
            with refused(ErrorCode.UNSUPPORTED):
                await objects.list_uploads(bucket)
            return
        forgotten = await objects.begin_upload(bucket, "forgotten/1")
        await forgotten.write(LARGE)
        other = await objects.begin_upload(bucket, "other")
        await other.write(LARGE)
        found = await objects.list_uploads(bucket, "forgotten/")
        assert [upload.key for upload in found] == ["forgotten/1"]
        await objects.abort_upload(bucket, found[0].key, found[0].upload_id)
        await objects.abort_upload(bucket, found[0].key, found[0].upload_id)
        assert [upload.key for upload in await objects.list_uploads(bucket)] == ["other"]
        await other.abort()
        await forgotten.abort()
        await self._nothing_is_left(objects, bucket)

    async def test_uploads_of_one_key_at_once(self, objects: ObjectStore, bucket: str) -> None:
        values = [bytes([number]) * (PART + number) for number in range(4)]
        await asyncio.gather(*(objects.put_stream(bucket, "key", pieces(value, 300_000)) for value in values))
        assert (await objects.get(bucket, "key"))[1] in values
        assert not self.lists_uploads or await objects.list_uploads(bucket) == []

    async def test_a_download_may_be_left_early(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put_stream(bucket, "key", pieces(LARGE, PART))
        for _ in range(20):
            async with await objects.get_stream(bucket, "key") as download:
                async for chunk in download:
                    assert LARGE.startswith(chunk)
                    break
        assert (await objects.get(bucket, "key"))[1] == LARGE

    async def test_an_etag_names_the_object(self, objects: ObjectStore, bucket: str) -> None:
        etag = (await objects.put(bucket, "key", b"first")).etag
        async with await objects.get_stream(bucket, "key", etag=etag) as download:
            assert await joined(download) == b"first"
        await objects.put(bucket, "key", b"other")
        with refused(ErrorCode.CHANGED):
            await objects.get_stream(bucket, "key", etag=etag)

    async def _nothing_is_left(self, objects: ObjectStore, bucket: str) -> None:
        assert not await objects.exists(bucket, "key")
        assert (await objects.list(bucket)).objects == []
        if self.lists_uploads:
            assert await objects.list_uploads(bucket) == []
