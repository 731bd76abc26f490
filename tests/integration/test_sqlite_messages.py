"""Messages of a SQLite namespace through a proxy of two workers: they meet in the one that has the file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc

from prism.interfaces.pubsub import pubsub_basic_pb2 as pb
from prism.interfaces.pubsub import pubsub_basic_pb2_grpc as pb_grpc
from tests.services.proxy import proxy

METADATA = (("x-namespace", "orders"),)


async def test_what_one_worker_takes_reaches_subscribers_of_another(tmp_path: Path) -> None:
    config = tmp_path / "prism.yaml"
    store = f"{{driver: sqlite, config: {{path: '{tmp_path}/orders.db'}}}}"
    config.write_text(f"namespaces: {{orders: {{backends: {{store: {store}}}}}}}")
    async with proxy("--config", str(config), "--workers", "2") as process:
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels = [grpc.aio.insecure_channel(process.address, options=options) for _ in range(6)]
        stubs = [pb_grpc.PubSubBasicInterfaceStub(channel) for channel in channels]
        calls = [stub.Subscribe(pb.SubscribeRequest(topic="t", subscriber_id=f"s{index}"), metadata=METADATA)
                 for index, stub in enumerate(stubs)]
        for call in calls:
            await call.initial_metadata()
        for number in range(20):
            await stubs[number % 6].Publish(
                pb.PublishRequest(topic="t", payload=b"%d" % number, metadata={"n": str(number)}), metadata=METADATA)
        async with asyncio.timeout(10):
            for call in calls:
                got = [await call.read() for _ in range(20)]
                assert [message.payload for message in got] == [b"%d" % number for number in range(20)]
                assert got[3].metadata["n"] == "3"
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()
