"""Unsubscribe finds a subscription in whichever worker it is open, where every worker serves the namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as rpc
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import RedisServer, binary
from tests.services.workers import running

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")
NAMESPACE = (("x-namespace", "events"),)
SUBSCRIBERS = 8  # over connections of their own: with three workers they are surely in more than one


@pytest.fixture
async def server() -> Any:
    async with RedisServer() as found:
        yield found


@pytest.fixture
def process(tmp_path: Path, server: RedisServer) -> Iterator[ProxyProcess]:
    file = tmp_path / "prism.yaml"
    store = f"{{driver: redis, config: {{url: '{server.url}'}}}}"
    file.write_text(f"namespaces: {{events: {{backends: {{store: {store}}}}}}}")
    with running(proxy("--workers", "3", "--config", str(file))) as found:
        yield found


def connection(process: ProxyProcess) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(process.address, options=[("grpc.use_local_subchannel_pool", 1)])


async def test_it_ends_wherever_it_is_open(process: ProxyProcess) -> None:
    channels = [connection(process) for _ in range(SUBSCRIBERS)]
    streams = []
    for number, channel in enumerate(channels):
        stub: Any = rpc.PubSubBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        streams.append(stub.Subscribe(pb.SubscribeRequest(topic="t", subscriber_id=str(number)), metadata=NAMESPACE))
        await streams[-1].initial_metadata()
    async with connection(process) as other:
        stub = rpc.PubSubBasicInterfaceStub(other)  # type: ignore[no-untyped-call]
        for number, stream in enumerate(streams):
            request = pb.UnsubscribeRequest(topic="t", subscriber_id=str(number))
            assert (await stub.Unsubscribe(request, metadata=NAMESPACE)).success
            assert await asyncio.wait_for(stream.code(), 5) is grpc.StatusCode.OK
            with pytest.raises(grpc.aio.AioRpcError) as gone:
                await stub.Unsubscribe(request, metadata=NAMESPACE)
            assert gone.value.code() is grpc.StatusCode.NOT_FOUND
    for channel in channels:
        await channel.close()
