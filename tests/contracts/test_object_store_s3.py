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


async def test_the_environment_does_not_lead_elsewhere(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy runs where other tools have their AWS_ variables; a namespace that names a server means that server."""
    for name, value in {
        "AWS_SESSION_TOKEN": "other", "AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ENDPOINT": "http://127.0.0.1:1", "AWS_REGION": "eu-west-9", "AWS_SKIP_SIGNATURE": "true",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": "arn:aws:iam::1:role/other",
    }.items():
        monkeypatch.setenv(name, value)
    store = S3Store(settings(s3, max_retries=0))
    await store.create_bucket("test-environment")
    await store.put("test-environment", "key", b"value")
    assert (await store.get("test-environment", "key"))[1] == b"value"
    assert (await store.get_metadata("test-environment", "key")).size == 5
    assert await store.lifecycle_rules("test-environment") == []
    await store.delete_bucket("test-environment")
    await store.close()


class TestS3(ObjectStoreObjectsSuite, ObjectStoreStreamsSuite, ObjectStoreBucketsSuite):
    presigns = True
    key_order = False  # SeaweedFS lists what is in a folder behind the folder
    longest_part = 255
