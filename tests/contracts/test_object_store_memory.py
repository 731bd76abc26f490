"""The contract of object stores over the one in memory."""

from __future__ import annotations

import pytest

from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.errors import ErrorCode
from prism_proxy.object_stores.memory.settings import MemoryObjectsSettings
from prism_proxy.object_stores.memory.store import MemoryStore
from prism_proxy.testing.contracts.object_store_buckets import ObjectStoreBucketsSuite
from prism_proxy.testing.contracts.object_store_fixtures import refused
from prism_proxy.testing.contracts.object_store_objects import ObjectStoreObjectsSuite
from prism_proxy.testing.contracts.object_store_streams import ObjectStoreStreamsSuite


@pytest.fixture
def objects() -> ObjectStore:
    return MemoryStore()


class TestMemory(ObjectStoreObjectsSuite, ObjectStoreStreamsSuite, ObjectStoreBucketsSuite):
    pass


async def test_a_full_store_says_so_and_forgets_what_is_deleted() -> None:
    store = MemoryStore(MemoryObjectsSettings(capacity=100))
    await store.create_bucket("bucket")
    await store.put("bucket", "first", b"x" * 60)
    with refused(ErrorCode.QUOTA_EXCEEDED):
        await store.put("bucket", "second", b"y" * 60)
    upload = await store.begin_upload("bucket", "third")
    await upload.write(b"z" * 40)
    with refused(ErrorCode.QUOTA_EXCEEDED):
        await upload.write(b"z")
    await upload.abort()
    await store.put("bucket", "first", b"x" * 100)
    await store.delete("bucket", "first")
    await store.put("bucket", "second", b"y" * 100)
