"""What the suites of messaging talk to: the services of one namespace, over the wire, with the calls they need."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism_proxy.interfaces.catalogue import catalogue


class Service:
    """One thin interface: each method by its name, called with the fields of its request. `calls` and `requests` are
    for methods that take a stream of them."""

    def __init__(self, channel: grpc.aio.Channel, name: str) -> None:
        self.calls: dict[str, Any] = {}
        self.requests: dict[str, type[Any]] = {}
        interface = catalogue()[name]
        stubs = import_module(interface.stubs)
        service = stubs.DESCRIPTOR.services_by_name[interface.service.rpartition(".")[2]]
        for method in service.methods:
            kind = "_".join("stream" if streams else "unary" for streams in (
                method.client_streaming, method.server_streaming))
            request = GetMessageClass(method.input_type)
            call = getattr(channel, kind)(
                interface.path(method.name), request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(method.output_type).FromString)
            setattr(self, method.name, _caller(call, request))
            self.calls[method.name], self.requests[method.name] = call, request

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _caller(call: Any, request: type[Any]) -> Any:
    return lambda call_metadata=(), **fields: call(request(**fields), metadata=call_metadata)


class Messaging:
    """`interfaces` are those that the namespace offers."""

    def __init__(self, channel: grpc.aio.Channel, interfaces: frozenset[str]) -> None:
        self.interfaces = interfaces
        self._channel = channel
        self._services: dict[str, Service] = {}

    def __getitem__(self, interface: str) -> Service:
        if interface not in self._services:
            self._services[interface] = Service(self._channel, interface)
        return self._services[interface]

    def fields(self, interface: str, method: str) -> list[str]:
        """The names of the fields of a method's request."""
        found = catalogue()[interface]
        service = import_module(found.stubs).DESCRIPTOR.services_by_name[found.service.rpartition(".")[2]]
        return [field.name for field in service.methods_by_name[method].input_type.fields]

    # --- streams ------------------------------------------------------------------------------------------------------

    async def append(self, stream: str, *values: bytes, key: bytes = b"") -> tuple[int, int]:
        done = await self["stream_basic"].Append(
            stream=stream, records=[{"key": key, "value": value} for value in values])
        return done.first_offset, done.last_offset

    async def read(self, stream: str, offset: int = 0, **more: Any) -> list[Any]:
        return [record async for record in self["stream_basic"].Read(stream=stream, offset=offset, **more)]

    @contextlib.asynccontextmanager
    async def member(self, stream: str, group: str, **more: Any) -> AsyncIterator[Any]:
        """An open membership; its records by `read`."""
        call = self["stream_consumer_groups"].JoinConsumerGroup(stream=stream, group=group, **more)
        try:
            await call.initial_metadata()
            yield call
        finally:
            call.cancel()

    async def ack(self, group: str, stream: str, *records: Any) -> int:
        return sum([(await self["stream_consumer_groups"].Ack(
            stream=stream, group=group, partition=record.partition, offsets=[record.offset])).acknowledged
            for record in records])

    # --- topics -------------------------------------------------------------------------------------------------------

    async def publish(self, topic: str, payload: bytes, metadata: Mapping[str, str] | None = None) -> str:
        reply = await self["pubsub_basic"].Publish(topic=topic, payload=payload, metadata=metadata or {})
        assert (reply.success, reply.error) == (True, "")
        return str(reply.message_id)

    async def subscribe(self, topic: str, **more: Any) -> Any:
        """An active subscription; its messages by `read`."""
        return await _active(self["pubsub_basic"].Subscribe(topic=topic, **more))

    async def follow(self, pattern: str) -> Any:
        """An active subscription by pattern."""
        return await _active(self["pubsub_wildcards"].SubscribePattern(pattern=pattern))

    @contextlib.asynccontextmanager
    async def durable(
        self, topic: str, name: str, call_metadata: Sequence[tuple[str, str]] = (), **more: Any
    ) -> AsyncIterator[Any]:
        """An active durable subscription; its messages by `read`."""
        call = self["pubsub_persistent"].SubscribeDurable(
            topic=topic, durable_name=name, call_metadata=call_metadata, **more)
        try:
            await call.initial_metadata()
            yield call
        finally:
            call.cancel()


    # --- queues -------------------------------------------------------------------------------------------------------

    async def enqueue(self, queue: str, payload: bytes, metadata: Mapping[str, str] | None = None) -> str:
        return str((await self["queue_basic"].Enqueue(
            queue=queue, payload=payload, metadata=metadata or {})).message_id)

    async def take(self, queue: str, count: int = 1, wait_ms: int = 0) -> list[Any]:
        return list((await self["queue_basic"].Dequeue(queue=queue, max_messages=count, wait_ms=wait_ms)).messages)

    async def lease(self, queue: str, count: int = 1, seconds: int = 30, wait_ms: int = 0) -> list[Any]:
        return list((await self["queue_visibility"].DequeueWithTimeout(
            queue=queue, max_messages=count, visibility_seconds=seconds, wait_ms=wait_ms)).messages)

    async def release(self, queue: str, message: Any, *, delete: bool, **more: Any) -> None:
        await self["queue_visibility"].Release(queue=queue, receipt=message.receipt, delete=delete, **more)


async def _active(call: Any) -> Any:
    """The call once its initial metadata say that the subscription is active."""
    async with asyncio.timeout(10):
        metadata = dict(await call.initial_metadata())
    assert metadata["x-subscription-id"]
    return call


async def several(call: Any, count: int) -> list[Any]:
    """The next so many of a stream."""
    return [await call.read() for _ in range(count)]


@contextlib.contextmanager
def fails(code: grpc.StatusCode, reason: str | None = None) -> Iterator[None]:
    """The block must fail with this status, and the reason of its ErrorInfo where given."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert caught.value.code() is code, caught.value.details()
    if reason is not None:
        assert reason_of(caught.value) == reason


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    assert status.details[0].Unpack(info)
    return str(info.reason)
