"""A stock client in a process of its own that calls at a fixed rate, whatever becomes of its calls.

    python -m tests.support.open_loop_client ADDRESS RATE WARM_SECONDS SECONDS

It prints what it saw after the warm-up as one JSON object: statuses by name, and seconds of the calls that ended OK.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import sys
import time

import grpc
import uvloop

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"
CHANNELS = 4


async def load(address: str, rate: float, warm_s: float, seconds: float) -> dict[str, object]:
    draw, request = random.Random(1), pb.GetRequest(key="k").SerializeToString()
    channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
                for _ in range(CHANNELS)]
    calls = [channel.unary_unary(GET) for channel in channels]
    for channel in channels:
        await channel.channel_ready()
    latencies: list[float] = []
    statuses: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    warm, end, at, tasks = began + warm_s, began + warm_s + seconds, began, set()

    async def one(number: int) -> None:
        started = time.monotonic()
        try:
            await calls[number % CHANNELS](request, timeout=10)
            status = "OK"
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        if started >= warm:
            statuses[status] += 1
            if status == "OK":
                latencies.append(time.monotonic() - started)

    number = 0
    while (at := at + draw.expovariate(rate)) < end:
        if (wait := at - time.monotonic()) > 0.0005:
            await asyncio.sleep(wait)
        tasks.add(task := asyncio.ensure_future(one(number)))
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()
    return {"statuses": statuses, "latencies": latencies}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(sys.argv[1], *map(float, sys.argv[2:5])))))  # noqa: T201
