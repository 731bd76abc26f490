"""A worker killed while it holds calls: their places are free again, and what the others hold still counts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as kv_rpc
from tests.services.proxy import ProxyProcess, proxy

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"
CONNECTIONS, LIMIT = 12, 12
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


async def in_progress(process: ProxyProcess) -> int:
    _, text = await process.get("/metrics")
    name = 'prism_namespace_limit_usage{namespace="default",dimension="concurrent_calls"} '
    return int(float(text.partition(f"\n{name}")[2].partition("\n")[0]))


async def until_in_progress(process: ProxyProcess, calls: int) -> None:
    async with asyncio.timeout(20):
        while await in_progress(process) != calls:
            await asyncio.sleep(0.05)


async def code_of_one(channel: grpc.aio.Channel) -> grpc.StatusCode:
    return await kv_rpc.KeyValueBasicInterfaceStub(channel).Get(kv.GetRequest(key="k"), wait_for_ready=True).code()


async def test_the_calls_of_a_killed_worker_count_no_more(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces: {default: {backends: {store: {driver: memstore}}, "
                    f"limits: {{concurrent_calls: {LIMIT}}}}}}}")
    never = asyncio.Event()

    async def request() -> AsyncIterator[bytes]:
        await never.wait()
        yield b""

    async with proxy("--config", str(file), "--workers", "2") as process, AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(process.address, options=OWN_CONNECTION))
                    for _ in range(CONNECTIONS)]
        held = [channel.stream_unary(GET)(request()) for channel in channels]
        await until_in_progress(process, LIMIT)
        assert await code_of_one(channels[0]) is grpc.StatusCode.RESOURCE_EXHAUSTED
        workers = json.loads((await process.get("/ready"))[1])["workers"]
        os.kill(workers[0]["pid"], signal.SIGKILL)
        async with asyncio.timeout(10):  # until the supervisor has noticed
            while json.loads((await process.get("/ready"))[1])["workers"][0]["restarts"] == 0:
                await asyncio.sleep(0.02)
        assert any(call.done() for call in held), "no connection had come to the killed worker"
        await until_in_progress(process, sum(not call.done() for call in held))
        assert await code_of_one(channels[0]) is grpc.StatusCode.OK
        for call in held:
            call.cancel()
        await until_in_progress(process, 0)
