"""Payloads of any size by stream: published in pieces, fetched in pieces, resumed; with flat memory."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.payload import payload_pb2, payload_pb2_grpc
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.claim_check.claim import decode
from prism_proxy.models.payload.options import PayloadOptions
from prism_proxy.models.queue.options import QueueOptions
from prism_proxy.namespaces.model import NamespaceConfig, SlotConfig
from prism_proxy.steps.claim_check.options import ClaimCheckOptions
from tests.services.claims import (
    BUCKET,
    KIB,
    MIB,
    Claims,
    broker_slot,
    namespace,
    nats,  # noqa: F401 - a fixture
    object_slot,
    redis,  # noqa: F401 - a fixture
    refusal,
    serving,
    until,
)
from tests.services.proxy import ProxyProcess

SOAK = bool(os.environ.get("PRISM_SOAK"))
OPTIONS = ClaimCheckOptions(enabled=True, bucket=BUCKET, sweep_interval=0)


@pytest.fixture
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> SlotConfig:
    return object_slot(getattr(request, "param", "memory"), request, tmp_path / "objects")


@pytest.fixture
def config(objects: SlotConfig) -> NamespaceConfig:
    return namespace(SlotConfig("memstore", MemstoreConfig()), objects, OPTIONS)


@pytest.fixture
async def claims(config: NamespaceConfig) -> AsyncIterator[Claims]:
    async with serving(config, channel_options=()) as found:
        yield found


def pieces(payload: bytes, size: int = 256 * KIB) -> Iterator[bytes]:
    for at in range(0, len(payload), size):
        yield payload[at:at + size]


@pytest.mark.parametrize("objects", ["memory", "directory", "s3"], indirect=True)
@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 20 * MIB + 7])
async def test_a_payload_of_any_size_travels_by_stream(claims: Claims, size: int) -> None:
    payload = os.urandom(size)
    async with claims.subscription() as stream:
        sent = await claims.send(pieces(payload), topic="t", metadata={"prism-content-type": "image/png", "k": "v"})
        assert (sent.size, sent.checksum) == (size, hashlib.sha256(payload).digest())
        message = await stream.read()
    assert message.message_id == sent.message_id
    assert message.metadata["k"] == "v"
    assert message.metadata["prism-content-type"] == "image/png"
    assert bool(sent.claim_id) is (size > MIB)
    if size <= 3 * MIB:
        assert message.payload == payload
    else:
        assert message.metadata["prism-claim-id"] == sent.claim_id
        head, found = await claims.fetched(
            topic=message.metadata["prism-claim-topic"], claim_id=sent.claim_id, claim=message.payload)
        assert found == payload
        assert (head.size, head.content_type, head.checksum) == (size, "image/png", hashlib.sha256(payload).digest())
    assert len(await claims.stored()) == (size > MIB)


@pytest.mark.parametrize("store", ["memstore", "sqlite", "redis", "nats"])
async def test_every_kind_of_message_takes_a_stream(
    store: str, config: NamespaceConfig, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    slots = {**config.slots, "store": broker_slot(store, request, tmp_path)}
    async with serving(replace(config, slots=slots)) as claims:
        await every_kind(claims, persistent=store != "redis")


async def every_kind(claims: Claims, *, persistent: bool) -> None:
    payload = os.urandom(2 * MIB)
    await claims.send(pieces(payload), queue="q")
    [message] = await claims.dequeue()
    assert message.payload == payload
    sent = await claims.send(pieces(payload), stream="log", key=b"k")
    [record] = await claims.read()
    assert (record.value, record.key, record.offset) == (payload, b"k", sent.sequence)
    if persistent:
        sent = await claims.send(pieces(payload), persistent_topic="kept")
        assert sent.message_id
    else:
        code, _ = await refusal(claims.send([], persistent_topic="kept"))
        assert code is grpc.StatusCode.UNIMPLEMENTED
    code, _ = await refusal(claims.send([]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("compression", ["none", "zstd"])
async def test_ranges_address_the_original_bytes_and_a_broken_fetch_goes_on(
    config: NamespaceConfig, compression: str
) -> None:
    options = replace(OPTIONS, compression=compression)
    payload = os.urandom(3 * MIB) + b"text " * MIB + os.urandom(MIB)
    async with serving(replace(config, options={"claim_check": options})) as claims:
        sent = await claims.send(pieces(payload), queue="q")
        name: Any = {"topic": "q", "claim_id": sent.claim_id}
        for offset, limit in ((0, 10), (5 * MIB, MIB + 1), (len(payload) - 3, 0), (len(payload) - 3, 100)):
            head, found = await claims.fetched(**name, offset=offset, limit=limit)
            assert found == payload[offset:offset + (limit or len(payload))]
            assert (head.offset, head.read_from_start) == (offset, compression != "none")
        call = claims.fetch(**name)
        received = bytearray()
        async for part in call:  # it breaks somewhere, and is resumed there
            received += part.chunk
            if len(received) > MIB:
                call.cancel()
                break
        _, rest = await claims.fetched(**name, offset=len(received))
        assert bytes(received) + rest == payload
        for wrong, expected in ((({"offset": -1}), grpc.StatusCode.INVALID_ARGUMENT),
                                ({"claim_id": "x"}, grpc.StatusCode.INVALID_ARGUMENT),
                                ({"topic": ""}, grpc.StatusCode.INVALID_ARGUMENT),
                                ({"topic": "other"}, grpc.StatusCode.NOT_FOUND),
                                ({"topic": "../q"}, grpc.StatusCode.NOT_FOUND)):
            code, _ = await refusal(claims.fetched(**{**name, **wrong}))
            assert code is expected
        _, nothing = await claims.fetched(**name, offset=len(payload))
        assert nothing == b""
        if compression == "none":
            code, _ = await refusal(claims.fetched(**name, offset=len(payload) + 1))
            assert code is grpc.StatusCode.OUT_OF_RANGE


async def test_a_fetch_does_not_end_well_when_the_object_is_not_what_was_published(claims: Claims) -> None:
    payload = os.urandom(4 * MIB)
    sent = await claims.send(pieces(payload), queue="q")
    [message] = await claims.dequeue()
    assert decode(message.payload).claim_id == sent.claim_id
    [found] = await claims.stored()
    changed = payload[:-1] + bytes([payload[-1] ^ 1])
    await claims.objects().put(BUCKET, found.key, changed)
    code, reason = await refusal(claims.fetched(topic="q", claim_id=sent.claim_id, claim=message.payload))
    assert (code, reason) == (grpc.StatusCode.INTERNAL, "CLAIM_CHECKSUM_MISMATCH")
    await claims.objects().put(BUCKET, found.key, payload[:100])
    code, reason = await refusal(claims.fetched(topic="q", claim_id=sent.claim_id, claim=message.payload))
    assert reason == "CLAIM_CHECKSUM_MISMATCH"
    forged = replace(decode(message.payload), bucket="other").encode()
    code, reason = await refusal(claims.fetched(topic="q", claim_id=sent.claim_id, claim=forged))
    assert reason == "CLAIM_CORRUPT"
    await claims.objects().delete(BUCKET, found.key)
    code, reason = await refusal(claims.fetched(topic="q", claim_id=sent.claim_id))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "CLAIM_NOT_FOUND")


@pytest.mark.parametrize("objects", ["directory"], indirect=True)
async def test_a_namespace_fetches_no_claim_of_another_one_in_the_same_bucket(config: NamespaceConfig) -> None:
    other = replace(config, name="other", slots={**config.slots, "store": SlotConfig("memstore", MemstoreConfig())})
    async with serving(config, other) as claims:
        sent = await claims.send(pieces(os.urandom(4 * MIB)), queue="q")
        [message] = await claims.dequeue()
        name: Any = {"topic": "q", "claim_id": sent.claim_id}
        assert await refusal(claims.fetched("other", **name)) == (grpc.StatusCode.NOT_FOUND, "CLAIM_NOT_FOUND")
        _, reason = await refusal(claims.fetched("other", **name, claim=message.payload))
        assert reason == "CLAIM_CORRUPT"  # before any request: its object is not in this namespace
        for topic in ("../default/q", "default/q", "q/../../default/q"):
            assert (await refusal(claims.fetched("other", topic=topic, claim_id=sent.claim_id)))[1] == "CLAIM_NOT_FOUND"


@pytest.mark.parametrize("objects", ["memory", "directory", "s3"], indirect=True)
async def test_a_broken_upload_leaves_nothing(config: NamespaceConfig) -> None:
    config = replace(config, options={**config.options, "payload": PayloadOptions(idle_timeout=0.3)})
    async with serving(config) as claims:
        async def nothing() -> bool:
            store = claims.objects()
            return not await store.list_uploads(BUCKET) and not await claims.stored()

        payload = os.urandom(4 * MIB)
        wrong_size = await refusal(claims.send(pieces(payload), queue="q", size=5))
        wrong_sum = await refusal(claims.send(pieces(payload), queue="q", checksum=bytes(32)))
        assert wrong_size == wrong_sum == (grpc.StatusCode.INVALID_ARGUMENT, "PAYLOAD_MISMATCH")
        await until(nothing)

        async def forever() -> AsyncIterator[Any]:
            from prism.interfaces.payload import payload_pb2 as pb

            yield pb.PublishPayloadRequest(head=pb.PayloadHead(queue="q"))
            for piece in pieces(payload):
                yield pb.PublishPayloadRequest(chunk=piece)
            await asyncio.sleep(60)

        from prism.interfaces.payload import payload_pb2_grpc

        stub: Any = payload_pb2_grpc.PayloadInterfaceStub(claims.channel)  # type: ignore[no-untyped-call]
        code, reason = await refusal(stub.Publish(forever()))  # nothing comes any more
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_IDLE")
        await until(nothing)
        call = stub.Publish(forever())
        await asyncio.sleep(0.1)
        call.cancel()  # the publisher goes
        await until(nothing)
        code, _ = await refusal(claims.send([], queue="q", metadata={"prism-ttl-seconds": "x"}))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        driver = claims.route().slots["store"].driver.queue
        real = driver.enqueue

        async def full(*args: Any) -> Any:
            from prism_proxy.errors import PrismError, StatusCode

            raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", "full", {"outcome": "not_executed"})

        driver.enqueue = full
        try:
            await refusal(claims.send(pieces(payload), queue="q"))
            await refusal(claims.enqueue(payload))
        finally:
            driver.enqueue = real
        await until(nothing)
        assert await claims.dequeue() == []


@pytest.mark.parametrize("objects", ["directory", "s3"], indirect=True)
async def test_a_large_payload_goes_to_the_dead_letters_and_comes_back(config: NamespaceConfig) -> None:
    """256 MiB in the long form: its bytes never pass the queue, and moving it copies the object."""
    size = 256 * MIB if SOAK else 24 * MIB
    config = replace(config, options={**config.options, "queue": QueueOptions(max_receives=2)})
    block = os.urandom(MIB)
    async with serving(config, channel_options=()) as claims:
        sent = await claims.send((block for _ in range(size // MIB)), queue="q")
        expected = hashlib.sha256(block * (size // MIB)).digest()
        assert sent.checksum == expected

        async def check(queue: str) -> Any:
            """Lease the message and fetch its payload."""
            [message] = await until(lambda: claims.lease(queue, seconds=60), 20)
            found = hashlib.sha256()
            async for part in claims.fetch(
                    topic=message.metadata["prism-claim-topic"], claim_id=message.metadata["prism-claim-id"],
                    claim=message.payload):
                found.update(part.chunk)
            assert found.digest() == expected
            return message

        for _ in range(2):
            await claims.release((await check("q")).receipt, delete=False)
        dead = await check("q.dlq")
        assert dead.metadata["x-dlq-source"] == "q"
        await claims.release(dead.receipt, delete=False, queue="q.dlq")
        assert await claims.redrive() == 1
        await claims.release((await check("q")).receipt, delete=True)
        assert await claims.lease() == []


async def test_a_namespace_without_claim_check_has_no_such_interface(tmp_path: Path) -> None:
    plain = NamespaceConfig.of_store("default", "sqlite", SqliteConfig(path=str(tmp_path / "x.db")))
    async with serving(plain) as claims:
        code, _ = await refusal(claims.send([b"x"], queue="q"))
        assert code is grpc.StatusCode.UNIMPLEMENTED


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def growth(work: Awaitable[Any], resident: Callable[[], int] = resident) -> int:
    """By how many bytes a process grew at most while the work went on."""
    before = most = resident()
    running = asyncio.ensure_future(work)
    while not running.done():
        await asyncio.wait({running}, timeout=0.05)
        most = max(most, resident())
    await running
    return most - before


@pytest.mark.parametrize("objects", ["directory", "s3"], indirect=True)
async def test_CLM_8_memory_stays_flat_however_large_a_payload_is(claims: Claims, objects: SlotConfig) -> None:
    block = os.urandom(MIB)
    digest = hashlib.sha256()

    async def one(count: int) -> None:
        sent = await claims.send((block for _ in range(count)), queue="q", size=count * MIB)
        received = 0
        async for part in claims.fetch(topic="q", claim_id=sent.claim_id):
            received += len(part.chunk)
            digest.update(part.chunk)
        assert received == count * MIB
        await claims.dequeue()

    await one(16)
    assert await growth(one(256 if objects.driver == "s3" else 96)) < 64 * MIB


@pytest.mark.parametrize("objects", ["directory", "s3"], indirect=True)
async def test_many_uploads_at_once_stay_within_the_buffers(objects: SlotConfig, tmp_path: Path) -> None:
    """In a process of its own: here the clients' memory would be counted too."""
    uploads, size = (100, 100) if SOAK else (20, 8)
    block, found = os.urandom(MIB), objects.config
    names = ("endpoint", "access_key", "secret_key") if objects.driver == "s3" else ("path",)
    settings = ", ".join(f"{name}: '{getattr(found, name)}'" for name in names)
    file = tmp_path / "prism.yaml"
    file.write_text(f"""
namespaces:
  default:
    backends: {{store: {{driver: memstore}}, object_store: {{driver: {objects.driver}, config: {{{settings}}}}}}}
    claim_check: {{enabled: true, bucket: many-uploads}}
""")
    async with (
        ProxyProcess("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0") as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        stub: Any = payload_pb2_grpc.PayloadInterfaceStub(channel)  # type: ignore[no-untyped-call]

        async def one() -> None:
            parts = [payload_pb2.PublishPayloadRequest(head=payload_pb2.PayloadHead(queue="q"))]
            parts += [payload_pb2.PublishPayloadRequest(chunk=block)] * size
            assert (await stub.Publish(iter(parts))).size == size * MIB

        await one()
        assert await growth(asyncio.gather(*(one() for _ in range(uploads))), proxy.resident_bytes) < 192 * MIB
