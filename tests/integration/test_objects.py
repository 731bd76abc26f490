"""Objects through the native server, by stock grpcio clients, on every store that is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.storage import storage_object_pb2 as storage
from prism.interfaces.storage import storage_object_pb2_grpc as storage_rpc
from prism.objectstore.v1 import objectstore_pb2 as service
from prism.objectstore.v1 import objectstore_pb2_grpc as service_rpc
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.objects.config import DirectoryConfig, MemoryObjectsConfig, S3Config
from prism_proxy.models.object.options import ObjectOptions
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig, SlotConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.testing.contracts.messaging_wire import reason_of
from tests.services.seaweedfs import S3Server
from tests.services.shim import Fault, Shim
from tests.support import in_process

MIB = 1024 * 1024


class Client:
    """Stubs of both services, and the routes they lead to."""

    def __init__(self, channel: grpc.aio.Channel, namespaces: Namespaces, address: str) -> None:
        self.namespaces, self.address = namespaces, address
        self.storage: Any = storage_rpc.StorageObjectInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.service: Any = service_rpc.ObjectStoreServiceStub(channel)  # type: ignore[no-untyped-call]

    @property
    def route(self) -> Any:
        return self.namespaces.resolve(DEFAULT)

    @property
    def store(self) -> Any:
        return self.route.slots["object_store"].driver.objects

    async def put(self, bucket: str, key: str, data: bytes, **more: Any) -> Any:
        return await self.service.PutObject(upload(bucket, key, data, **more))

    async def get(self, bucket: str, key: str, **more: Any) -> tuple[Any, bytes]:
        replies = [reply async for reply in self.service.GetObject(
            service.GetObjectRequest(bucket=bucket, key=key, **more))]
        return replies[0], b"".join(reply.chunk for reply in replies)


async def upload(bucket: str, key: str, data: bytes, piece: int = 300_000, **more: Any) -> AsyncIterator[Any]:
    yield service.PutObjectRequest(bucket=bucket, key=key, chunk=data[:piece], **more)
    for start in range(piece, len(data), piece):
        yield service.PutObjectRequest(chunk=data[start:start + piece])


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), reason_of(caught.value)


@pytest.fixture
def buckets() -> list[str]:
    return [f"test-{uuid.uuid4().hex[:12]}" for _ in range(2)]


@pytest.fixture(params=("memory", "directory", "s3"))
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> SlotConfig:
    if request.param == "memory":
        return SlotConfig("memory", MemoryObjectsConfig())
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return SlotConfig("s3", S3Config(endpoint=server.endpoint, access_key=server.access_key,
                                         secret_key=server.secret_key, part_bytes=5 * MIB))
    return SlotConfig("directory", DirectoryConfig(tmp_path / "objects", sync=False))


@pytest.fixture
def config(driver: SlotConfig, buckets: list[str]) -> NamespaceConfig:
    """Beside a store for everything else."""
    return NamespaceConfig(DEFAULT, "primitives", {
        "store": SlotConfig("memstore", MemstoreConfig()), "object_store": driver,
    }, {"object": ObjectOptions(tuple(buckets), max_object_bytes=16 * MIB)})


@contextlib.asynccontextmanager
async def serving(config: NamespaceConfig) -> AsyncIterator[Client]:
    async with (in_process.applied(config) as (namespaces, _), in_process.serving(namespaces) as served,
                grpc.aio.insecure_channel(served.address) as channel):
        yield Client(channel, namespaces, served.address)


@pytest.fixture
async def client(config: NamespaceConfig) -> AsyncIterator[Client]:
    async with serving(config) as found:
        yield found


async def test_an_object_larger_than_a_message_goes_in_and_comes_out(client: Client, buckets: list[str]) -> None:
    data = os.urandom(12 * MIB + 17)
    metadata = {"owner": "shop"}
    result = await client.put(buckets[0], "films/a.mp4", data, content_type="video/mp4", metadata=metadata)
    assert (result.object_id, result.size_bytes) == (f"{buckets[0]}/films/a.mp4", len(data))
    first, found = await client.get(buckets[0], "films/a.mp4")
    assert found == data
    assert (first.content_type, first.size_bytes, dict(first.metadata)) == ("video/mp4", len(data), metadata)
    assert first.etag == result.etag
    head = await client.service.HeadObject(service.HeadObjectRequest(bucket=buckets[0], key="films/a.mp4"))
    assert (head.size_bytes, head.etag, dict(head.metadata)) == (len(data), result.etag, metadata)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 9), (2 * MIB, None), (None, 99), (3 * MIB - 1, 10**9)])
async def test_ranges(client: Client, buckets: list[str], start: int | None, end: int | None) -> None:
    data = os.urandom(3 * MIB)
    await client.put(buckets[0], "key", data)
    first, found = await client.get(buckets[0], "key", range_start=start, range_end=end)
    assert found == data[start or 0:None if end is None else end + 1]
    assert first.size_bytes == len(data)


async def test_the_thin_interface(client: Client, buckets: list[str]) -> None:
    data = os.urandom(2 * MIB + 5)

    async def requests() -> AsyncIterator[Any]:
        yield storage.PutObjectRequest(bucket=buckets[0], key="a/1", data=data[:MIB], content_type="text/plain")
        yield storage.PutObjectRequest(data=data[MIB:])
        yield storage.PutObjectRequest(is_final_chunk=True)

    result = await client.storage.PutObject(requests())
    assert result.size == len(data)
    whole = storage.GetObjectRequest(bucket=buckets[0], key="a/1")
    replies = [reply async for reply in client.storage.GetObject(whole)]
    assert b"".join(reply.data for reply in replies) == data
    assert [reply.is_final_chunk for reply in replies] == [False] * (len(replies) - 1) + [True]
    part = [reply async for reply in client.storage.GetObject(storage.GetObjectRequest(
        bucket=buckets[0], key="a/1", offset=MIB - 2, limit=4))]
    assert b"".join(reply.data for reply in part) == data[MIB - 2:MIB + 2]
    head = await client.storage.HeadObject(storage.HeadObjectRequest(bucket=buckets[0], key="a/1"))
    assert (head.key, head.size, head.content_type) == ("a/1", len(data), "text/plain")
    for number in range(2, 8):
        await client.put(buckets[0], f"a/{number}", b"x")
    await client.put(buckets[0], "b/1", b"x")

    async def listed(**more: Any) -> list[str]:
        return [item.key async for item in client.storage.ListObjects(storage.ListObjectsRequest(
            bucket=buckets[0], **more))]

    assert await listed() == [*(f"a/{number}" for number in range(1, 8)), "b/1"]
    first = await listed(prefix="a/", max_keys=3)
    assert first + await listed(prefix="a/", continuation_token=first[-1]) == [f"a/{number}" for number in range(1, 8)]
    for expected in (True, False):
        reply = await client.storage.DeleteObject(storage.DeleteObjectRequest(bucket=buckets[0], key="a/1"))
        assert reply.deleted is expected


async def test_pages_and_copies(client: Client, buckets: list[str]) -> None:
    for number in range(5):
        await client.put(buckets[0], f"p/{number}", b"x" * number)
    found, token = [], ""
    while True:
        page = await client.service.ListObjects(service.ListObjectsRequest(
            bucket=buckets[0], prefix="p/", max_results=2, continuation_token=token))
        found += [(item.key, item.size_bytes) for item in page.objects]
        token = page.continuation_token
        assert page.is_truncated is bool(token)
        if not token:
            break
    assert found == [(f"p/{number}", number) for number in range(5)]
    await client.put(buckets[1], "there", b"")  # the bucket is made at its first use
    copied = await client.service.CopyObject(service.CopyObjectRequest(
        source_bucket=buckets[0], source_key="p/4", bucket=buckets[1], key="copy"))
    assert copied.size_bytes == 4
    assert (await client.get(buckets[1], "copy"))[1] == b"xxxx"


async def test_a_life_is_kept_in_the_tags(client: Client, buckets: list[str]) -> None:
    await client.put(buckets[0], "key", b"x", ttl_seconds=60)
    tags = await client.store.get_tags(buckets[0], "key")
    assert tags["prism-ttl-seconds"] == "60"


async def test_a_client_that_leaves_in_the_middle_stores_nothing(client: Client, buckets: list[str]) -> None:
    await client.put(buckets[0], "other", b"x")
    sent = asyncio.Event()

    async def requests() -> AsyncIterator[Any]:
        yield service.PutObjectRequest(bucket=buckets[0], key="key", chunk=b"x" * MIB)
        sent.set()
        await asyncio.Event().wait()

    call = client.service.PutObject(requests())
    await sent.wait()
    await asyncio.sleep(0.05)
    call.cancel()
    store = client.store
    async with asyncio.timeout(5):
        while await store.list_uploads(buckets[0]):
            await asyncio.sleep(0.01)
    assert [info.key for info in (await store.list(buckets[0])).objects] == ["other"]


async def test_a_store_that_is_silent_costs_no_more_than_the_deadline(s3: S3Server, buckets: list[str]) -> None:
    async with Shim(*s3.address) as shim:
        settings = S3Config(endpoint=f"http://127.0.0.1:{shim.port}", access_key=s3.access_key,
                            secret_key=s3.secret_key)
        config = NamespaceConfig(DEFAULT, "primitives", {"store": SlotConfig("s3", settings)}, {
            "object": ObjectOptions(tuple(buckets))})
        async with serving(config) as client:
            data = os.urandom(12 * MIB)
            await client.put(buckets[0], "key", data)
            shim.fault = Fault.STALL
            began = time.monotonic()
            codes = await asyncio.to_thread(_with_deadlines, client.address, buckets[0])
            assert set(codes) <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
            assert time.monotonic() - began < 5
            shim.fault = Fault.NONE
            assert (await client.get(buckets[0], "key"))[1] == data
            store = client.route.slots["store"].driver.objects
            async with asyncio.timeout(10):  # the upload was abandoned when the store listened again
                while await store.list_uploads(buckets[0]):
                    await asyncio.sleep(0.05)
            assert [info.key for info in (await store.list(buckets[0])).objects] == ["key"]


def _with_deadlines(address: str, bucket: str) -> list[grpc.StatusCode]:
    """By the blocking client: a stream of the other one that is past its deadline ends with a status of its own."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = service_rpc.ObjectStoreServiceStub(channel)  # type: ignore[no-untyped-call]
        pieces = [service.PutObjectRequest(bucket=bucket, key="other"),
                  *(service.PutObjectRequest(chunk=bytes(MIB)) for _ in range(12))]
        codes = []
        for call in (lambda: stub.PutObject(iter(pieces), timeout=0.7),
                     lambda: stub.HeadObject(service.HeadObjectRequest(bucket=bucket, key="key"), timeout=0.7),
                     lambda: list(stub.GetObject(service.GetObjectRequest(bucket=bucket, key="key"), timeout=0.7))):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            codes.append(caught.value.code())
        return codes


