"""The contract of object stores over a folder, and what only a folder can suffer."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.directory.store import DirectoryStore
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError
from prism_proxy.testing.contracts.object_store_buckets import ObjectStoreBucketsSuite
from prism_proxy.testing.contracts.object_store_fixtures import pieces, refused
from prism_proxy.testing.contracts.object_store_objects import ObjectStoreObjectsSuite
from prism_proxy.testing.contracts.object_store_streams import ObjectStoreStreamsSuite


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    store = DirectoryStore(DirectorySettings(tmp_path / "objects", sync=False))
    await store.open()
    yield store
    await store.close()


class TestDirectory(ObjectStoreObjectsSuite, ObjectStoreStreamsSuite, ObjectStoreBucketsSuite):
    async def test_no_name_is_too_long_and_none_leads_outside(
        self, objects: ObjectStore, bucket: str, tmp_path: Path
    ) -> None:
        for key in ("é" * 500, "%" * 1000, "..a/...", ".hidden/..b", "a" * 255 + "/" + "b" * 255):
            await objects.put(bucket, key, b"x")
        for path in (tmp_path / "objects").rglob("*"):
            assert len(os.fsencode(path.name)) <= 255
            assert not path.name.startswith(".")
        assert len((await objects.list(bucket)).objects) == 5

    async def test_nothing_but_the_object_is_left_behind(
        self, objects: ObjectStore, bucket: str, tmp_path: Path
    ) -> None:
        for value in (b"first", b"second", b"third"):
            await objects.put(bucket, "a/b", value)
        files = list((tmp_path / "objects" / bucket / "a").iterdir())
        assert len(files) == 2
        await objects.delete(bucket, "a/b")
        assert not (tmp_path / "objects" / bucket / "a").exists()
        assert list((tmp_path / "objects" / bucket / "%uploads").iterdir()) == []

    async def test_a_full_disk_says_so_and_keeps_what_was_there(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"before")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))  # to a process that is what a full disk is
        try:
            with refused(ErrorCode.QUOTA_EXCEEDED):
                await objects.put_stream(bucket, "key", pieces(bytes(5_000_000), 500_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (await objects.get(bucket, "key"))[1] == b"before"
        assert await objects.list_uploads(bucket) == []

    async def test_a_folder_that_was_changed_by_others_gives_no_other_bytes(
        self, objects: ObjectStore, bucket: str, tmp_path: Path
    ) -> None:
        for key in ("short", "gone", "record"):
            await objects.put(bucket, key, b"value")
        folder = tmp_path / "objects" / bucket
        [short] = folder.glob("short%d*")
        short.write_bytes(b"val")
        [gone] = folder.glob("gone%d*")
        gone.unlink()
        (folder / "record%m").write_text("{}")
        for key in ("short", "gone", "record"):
            with refused(ErrorCode.CORRUPT):
                await objects.get(bucket, key)
            await objects.put(bucket, key, b"again")
            assert (await objects.get(bucket, key))[1] == b"again"

    async def test_a_folder_that_went_away_says_so(self, objects: ObjectStore, bucket: str, tmp_path: Path) -> None:
        (tmp_path / "objects").rename(tmp_path / "elsewhere")
        for call in (objects.create_bucket("other"), objects.put(bucket, "key", b"x"), objects.list(bucket)):
            with pytest.raises(ObjectStoreError) as caught:
                await call
            assert caught.value.code in (ErrorCode.UNAVAILABLE, ErrorCode.BUCKET_NOT_FOUND)
        (tmp_path / "elsewhere").rename(tmp_path / "objects")

    async def test_two_stores_share_a_folder(self, objects: ObjectStore, bucket: str, tmp_path: Path) -> None:
        """As workers do: one opens while the other uploads."""
        upload = await objects.begin_upload(bucket, "key")
        await upload.write(b"x" * 2_000_000)
        other = DirectoryStore(DirectorySettings(tmp_path / "objects", sync=False))
        await other.open()
        assert len(await other.list_uploads(bucket)) == 1
        await upload.complete()
        assert (await other.get(bucket, "key"))[0].size == 2_000_000
        await asyncio.gather(*(store.set_tags(bucket, "key", {"n": str(number)})
                               for number, store in enumerate((objects, other) * 20)))
        assert (await other.get_tags(bucket, "key"))["n"].isdigit()
        await other.close()

    async def test_a_copy_needs_no_links(
        self, objects: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused_link(source: Path, target: Path) -> None:
            raise OSError(errno.EMLINK, "too many links")

        await objects.put(bucket, "key", b"value")
        monkeypatch.setattr(os, "link", refused_link)
        await objects.copy(bucket, "key", bucket, "copy")
        await objects.delete(bucket, "key")
        assert (await objects.get(bucket, "copy"))[1] == b"value"
