"""Native Enqueue answers and stores as the servicer does, whatever a request looks like."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from prism.interfaces.queue import queue_basic_pb2 as basic
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.models.messaging_options import MessagingOptions
from prism_proxy.models.queue.model import QueueModel
from tests.integration.test_publish_native import MOST, REQUESTS, Side, serving

QUEUE = "/prism.interfaces.queue.QueueBasicInterface/"


async def enqueue(side: Side, request: bytes, metadata: Any = ()) -> Any:
    call: Any = side.channel.unary_unary(QUEUE + "Enqueue", response_deserializer=basic.EnqueueResponse.FromString)
    return await call(request, metadata=metadata)


async def dequeue(side: Side, queue: str, count: int = 1) -> list[Any]:
    call: Any = side.channel.unary_unary(
        QUEUE + "Dequeue", basic.DequeueRequest.SerializeToString, basic.DequeueResponse.FromString)
    return list((await call(basic.DequeueRequest(queue=queue, max_messages=count))).messages)


async def _answers(*, native: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with serving(native=native, messaging=MessagingOptions(max_bytes=MOST)) as side:
        for name, (request, metadata) in REQUESTS.items():  # an EnqueueRequest has the same layout
            try:
                reply = await enqueue(side, request, metadata)
            except grpc.aio.AioRpcError as error:
                found[name] = (error.code(), error.details())
                continue
            queue = "c.d" if name == "a topic twice" else "a.b"
            [message] = await dequeue(side, queue)
            assert message.message_id == reply.message_id
            seen = dict(message.metadata)
            assert len(seen.pop("prism-published-at")) == len("2026-12-01T03:51:09.123Z")
            found[name] = (message.payload, seen, message.priority, message.receive_count, message.enqueued_at > 10**12)
    return found


async def test_native_code_and_the_servicer_answer_and_store_alike() -> None:
    native, servicer = await _answers(native=True), await _answers(native=False)
    for name in REQUESTS:
        assert native[name] == servicer[name], name
    assert sum(isinstance(found[0], grpc.StatusCode) for found in native.values()) >= 12


async def test_an_ordinary_message_passes_no_servicer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a message was enqueued by a servicer")

    monkeypatch.setattr(QueueModel, "enqueue", refuse)
    async with serving(native=True) as side:
        request = basic.EnqueueRequest(queue="jobs", payload=b"x", metadata={"colour": "blue"}).SerializeToString()
        sent = [(await enqueue(side, request)).message_id for _ in range(20)]
        assert [message.message_id for message in await dequeue(side, "jobs", 100)] == sent


async def test_one_who_waits_is_woken() -> None:
    async with serving(native=True) as side:
        call: Any = side.channel.unary_unary(
            QUEUE + "Dequeue", basic.DequeueRequest.SerializeToString, basic.DequeueResponse.FromString)
        waiting = asyncio.ensure_future(call(basic.DequeueRequest(queue="jobs", wait_ms=5000), timeout=6))
        await asyncio.sleep(0.2)
        reply = await enqueue(side, basic.EnqueueRequest(queue="jobs", payload=b"x").SerializeToString())
        assert [message.message_id for message in (await waiting).messages] == [reply.message_id]


async def test_a_full_store_is_told_by_the_servicer() -> None:
    async with serving(native=True, settings=MemstoreConfig(max_bytes=2**20)) as side:
        request = basic.EnqueueRequest(queue="jobs", payload=bytes(60_000)).SerializeToString()
        replies = await asyncio.gather(*(enqueue(side, request) for _ in range(100)), return_exceptions=True)
        refused = [reply for reply in replies if isinstance(reply, grpc.aio.AioRpcError)]
        assert 0 < len(refused) < 100
        assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert all("max_bytes" in str(error.details()) for error in refused)