async def test_a_stream_without_its_last_chunk_stores_nothing(client: Client, buckets: list[str]) -> None:
    async def requests() -> AsyncIterator[Any]:
        yield storage.PutObjectRequest(bucket=buckets[0], key="key", data=b"x" * MIB)

    assert (await refusal(client.storage.PutObject(requests())))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert await refusal(client.get(buckets[0], "key")) == (grpc.StatusCode.NOT_FOUND, "OBJECT_NOT_FOUND")


async def test_an_object_that_is_too_large_is_not_stored(client: Client, buckets: list[str]) -> None:
    assert await refusal(client.put(buckets[0], "key", bytes(16 * MIB + 1), piece=MIB)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED, "OBJECT_TOO_LARGE")
    assert await refusal(client.get(buckets[0], "key")) == (grpc.StatusCode.NOT_FOUND, "OBJECT_NOT_FOUND")


async def test_only_buckets_of_the_list_are_reached(client: Client, buckets: list[str]) -> None:
    store, foreign = client.store, f"{buckets[0]}-foreign"
    await store.create_bucket(foreign)
    await store.put(foreign, "secret", b"x")
    listed = service.ListObjectsRequest(bucket=foreign)
    copy = service.CopyObjectRequest(source_bucket=foreign, source_key="secret", bucket=buckets[0], key="mine")
    other = service.CopyObjectRequest(source_bucket=buckets[0], source_key="mine", bucket=foreign, key="secret")
    walk = client.storage.ListObjects(storage.ListObjectsRequest(bucket=foreign))
    for call in (client.put(foreign, "secret", b"y"), client.get(foreign, "secret"), client.get("", "secret"),
                 client.service.ListObjects(listed), client.service.CopyObject(copy), client.service.CopyObject(other),
                 client.service.DeleteObject(service.DeleteObjectRequest(bucket=foreign, key="secret")),
                 client.service.HeadObject(service.HeadObjectRequest(bucket=foreign, key="secret")),
                 walk.read()):
        assert await refusal(call) == (grpc.StatusCode.PERMISSION_DENIED, "BUCKET_NOT_ALLOWED")
    assert (await store.get(foreign, "secret"))[1] == b"x"


