"""Streams through the native server, by stock grpcio clients, on every backend that declares them."""

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

from prism.interfaces.stream import stream_basic_pb2 as basic
from prism.interfaces.stream import stream_basic_pb2_grpc as basic_rpc
from prism.interfaces.stream import stream_consumer_groups_pb2 as groups
from prism.interfaces.stream import stream_consumer_groups_pb2_grpc as groups_rpc
from prism.interfaces.stream import stream_replay_pb2 as replay
from prism.interfaces.stream import stream_replay_pb2_grpc as replay_rpc
from prism.interfaces.stream import stream_retention_pb2 as retention
from prism.interfaces.stream import stream_retention_pb2_grpc as retention_rpc
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from tests.services.redis import RedisServer, binary, running
from tests.support import in_process


class Client:
    """Stubs of the stream interfaces on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.basic: Any = basic_rpc.StreamBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.groups: Any = groups_rpc.StreamConsumerGroupsInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.replay: Any = replay_rpc.StreamReplayInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self.retention: Any = retention_rpc.StreamRetentionInterfaceStub(channel)  # type: ignore[no-untyped-call]

    async def append(self, *values: bytes, key: bytes = b"", **headers: str) -> Any:
        return await self.basic.Append(basic.AppendRequest(stream="s", records=[
            basic.StreamRecord(key=key, value=value, headers=headers) for value in values]))

    async def read(self, offset: int = 0, limit: int = 0) -> list[Any]:
        call = self.basic.Read(basic.ReadRequest(stream="s", offset=offset, limit=limit))
        async with asyncio.timeout(10):
            return [record async for record in call]

    async def group(self, name: str = "g", start: int = 0) -> None:
        await self.groups.CreateConsumerGroup(groups.CreateConsumerGroupRequest(
            stream="s", group=name, start_offset=start))

    def join(self, consumer: str, most: int = 100) -> Any:
        return self.groups.JoinConsumerGroup(groups.JoinConsumerGroupRequest(
            stream="s", group="g", consumer_id=consumer, max_in_flight=most))

    async def ack(self, *records: Any) -> int:
        return int((await self.groups.Ack(groups.AckRequest(
            stream="s", group="g", partition=records[0].partition,
            offsets=[record.offset for record in records]))).acknowledged)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture(params=("memstore", "sqlite", "redis"))
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    settings: Any = MemstoreConfig()
    if request.param == "sqlite":
        settings = SqliteConfig(path=str(tmp_path / "s.db"))
    elif request.param == "redis":
        settings = RedisConfig(url=request.getfixturevalue("redis").url, prefix=f"{time.time_ns()}:")
    async with serving(NamespaceConfig.of_store(DEFAULT, request.param, settings)) as found:
        yield found


@contextlib.asynccontextmanager
async def serving(config: NamespaceConfig) -> AsyncIterator[Client]:
    async with (in_process.applied(config) as (namespaces, _), in_process.serving(namespaces) as served,
                grpc.aio.insecure_channel(served.address) as channel):
        yield Client(channel)


async def take(call: Any, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await call.read() for _ in range(count)]


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status: Any = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return caught.value.code(), str(info.reason)


async def test_STB_1_records_are_read_in_the_order_of_their_offsets(client: Client) -> None:
    first = await client.append(b"0", b"1", b"2", kind="a")
    second = await client.append(b"3", key=b"k")
    assert first.first_offset < first.last_offset < second.first_offset
    found = await client.read()
    assert [record.value for record in found] == [b"0", b"1", b"2", b"3"]
    assert [record.offset for record in found] == sorted({record.offset for record in found})
    assert found[0].headers["kind"] == "a"
    assert found[3].key == b"k"
    assert found[0].timestamp > 0
    assert [record.value for record in await client.read(offset=second.first_offset)] == [b"3"]
    assert [record.value for record in await client.read(limit=2)] == [b"0", b"1"]
    newest = await client.basic.GetLatestOffset(basic.GetLatestOffsetRequest(stream="s"))
    assert newest.offset == second.last_offset


async def test_STB_2_a_read_that_follows_gets_what_comes_later(client: Client) -> None:
    call = client.basic.Read(basic.ReadRequest(stream="s", follow=True))
    await call.initial_metadata()
    await client.append(b"1")
    await client.append(b"2")
    assert [record.value for record in await take(call, 2)] == [b"1", b"2"]
    call.cancel()


async def test_STB_3_an_unknown_stream_is_not_found(client: Client) -> None:
    call = client.basic.Read(basic.ReadRequest(stream="nowhere"))
    assert await refusal(call.read()) == (grpc.StatusCode.NOT_FOUND, "STREAM_NOT_FOUND")


async def test_STG_1_each_record_goes_to_one_member_until_it_is_acknowledged(client: Client) -> None:
    await client.group()
    await client.append(*(b"%d" % number for number in range(10)))
    member = client.join("a")
    found = await take(member, 10)
    assert [record.value for record in found] == [b"%d" % number for number in range(10)]
    assert {record.attempt for record in found} == {1}
    assert await client.ack(*found[:4]) == 4
    assert await client.ack(*found[:4]) == 0
    info = await client.groups.GetConsumerGroupInfo(groups.GetConsumerGroupInfoRequest(stream="s", group="g"))
    assert info.pending == 6
    member.cancel()


async def test_STG_2_what_a_member_leaves_goes_to_the_next_at_once(client: Client) -> None:
    await client.group()
    await client.append(b"1", b"2")
    member = client.join("a")
    found = await take(member, 2)
    assert await client.ack(found[0]) == 1
    member.cancel()
    began = time.monotonic()
    later = client.join("b")
    [again] = await take(later, 1)
    assert (again.value, again.attempt) == (b"2", 2)
    assert time.monotonic() - began < 3, "100 ms are promised; the machine may be busy"
    assert await client.ack(again) == 1
    later.cancel()


async def test_STG_3_a_member_has_no_more_in_flight_than_it_asked_for(client: Client) -> None:
    await client.group()
    await client.append(*(b"%d" % number for number in range(6)))
    member = client.join("a", most=2)
    assert len(await take(member, 2)) == 2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await member.read()


async def test_STG_4_nack_delivers_again(client: Client) -> None:
    await client.group()
    await client.append(b"1")
    member = client.join("a")
    [record] = await take(member, 1)
    reply = await client.groups.Nack(groups.NackRequest(
        stream="s", group="g", partition=record.partition, offsets=[record.offset], reason="not now"))
    assert reply.returned == 1
    [again] = await take(member, 1)
    assert (again.value, again.attempt) == (b"1", 2)
    member.cancel()


async def test_STG_5_groups_are_created_once_and_joined_if_there(client: Client) -> None:
    await client.group()
    assert await refusal(client.group()) == (grpc.StatusCode.ALREADY_EXISTS, "GROUP_EXISTS")
    call = client.groups.JoinConsumerGroup(groups.JoinConsumerGroupRequest(stream="s", group="nobody"))
    assert await refusal(call.read()) == (grpc.StatusCode.NOT_FOUND, "GROUP_NOT_FOUND")


async def test_STR_1_replay_of_a_range_and_seek(client: Client) -> None:
    await client.append(*(b"%d" % number for number in range(5)))
    offsets = [record.offset for record in await client.read()]
    call = client.replay.ReplayRange(replay.ReplayRangeRequest(
        stream="s", from_offset=offsets[1], to_offset=offsets[3]))
    assert [record.value async for record in call] == [b"1", b"2", b"3"]
    await client.group(start=-1)
    reply = await client.replay.SeekToOffset(replay.SeekToOffsetRequest(stream="s", group="g", offset=offsets[3]))
    assert reply.offset == offsets[3]
    member = client.join("a")
    assert [record.value for record in await take(member, 2)] == [b"3", b"4"]
    member.cancel()


async def test_STT_1_retention_by_records(client: Client) -> None:
    await client.append(*(b"%d" % number for number in range(20)))
    await client.retention.SetRetention(retention.SetRetentionRequest(stream="s", max_records=5))
    kept = await client.retention.GetRetention(retention.GetRetentionRequest(stream="s"))
    assert kept.max_records == 5
    await client.retention.Compact(retention.CompactRequest(stream="s"))
    assert [record.value for record in await client.read()] == [b"%d" % number for number in range(15, 20)]


@pytest.mark.parametrize("call", [
    lambda client: client.basic.Append(basic.AppendRequest(stream="$s", records=[basic.StreamRecord()])),
    lambda client: client.basic.Append(basic.AppendRequest(stream="s")),
    lambda client: client.basic.Read(basic.ReadRequest(stream="")).read(),
    lambda client: client.basic.Read(basic.ReadRequest(stream="s", limit=-1)).read(),
    lambda client: client.group(name="a b"),
    lambda client: client.retention.SetRetention(retention.SetRetentionRequest(stream="s", max_records=-1)),
])
async def test_arguments_that_are_none(client: Client, call: Callable[[Client], Any]) -> None:
    assert (await refusal(call(client)))[0] is grpc.StatusCode.INVALID_ARGUMENT
