"""Objects of an object store: whole ones, ranges, metadata, listing, deletion."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest

from prism_proxy.object_stores.contract import ByteRange, ObjectStore, PutOptions
from prism_proxy.object_stores.errors import ErrorCode
from prism_proxy.testing.contracts.object_store_fixtures import ObjectStoreFixtures, refused

OPTIONS = PutOptions("text/plain", "gzip", {"owner": "shop", "prism-checksum": "00ff"}, {"team": "payments"})
KEYS = ["plain", "a/b/c", "spaces and +plus", "percent%2Fsign", "ünï/cödé/文", "dots/...x/.hidden", "k" * 200,
        "/".join(["deep" * 10] * 20), "a=b&c?d#e;f:g@h!'()*", "quote\"<tag>", "~tilde", "x.part",
        "e" * 255, "long/" + "n" * 900]


class ObjectStoreObjectsSuite(ObjectStoreFixtures):
    async def test_CLM_10_smoke(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "hello", b"hello world")
        info, data = await objects.get(bucket, "hello")
        assert (data, info.size, info.key) == (b"hello world", 11, "hello")
        await objects.delete(bucket, "hello")
        assert not await objects.exists(bucket, "hello")

    @pytest.mark.parametrize("data", [b"", b"\x00\xff\xfe", b"x" * (1024 * 1024 + 1)], ids=["empty", "binary", "1MiB"])
    async def test_CLM_9_bytes_come_back(self, objects: ObjectStore, bucket: str, data: bytes) -> None:
        result = await objects.put(bucket, "key", memoryview(bytearray(data)))
        info, found = await objects.get(bucket, "key")
        assert found == data
        assert result.size == info.size == len(data)
        assert result.etag
        assert result.etag == info.etag == (await objects.get_metadata(bucket, "key")).etag

    async def test_keys_are_kept_apart_and_as_they_are(self, objects: ObjectStore, bucket: str) -> None:
        kept = []
        for key in KEYS:
            if max(len(part.encode()) for part in key.split("/")) > self.longest_part:
                with refused(ErrorCode.INVALID_NAME):
                    await objects.put(bucket, key, key.encode())
            else:
                await objects.put(bucket, key, key.encode())
                kept.append(key)
        assert sorted(info.key for info in (await objects.list(bucket)).objects) == sorted(kept)
        for key in kept:
            assert (await objects.get(bucket, key))[1] == key.encode()
        for number, key in enumerate(kept, 1):
            await objects.delete(bucket, key)
            assert len((await objects.list(bucket)).objects) == len(kept) - number

    async def test_keys_that_differ_in_case_are_two(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "Key", b"upper")
        await objects.put(bucket, "key", b"lower")
        assert (await objects.get(bucket, "Key"))[1] == b"upper"
        assert (await objects.get(bucket, "key"))[1] == b"lower"

    async def test_CLM_9_metadata(self, objects: ObjectStore, bucket: str) -> None:
        began = time.time()
        await objects.put(bucket, "key", b"value", OPTIONS)
        info = await objects.get_metadata(bucket, "key")
        assert (info.size, info.content_type, info.content_encoding) == (5, "text/plain", "gzip")
        assert dict(info.metadata) == {"owner": "shop", "prism-checksum": "00ff"}
        assert began - 5 < info.last_modified < time.time() + 5
        assert (await objects.get(bucket, "key"))[0].metadata == info.metadata

    async def test_a_put_replaces_everything(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"value", OPTIONS)
        first = (await objects.get_metadata(bucket, "key")).etag
        await objects.put(bucket, "key", b"other")
        info, data = await objects.get(bucket, "key")
        assert data == b"other"
        assert info.etag != first
        assert not info.metadata
        assert info.content_encoding == ""
        assert await objects.get_tags(bucket, "key") == {}

    async def test_a_checksum_is_checked(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"value", sha256=hashlib.sha256(b"value").digest())
        with refused(ErrorCode.CORRUPT):
            await objects.put(bucket, "key", b"valuX", sha256=hashlib.sha256(b"value").digest())
        assert (await objects.get(bucket, "key"))[1] == b"value"

    async def test_ranges(self, objects: ObjectStore, bucket: str) -> None:
        data = b"0123456789"
        await objects.put(bucket, "key", data)
        for offset, length in ((0, 1), (3, 4), (5, None), (0, None), (9, 1), (8, 1000)):
            info, found = await objects.get(bucket, "key", ByteRange(offset, length))
            assert found == data[offset:][:length]
            assert info.size == 10

    async def test_ranges_outside_are_refused(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"0123456789")
        for offset, length in ((10, None), (11, 1), (-1, 1), (0, 0), (0, -1)):
            with refused(ErrorCode.INVALID_RANGE):
                await objects.get(bucket, "key", ByteRange(offset, length))
            with refused(ErrorCode.INVALID_RANGE):
                await objects.get_stream(bucket, "key", ByteRange(offset, length))

    async def test_CLM_9_what_is_missing(self, objects: ObjectStore, bucket: str) -> None:
        assert not await objects.exists(bucket, "key")
        for call in (objects.get(bucket, "key"), objects.get_stream(bucket, "key"), objects.get_metadata(bucket, "key"),
                     objects.get_tags(bucket, "key"), objects.set_tags(bucket, "key", {"a": "b"}),
                     objects.set_ttl(bucket, "key", 60), objects.copy(bucket, "key", bucket, "other")):
            with refused(ErrorCode.OBJECT_NOT_FOUND):
                await call

    async def test_CLM_9_delete_twice(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"value")
        await objects.put(bucket, "key/below", b"stays")
        await objects.delete(bucket, "key")
        await objects.delete(bucket, "key")
        assert not await objects.exists(bucket, "key")
        assert await objects.exists(bucket, "key/below")

    async def test_a_key_may_continue_another(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "a", b"1")
        await objects.put(bucket, "a/b", b"2")
        await objects.put(bucket, "a/b/c", b"3")
        assert [(await objects.get(bucket, key))[1] for key in ("a", "a/b", "a/b/c")] == [b"1", b"2", b"3"]

    async def test_delete_many(self, objects: ObjectStore, bucket: str) -> None:
        keys = [f"batch/{number:04}" for number in range(25)]
        await asyncio.gather(*(objects.put(bucket, key, b"x") for key in keys))
        assert await objects.delete_many(bucket, [*keys[:20], "missing"]) == {}
        assert [info.key for info in (await objects.list(bucket)).objects] == keys[20:]
        assert await objects.delete_many(bucket, []) == {}

    async def test_copy(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"value", OPTIONS)
        result = await objects.copy(bucket, "key", bucket, "_dead/copy")
        info, data = await objects.get(bucket, "_dead/copy")
        assert (data, info.content_type, dict(info.metadata)) == (b"value", "text/plain", dict(OPTIONS.metadata))
        assert result.size == 5
        assert (await objects.get(bucket, "key"))[1] == b"value"

    async def test_lists_have_pages(self, objects: ObjectStore, bucket: str) -> None:
        keys = sorted([*(f"p/{number}" for number in range(12)), "p-", "p", "q/1", "pä", "P/1", "p/1/x"],
                      key=str.encode)
        await asyncio.gather(*(objects.put(bucket, key, key.encode()) for key in keys))
        for prefix, limit in (("", 1000), ("", 1), ("p/", 5), ("p", 4), ("p/1", 1000), ("nothing", 10)):
            found: list[str] = []
            token = None
            for _ in range(len(keys)):
                page = await objects.list(bucket, prefix, limit=limit, token=token)
                assert len(page.objects) <= limit
                assert all(info.size == len(info.key.encode()) for info in page.objects)
                found += [info.key for info in page.objects]
                token = page.token
                if token is None:
                    break
            wanted = [key for key in keys if key.startswith(prefix)]
            assert (found if self.key_order else sorted(found, key=str.encode)) == wanted
        page = await objects.list(bucket, "p/", after="p/5")
        assert [info.key for info in page.objects] == ["p/6", "p/7", "p/8", "p/9"]

    async def test_a_list_survives_deletions_between_pages(self, objects: ObjectStore, bucket: str) -> None:
        keys = [f"k/{number:02}" for number in range(10)]
        await asyncio.gather(*(objects.put(bucket, key, b"") for key in keys))
        page = await objects.list(bucket, "k/", limit=4)
        await objects.delete_many(bucket, keys[:6])
        rest = await objects.list(bucket, "k/", token=page.token)
        assert [info.key for info in (*page.objects, *rest.objects)] == keys[:4] + keys[6:]

    async def test_puts_of_one_key_at_once_leave_one_of_them(self, objects: ObjectStore, bucket: str) -> None:
        values = [bytes([number]) * 100_000 for number in range(8)]
        await asyncio.gather(*(objects.put(bucket, "key", value) for value in values))
        assert (await objects.get(bucket, "key"))[1] in values
