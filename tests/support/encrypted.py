"""Encrypted namespaces for tests: keys of every type, and a served namespace with stock stubs for its messages."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from prism.interfaces.pubsub import pubsub_basic_pb2 as pubsub
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as pubsub_rpc
from prism.interfaces.queue import queue_basic_pb2 as queue
from prism.interfaces.queue import queue_basic_pb2_grpc as queue_rpc
from prism.interfaces.queue import queue_visibility_pb2 as visibility
from prism.interfaces.queue import queue_visibility_pb2_grpc as visibility_rpc
from prism.interfaces.stream import stream_basic_pb2 as stream
from prism.interfaces.stream import stream_basic_pb2_grpc as stream_rpc
from prism_proxy._native.envelope.codec import new_message_id, now_ms
from prism_proxy.contracts.steps import PassingMessage
from prism_proxy.crypto.algorithms import ALGORITHMS, algorithm
from prism_proxy.envelope.parts import Security
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.models.framing import ENCRYPTION_HEADER, ID_HEADER
from prism_proxy.models.messages import TOPIC_HEADER, Carrier, StoredMessage
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.secrets.key_files import KeyFiles
from prism_proxy.secrets.options import SecretsOptions
from prism_proxy.secrets.providers.file import FileOptions, FileProvider
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.encrypt.step import EncryptStep
from prism_proxy.steps.resources import StepResources
from tests.support import in_process

NAME = "customers"
KINDS = {1: "symmetric", 2: "asymmetric", 3: "post_quantum", 4: "hybrid"}


def key_directory() -> Path:
    """A directory with a key of every type that encrypts."""
    return Path(_key_directory().name)


@functools.cache
def _key_directory() -> tempfile.TemporaryDirectory[str]:
    """Made once a process, because RSA keys take a second; gone when it ends."""
    directory = tempfile.TemporaryDirectory(prefix="prism-keys-")
    files = files_in(Path(directory.name))
    for key_type in {found.key_type for found in ALGORITHMS.values()}:
        files.generate(key_type, key_type, 0.0)
    return directory


def files_in(directory: Path) -> KeyFiles:
    """The keys of provider `disk`."""
    return KeyFiles("disk", FileProvider(directory))


def options_of(name: str, **changes: Any) -> EncryptionOptions:
    """The settings for an algorithm, with its key of `key_directory`."""
    found = algorithm(name)
    kind = KINDS[found.type]
    references = ({"key_ref": f"disk://{found.key_type}"} if kind == "symmetric" else
                  {"public_key_ref": f"disk://{found.key_type}.pub", "private_key_ref": f"disk://{found.key_type}"})
    return EncryptionOptions(enabled=True, type=kind, algorithm=name, **references | changes)


def resources(directory: Path, *, ttl: float = 86_400.0, **provider: Any) -> StepResources:
    return StepResources(SecretsOptions(
        {"disk": FileOptions(directory=directory, **provider)}, ttl, allow_core_dumps=True), {})


class Client:
    """Stubs on one channel, for one namespace."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str) -> None:
        self.channel = channel
        self._metadata = (("x-namespace", namespace),)
        self._pubsub: Any = pubsub_rpc.PubSubBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._queue: Any = queue_rpc.QueueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._visibility: Any = visibility_rpc.QueueVisibilityInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._stream: Any = stream_rpc.StreamBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]

    async def publish(self, topic: str, payload: bytes, **metadata: str) -> str:
        reply = await self._pubsub.Publish(pubsub.PublishRequest(
            topic=topic, payload=payload, metadata=_dashed(metadata)), metadata=self._metadata)
        return str(reply.message_id)

    async def subscribe(self, topic: str) -> Any:
        """The call, once the subscription is active."""
        call = self.subscribing(pubsub.SubscribeRequest(topic=topic))
        async with asyncio.timeout(10):
            await call.initial_metadata()
        return call

    def subscribing(self, request: pubsub.SubscribeRequest) -> Any:
        """The call, which may fail."""
        return self._pubsub.Subscribe(request, metadata=self._metadata)

    async def put(self, name: str, payload: bytes, **metadata: str) -> str:
        reply = await self._queue.Enqueue(queue.EnqueueRequest(
            queue=name, payload=payload, metadata=_dashed(metadata)), metadata=self._metadata)
        return str(reply.message_id)

    async def take(self, name: str, count: int = 1, wait_ms: int = 0) -> list[Any]:
        return list((await self._queue.Dequeue(queue.DequeueRequest(
            queue=name, max_messages=count, wait_ms=wait_ms), metadata=self._metadata)).messages)

    async def lease(self, name: str, count: int = 1, wait_ms: int = 0) -> list[Any]:
        return list((await self._visibility.DequeueWithTimeout(visibility.DequeueWithTimeoutRequest(
            queue=name, max_messages=count, visibility_seconds=30, wait_ms=wait_ms),
            metadata=self._metadata)).messages)

    async def fail(self, name: str, receipt: str) -> None:
        await self._visibility.Release(visibility.ReleaseRequest(queue=name, receipt=receipt), metadata=self._metadata)

    async def append(self, name: str, *values: bytes, **headers: str) -> int:
        reply = await self._stream.Append(stream.AppendRequest(stream=name, records=[
            stream.StreamRecord(value=value, headers=_dashed(headers)) for value in values]), metadata=self._metadata)
        return int(reply.last_offset)

    async def read(self, name: str) -> list[Any]:
        call = self._stream.Read(stream.ReadRequest(stream=name), metadata=self._metadata)
        async with asyncio.timeout(10):
            return [record async for record in call]


