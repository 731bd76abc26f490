"""A client in a process of its own that calls at a fixed rate, whatever becomes of its calls.

    python -m tests.support.open_loop_client ADDRESS RATE WARM_SECONDS SECONDS

It prints what it saw after the warm-up as one JSON object: `statuses`, how many calls by status; `goodput`, calls a
second that ended OK; `p99`, seconds of those; `late`, the longest seconds by which a call was begun after its time;
`unexpected`, what the first calls said that neither ended OK nor were shed.

The native client, because it must keep the rate beside the proxy on two cores: a stock one needs a core of its own for
4,000 failures a second, and measures itself.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import sys
import time

import uvloop

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism_proxy._native.grpc.client import CallError
from prism_proxy.errors import StatusCode
from prism_proxy.server.channel import Channel

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"
CHANNELS = 4


async def load(address: str, rate: float, warm_s: float, seconds: float) -> dict[str, object]:
    draw, request = random.Random(1), pb.GetRequest(key="k").SerializeToString()
    channels = [Channel(address) for _ in range(CHANNELS)]
    for channel in channels:
        await channel.unary(GET, request)
    latencies: list[float] = []
    statuses: collections.Counter[str] = collections.Counter()
    unexpected: list[str] = []
    names = {code.value[0]: code.name for code in StatusCode}
    late = 0.0
    began = time.monotonic()
    warm, end, at, tasks = began + warm_s, began + warm_s + seconds, began, set()

    async def one(number: int) -> None:
        started = time.monotonic()
        try:
            await channels[number % CHANNELS].unary(GET, request, timeout_s=10)
            status = "OK"
        except CallError as error:
            status = names[error.code]
            if status != "RESOURCE_EXHAUSTED" and len(unexpected) < 5:
                unexpected.append(f"{time.monotonic() - began:.3f} s: {error}")
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