@pytest.mark.parametrize("key", [
    "", "/a", "a//b", "../claims/secret", "a/../../b", "a/.", "a\x00b", "a\n", "a\\b", "k" * 1025])
async def test_keys_that_lead_elsewhere_are_refused(client: Client, buckets: list[str], key: str) -> None:
    for call in (client.put(buckets[0], key, b"x"), client.get(buckets[0], key),
                 client.service.DeleteObject(service.DeleteObjectRequest(bucket=buckets[0], key=key)),
                 client.service.CopyObject(service.CopyObjectRequest(
                     source_bucket=buckets[0], source_key="ok", bucket=buckets[0], key=key)),
                 client.service.HeadObject(service.HeadObjectRequest(bucket=buckets[0], key=key))):
        assert (await refusal(call)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_KEY")


@pytest.mark.parametrize("more", [
    {"metadata": {"Upper": "x"}}, {"metadata": {"a": "ü"}}, {"metadata": {"a": "b\r\nx-evil: 1"}},
    {"metadata": {"a": "x" * 3000}}, {"content_type": "a\nb"}, {"ttl_seconds": 0}, {"namespace": "other"}])
async def test_what_no_store_would_take_is_refused(client: Client, buckets: list[str], more: dict[str, Any]) -> None:
    assert (await refusal(client.put(buckets[0], "key", b"x", **more)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_ranges_that_no_object_has(client: Client, buckets: list[str]) -> None:
    await client.put(buckets[0], "key", b"0123456789")
    for more in ({"range_start": 10}, {"range_start": 5, "range_end": 4}, {"range_start": -1}):
        assert (await refusal(client.get(buckets[0], "key", **more)))[0] is grpc.StatusCode.OUT_OF_RANGE


async def test_presigned_urls_are_off(client: Client, buckets: list[str]) -> None:
    assert await refusal(client.service.GetPresignedURL(service.PresignedURLRequest(
        bucket=buckets[0], key="key", method="GET"))) == (grpc.StatusCode.FAILED_PRECONDITION, "PRESIGN_DISABLED")


async def test_presigned_urls(driver: SlotConfig, buckets: list[str]) -> None:
    config = NamespaceConfig(DEFAULT, "primitives", {"store": driver}, {
        "object": ObjectOptions(tuple(buckets), presign=True)})
    async with serving(config) as client:
        await client.put(buckets[0], "a b", b"value")

        def asked(**more: Any) -> Any:
            return client.service.GetPresignedURL(service.PresignedURLRequest(**{
                "bucket": buckets[0], "key": "a b", "method": "GET", **more}))

        for more in ({"method": "DELETE"}, {"method": "get"}, {"expires_in_seconds": 3601}, {"expires_in_seconds": -1}):
            assert (await refusal(asked(**more)))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert (await refusal(asked(bucket="claims")))[1] == "BUCKET_NOT_ALLOWED"
        if driver.driver != "s3":
            assert (await refusal(asked()))[0] is grpc.StatusCode.UNIMPLEMENTED
            return
        got = await asked(expires_in_seconds=60)
        assert 50 < got.expires_at - time.time() <= 61
        assert await asyncio.to_thread(_fetch, got.url) == b"value"
        put = await asked(method="PUT")
        await asyncio.to_thread(_fetch, put.url, b"by url")
        assert (await client.get(buckets[0], "a b"))[1] == b"by url"


def _fetch(url: str, data: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, data, method="GET" if data is None else "PUT")
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())


async def test_the_store_may_be_an_object_store_itself(driver: SlotConfig, buckets: list[str]) -> None:
    config = NamespaceConfig(DEFAULT, "primitives", {"store": driver}, {"object": ObjectOptions(tuple(buckets))})
    async with serving(config) as client:
        await client.put(buckets[0], "key", b"value")
        assert (await client.get(buckets[0], "key"))[1] == b"value"
        assert client.route.interfaces == {"storage_object", "object_store"}


async def test_a_namespace_without_an_object_store_lacks_the_interfaces(buckets: list[str]) -> None:
    async with serving(NamespaceConfig.of_store(DEFAULT, "memstore", MemstoreConfig())) as client:
        assert (await refusal(client.put(buckets[0], "key", b"x"))) == (
            grpc.StatusCode.UNIMPLEMENTED, "INTERFACE_NOT_SUPPORTED")