def _dashed(metadata: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "-"): value for key, value in metadata.items()}


async def received(call: Any) -> Any:
    """The next message of a subscription."""
    async with asyncio.timeout(10):
        return await call.read()


async def passed(
    options: EncryptionOptions, used: StepResources, topic: str, payload: bytes, namespace: str = NAME
) -> PassingMessage:
    """A message as another proxy encrypts it, whose keys are those of `used`."""
    step = EncryptStep(namespace, options, used, assigned=False)
    await step.open()
    message = PassingMessage(topic, new_message_id(), payload)
    await step.messages.publish(message)
    return message


def stored(message: PassingMessage, carrier: Carrier, mode: str = "always") -> StoredMessage:
    """The message as a backend gets it."""
    assert message.encryption is not None
    if carrier is Carrier.PARTS or (carrier is Carrier.HEADERS and mode == "headers"):
        headers = {ENCRYPTION_HEADER: b64encode(message.encryption.encode()).decode()}
        if carrier is Carrier.HEADERS:
            headers |= {ID_HEADER: message.message_id, TOPIC_HEADER: message.topic}
        return StoredMessage(message.message_id, message.payload, headers, now_ms())
    data = EnvelopeWriter(NAME, message.topic).write(
        message.payload, message_id=message.message_id, published_ms=now_ms(),
        security=Security(encryption=message.encryption))
    return StoredMessage(message.message_id, data, {}, now_ms())


class Served:
    """A namespace behind a server of our own in this process. `driver` is its backend, past the proxy."""

    def __init__(self, client: Client, activator: Activator, namespaces: Namespaces, used: StepResources) -> None:
        self.client = client
        self._activator = activator
        self._namespaces = namespaces
        self.resources = used

    @property
    def route(self) -> Any:
        return self._namespaces.current.routes[NAME]

    @property
    def driver(self) -> Any:
        return self.route.drivers[0]

    async def change(self, config: NamespaceConfig) -> None:
        await self._activator.apply([config])


@contextlib.asynccontextmanager
async def serving(
    store: tuple[str, Any], options: EncryptionOptions | None, *, used: StepResources | None = None, **groups: Any,
) -> AsyncIterator[Served]:
    used = used or resources(key_directory())
    async with (in_process.applied(config_of(store, options, **groups), resources=used) as (namespaces, activator),
                in_process.serving(namespaces, native=True) as served,
                grpc.aio.insecure_channel(served.address) as channel):
        yield Served(Client(channel, NAME), activator, namespaces, used)


def config_of(store: tuple[str, Any], options: EncryptionOptions | None, **groups: Any) -> NamespaceConfig:
    return NamespaceConfig.of_store(NAME, *store, **({} if options is None else {"encryption": options}), **groups)
