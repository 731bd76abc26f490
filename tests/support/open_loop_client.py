"""A stock client in a process of its own that calls at a fixed rate, whatever becomes of its calls.

    python -m tests.support.open_loop_client ADDRESS RATE WARM_SECONDS SECONDS

It prints what it saw after the warm-up as one JSON object: `statuses`, how many calls by status; `goodput`, calls a
second that ended OK; `p99`, seconds of those; `late`, the longest seconds by which a call was begun after its time;
`unexpected`, what the first calls said that neither ended OK nor were shed.
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
    unexpected: list[str] = []
    late = 0.0
    began = time.monotonic()
    warm, end, at, tasks = began + warm_s, began + warm_s + seconds, began, set()

    async def one(number: int) -> None:
        started = time.monotonic()
        try:
            await calls[number % CHANNELS](request, timeout=10)
            status = "OK"
        except grpc.aio.AioRpcError as error:
            status = error.code().name
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED and len(unexpected) < 5:
                unexpected.append(f"{time.monotonic() - began:.3f} s: {error.debug_error_string()}")
        if started >= warm:
            statuses[status] += 1
            if status == "OK":
                latencies.append(time.monotonic() - started)

    number = 0
    while (at := at + draw.expovariate(rate)) < end:
        if (wait := at - time.monotonic()) > 0.0005:
            await asyncio.sleep(wait)
        late = max(late, time.monotonic() - at)
        tasks.add(task := asyncio.ensure_future(one(number)))
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()
    latencies.sort()
    return {"statuses": statuses, "goodput": len(latencies) / seconds, "p99": latencies[int(len(latencies) * 0.99)],
            "late": late, "unexpected": unexpected}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(load(sys.argv[1], *map(float, sys.argv[2:5])))))  # noqa: T201
