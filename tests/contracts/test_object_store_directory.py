"""The contract of object stores over a folder, and what only a folder can suffer."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.directory.settings import DirectorySettings
from prism_proxy.object_stores.directory.store import DirectoryStore
from prism_proxy.testing.contracts.object_store_buckets import ObjectStoreBucketsSuite
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
