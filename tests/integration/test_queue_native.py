"""Native handlers of queues answer and store as the servicers do, whatever a request looks like."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from prism.interfaces.queue import queue_basic_pb2 as basic
from prism.interfaces.queue import queue_batch_pb2 as batch
from prism.interfaces.queue import queue_priority_pb2 as priority
from prism.interfaces.queue import queue_visibility_pb2 as visibility
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


# --- a random course of calls, on both sides --------------------------------------------------------------------------

SERVICE = "/prism.interfaces.queue.Queue"
ITEMS: list[Callable[[], Any]] = [
    lambda: batch.EnqueueItem(payload=b"plain"), lambda: batch.EnqueueItem(payload=b"", metadata={"colour": "blue"}),
    lambda: batch.EnqueueItem(payload=b"first", priority=9), lambda: batch.EnqueueItem(payload=b"large" * 5000)]
ODD_ITEMS: list[Callable[[], Any]] = [
    lambda: batch.EnqueueItem(payload=b"later", delay_seconds=3600), lambda: batch.EnqueueItem(priority=11),
    lambda: batch.EnqueueItem(metadata={"prism-nothing": "x"}), lambda: batch.EnqueueItem(payload=bytes(MOST + 1)),
    lambda: batch.EnqueueItem(payload=b"typed", metadata={"prism-content-type": "text/plain"})]


class Course:
    """Calls to one side. Receipts and ids differ between sides, so that they are named by their numbers."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._receipts: list[str] = ["", "m.x.1.1", "ü", "x" * 513]

    async def call(self, path: str, request: Any, reply: Any) -> Any:
        made: Any = self._side.channel.unary_unary(
            SERVICE + path, type(request).SerializeToString, reply.FromString)
        try:
            return await made(request, timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details()

    async def step(self, kind: str, rng: random.Random) -> Any:
        queue = rng.choice(["jobs", "jobs", "mails", "", "not a queue"] if rng.random() < 0.1 else ["jobs", "mails"])
        if kind == "enqueue":
            count = rng.choice([0, 1, 3, 20])
            items = [rng.choice(ITEMS if rng.random() < 0.97 else ODD_ITEMS)() for _ in range(count)]
            reply = await self.call("BatchInterface/EnqueueBatch", batch.EnqueueBatchRequest(
                queue=queue, messages=items), batch.EnqueueBatchResponse)
            return reply if isinstance(reply, tuple) else (
                [result.error or len(result.message_id) for result in reply.results], reply.all_success)
        if kind == "enqueue one":
            reply = await self.call("PriorityInterface/EnqueueWithPriority", priority.EnqueueWithPriorityRequest(
                queue=queue, payload=b"one", priority=rng.choice([0, 3])), basic.EnqueueResponse)
            return reply if isinstance(reply, tuple) else len(reply.message_id)
        if kind == "take":
            reply = await self.call("BasicInterface/Dequeue", basic.DequeueRequest(
                queue=queue, max_messages=rng.choice([0, 1, 4, 10_001]), wait_ms=rng.choice([0, 0, -1, 10**9])),
                basic.DequeueResponse)
            return self.seen(reply)
        if kind == "lease":
            reply = await self.call("VisibilityInterface/DequeueWithTimeout", visibility.DequeueWithTimeoutRequest(
                queue=queue, max_messages=rng.choice([0, 1, 4, 50]), visibility_seconds=rng.choice([0, 60, -1, 10**6])),
                visibility.DequeueWithTimeoutResponse)
            return self.seen(reply)
        some = [rng.randrange(len(self._receipts)) for _ in range(rng.choice([0, 1, 3, 8]))]
        if kind == "release" and some:
            reply = await self.call("VisibilityInterface/Release", visibility.ReleaseRequest(
                queue=queue, receipt=self._receipts[some[0]], delete=rng.random() < 0.8,
                reason=rng.choice(["", "broken"])), visibility.ReleaseResponse)
            return str(reply)
        reply = await self.call("BatchInterface/ReleaseBatch", batch.ReleaseBatchRequest(
            queue=queue, receipts=[self._receipts[number] for number in some if number > 3 or rng.random() < 0.1],
            delete=rng.random() < 0.8), batch.ReleaseBatchResponse)
        return str(reply)

    def seen(self, reply: Any) -> Any:
        if isinstance(reply, tuple):
            return reply
        self._receipts += [message.receipt for message in reply.messages if message.receipt]
        return [(message.payload, sorted(message.metadata), message.priority, message.receive_count,
                 bool(message.receipt), len(message.message_id)) for message in reply.messages]


@pytest.mark.parametrize("seed", range(4))
async def test_a_random_course_of_calls_ends_alike(seed: int) -> None:
    kinds = ["enqueue", "enqueue", "enqueue one", "take", "lease", "lease", "release", "release batch", "release batch"]
    options = {"messaging": MessagingOptions(max_bytes=MOST)}
    async with serving(native=True, **options) as first, serving(native=False, **options) as second:
        native, servicer, rng = Course(first), Course(second), random.Random(seed)
        for _ in range(200):
            kind, state = rng.choice(kinds), rng.getrandbits(64)
            got = await native.step(kind, random.Random(state))
            assert got == await servicer.step(kind, random.Random(state)), kind
        held = [side.activator._namespaces.current.routes["default"].drivers[0].memory.held for side in (first, second)]
        assert held[0] == held[1] > 0, "both count the same bytes"


async def test_ordinary_calls_pass_no_servicer_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a servicer was asked")

    for method in ("enqueue", "enqueue_batch", "dequeue", "lease", "release"):
        monkeypatch.setattr(QueueModel, method, refuse)
    async with serving(native=True) as side:
        course, driver = Course(side), side.activator._namespaces.current.routes["default"].drivers[0]
        items = [batch.EnqueueItem(payload=bytes(100), metadata={"n": str(n)}) for n in range(1000)]
        made = await course.call("BatchInterface/EnqueueBatch", batch.EnqueueBatchRequest(queue="q", messages=items),
                                 batch.EnqueueBatchResponse)
        ids = [result.message_id for result in made.results]
        assert (made.all_success, len(set(ids)), driver.memory.held > 500_000) == (True, 1000, True)
        leased = await course.call("VisibilityInterface/DequeueWithTimeout", visibility.DequeueWithTimeoutRequest(
            queue="q", max_messages=10_000), visibility.DequeueWithTimeoutResponse)
        assert [message.message_id for message in leased.messages] == ids
        assert [message.metadata["n"] for message in leased.messages] == [str(n) for n in range(1000)]
        done = await course.call("BatchInterface/ReleaseBatch", batch.ReleaseBatchRequest(
            queue="q", receipts=[message.receipt for message in leased.messages], delete=True),
            batch.ReleaseBatchResponse)
        assert (done.all_success, len(done.results)) == (True, 1000)
        queue = driver.queue.native_store.queues["q"]
        assert (queue.entries, queue.lease_count, queue.next_due(), driver.memory.held) == ({}, 0, 0, 0)
