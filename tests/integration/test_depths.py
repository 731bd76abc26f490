"""What scrapers see of queues and groups: how much waits, and for how long."""

from __future__ import annotations

import asyncio
import re

import grpc

from prism.interfaces.queue import queue_basic_pb2 as queue
from prism.interfaces.queue import queue_basic_pb2_grpc as queue_rpc
from prism.interfaces.queue import queue_visibility_pb2 as visibility
from prism.interfaces.queue import queue_visibility_pb2_grpc as visibility_rpc
from prism.interfaces.stream import stream_basic_pb2 as stream
from prism.interfaces.stream import stream_basic_pb2_grpc as stream_rpc
from prism.interfaces.stream import stream_consumer_groups_pb2 as groups
from prism.interfaces.stream import stream_consumer_groups_pb2_grpc as groups_rpc
from tests.services.proxy import ProxyProcess, proxy

SERIES = re.compile(r'^prism_(queue_depth|queue_oldest_age_seconds|stream_group_\w+)\{(.*)\} (\S+)$', re.MULTILINE)


async def scraped(process: ProxyProcess, wanted: dict[str, float]) -> dict[str, float]:
    """The series once they are as wanted: a scrape shows what the one before it asked for."""
    found: dict[str, float] = {}
    for _ in range(40):
        _, text = await process.get("/metrics")
        found = {f"{name} {labels}": float(value) for name, labels, value in SERIES.findall(text)}
        if all(found.get(name) == value for name, value in wanted.items()):
            break
        await asyncio.sleep(0.5)
    return found


async def test_depth_age_and_lag() -> None:
    async with proxy() as process, grpc.aio.insecure_channel(process.address) as channel:
        basic = queue_rpc.QueueBasicInterfaceStub(channel)
        for number in range(5):
            await basic.Enqueue(queue.EnqueueRequest(queue="mails", payload=b"%d" % number))
        leases = visibility_rpc.QueueVisibilityInterfaceStub(channel)
        leased = await leases.DequeueWithTimeout(visibility.DequeueWithTimeoutRequest(queue="mails", max_messages=2))
        assert len(leased.messages) == 2
        records = [stream.StreamRecord(key=b"k", value=b"v")] * 4
        await stream_rpc.StreamBasicInterfaceStub(channel).Append(stream.AppendRequest(stream="log", records=records))
        members = groups_rpc.StreamConsumerGroupsInterfaceStub(channel)
        await members.CreateConsumerGroup(groups.CreateConsumerGroupRequest(stream="log", group="billing"))
        call = members.JoinConsumerGroup(groups.JoinConsumerGroupRequest(
            stream="log", group="billing", consumer_id="one", max_in_flight=1))
        assert await call.read()
        namespace = 'namespace="default"'
        wanted = {
            f'queue_depth {namespace},queue="mails",state="ready"': 3.0,
            f'queue_depth {namespace},queue="mails",state="in_flight"': 2.0,
            f'queue_depth {namespace},queue="mails",state="scheduled"': 0.0,
            f'stream_group_lag {namespace},stream="log",group="billing"': 3.0,
            f'stream_group_pending {namespace},stream="log",group="billing"': 1.0}
        found = await scraped(process, wanted)
        assert {name: found.get(name) for name in wanted} == wanted
        assert 0 < found[f'queue_oldest_age_seconds {namespace},queue="mails"'] < 60
        call.cancel()
