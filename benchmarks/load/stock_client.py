"""Load of grpcio's own asynchronous client: so many Gets in flight on one channel, every reply checked.

`python -m benchmarks.load.stock_client HOST:PORT IN_FLIGHT SECONDS` prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import grpc.aio
import uvloop

from benchmarks import workload
from benchmarks.statistics import percentile
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as kv_grpc


async def measure(address: str, in_flight: int, seconds: float) -> dict[str, object]:
    """Closed loop: every worker makes its next call when the last was answered."""
    latencies: list[float] = []
    wrong: list[str] = []
    expected = workload.value(0)

    async def worker(stub: kv_grpc.KeyValueBasicInterfaceStub, end: float) -> None:
        request = kv.GetRequest(key=workload.key(0))
        started = time.perf_counter()
        while started < end:
            reply = await stub.Get(request)
            now = time.perf_counter()
            latencies.append((now - started) * 1e6)
            started = now
            if reply.value != expected:
                wrong.append(f"a value of {len(reply.value)} bytes")

    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 10)
        begin = time.perf_counter()
        stub = kv_grpc.KeyValueBasicInterfaceStub(channel)
        await asyncio.gather(*(worker(stub, begin + seconds) for _ in range(in_flight)))
        elapsed = time.perf_counter() - begin
    latencies.sort()
    shares = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
    return {"calls": len(latencies), "errors": len(wrong), "first_error": wrong[0] if wrong else "", "seconds": elapsed,
            **{name: percentile(latencies, share) for name, share in shares.items()}}


if __name__ == "__main__":
    result = uvloop.run(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.write(json.dumps(result) + "\n")
