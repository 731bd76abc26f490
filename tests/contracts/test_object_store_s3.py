"""The contract of object stores over a real S3, and what only a server can do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.s3.settings import S3Settings
from prism_proxy.object_stores.s3.store import S3Store
from prism_proxy.testing.contracts.object_store_buckets import ObjectStoreBucketsSuite
from prism_proxy.testing.contracts.object_store_objects import ObjectStoreObjectsSuite
from prism_proxy.testing.contracts.object_store_streams import ObjectStoreStreamsSuite
from tests.services.seaweedfs import S3Server


def settings(server: S3Server, **more: object) -> S3Settings:
    given = {"endpoint": server.endpoint, "access_key": server.access_key, "secret_key": server.secret_key, **more}
    return S3Settings(**given)  # type: ignore[arg-type]


@pytest.fixture
async def objects(s3: S3Server) -> AsyncIterator[ObjectStore]:
    store = S3Store(settings(s3, part_bytes=5 * 1024 * 1024))
    await store.open()
    yield store
    await store.close()


class TestS3(ObjectStoreObjectsSuite, ObjectStoreStreamsSuite, ObjectStoreBucketsSuite):
    presigns = True
    key_order = False  # SeaweedFS lists what is in a folder behind the folder
    longest_part = 255
