"""Buckets, tags, lives and presigned URLs of an object store."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime

from prism_proxy.object_stores.contract import LifecycleRule, ObjectStore, PutOptions
from prism_proxy.object_stores.errors import ErrorCode
from prism_proxy.testing.contracts.object_store_fixtures import ObjectStoreFixtures, pieces, refused


class ObjectStoreBucketsSuite(ObjectStoreFixtures):
    async def test_a_bucket_is_created_once(self, objects: ObjectStore) -> None:
        name = f"test-{uuid.uuid4().hex[:20]}"
        assert not await objects.bucket_exists(name)
        assert await objects.create_bucket(name)
        assert not await objects.create_bucket(name)
        assert await objects.bucket_exists(name)
        await objects.put(name, "a/b", b"content")
        upload = await objects.begin_upload(name, "unfinished")
        await upload.write(b"x" * 100)
        await objects.delete_bucket(name)
        assert not await objects.bucket_exists(name)
        await objects.delete_bucket(name)
        await upload.abort()

    async def test_CLM_9_a_missing_bucket_is_named_so(self, objects: ObjectStore) -> None:
        missing = f"test-{uuid.uuid4().hex[:20]}"
        for call in (objects.put(missing, "key", b"value"), objects.get(missing, "key"),
                     objects.get_stream(missing, "key"), objects.list(missing), objects.get_metadata(missing, "key"),
                     objects.put_stream(missing, "key", pieces(b"x" * 10, 5)), objects.exists(missing, "key"),
                     objects.delete_many(missing, ["key"])):
            with refused(ErrorCode.BUCKET_NOT_FOUND):
                await call

    async def test_tags(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"value", PutOptions(tags={"prism-pending": "1", "team": "a b/c+d=e"}))
        assert await objects.get_tags(bucket, "key") == {"prism-pending": "1", "team": "a b/c+d=e"}
        await objects.set_tags(bucket, "key", {"team": "other"})
        assert await objects.get_tags(bucket, "key") == {"team": "other"}
        await objects.set_tags(bucket, "key", {})
        assert await objects.get_tags(bucket, "key") == {}
        assert (await objects.get(bucket, "key"))[1] == b"value"

    async def test_CLM_9_a_ttl_is_kept_beside_other_tags(self, objects: ObjectStore, bucket: str) -> None:
        await objects.put(bucket, "key", b"value", PutOptions(tags={"prism-pending": "1"}))
        assert (await objects.get_metadata(bucket, "key")).expires_at is None
        await objects.set_ttl(bucket, "key", 3600)
        tags = await objects.get_tags(bucket, "key")
        assert tags["prism-pending"] == "1"
        assert tags["prism-ttl-seconds"] == "3600"
        assert abs(datetime.fromisoformat(tags["prism-ttl"]).timestamp() - time.time() - 3600) < 10
        expires = (await objects.get_metadata(bucket, "key")).expires_at
        assert expires is not None
        assert abs(expires - time.time() - 3600) < 10
        assert await objects.exists(bucket, "key")

    async def test_lifecycle_rules_are_ours_alone(self, objects: ObjectStore, bucket: str) -> None:
        assert await objects.lifecycle_rules(bucket) == []
        first = LifecycleRule("expire-claims-shop", "shop/", 2)
        other = LifecycleRule("expire-claims-blog", "blog & co/", 1)
        await objects.put_lifecycle_rule(bucket, first)
        await objects.put_lifecycle_rule(bucket, other)
        changed = LifecycleRule("expire-claims-shop", "shop/", 7)
        await objects.put_lifecycle_rule(bucket, changed)
        await objects.put_lifecycle_rule(bucket, changed)
        assert sorted(await objects.lifecycle_rules(bucket), key=lambda rule: rule.rule_id) == [other, changed]
        await objects.remove_lifecycle_rule(bucket, "expire-claims-shop")
        await objects.remove_lifecycle_rule(bucket, "expire-claims-shop")
        assert await objects.lifecycle_rules(bucket) == [other]
        await objects.remove_lifecycle_rule(bucket, "expire-claims-blog")
        assert await objects.lifecycle_rules(bucket) == []

    async def test_presigned_urls(self, objects: ObjectStore, bucket: str) -> None:
        if not self.presigns:
            with refused(ErrorCode.UNSUPPORTED):
                await objects.presign("GET", bucket, "key", 60)
            return
        put = await objects.presign("PUT", bucket, "a b/ü", 60)
        assert await asyncio.to_thread(_request, put, "PUT", b"by url") == (200, b"")
        assert (await objects.get(bucket, "a b/ü"))[1] == b"by url"
        get = await objects.presign("GET", bucket, "a b/ü", 60)
        assert await asyncio.to_thread(_request, get, "GET") == (200, b"by url")
        assert (await asyncio.to_thread(_request, get, "PUT", b"other"))[0] == 403
        assert (await asyncio.to_thread(_request, get.replace("%20", "%21"), "GET"))[0] == 403


def _request(url: str, method: str, data: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
