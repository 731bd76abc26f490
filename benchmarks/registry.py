"""The schema registry: how fast it starts, what it holds, and what reading a schema costs, by id over HTTP beside a
bare route of Starlette in the same run, and by version over gRPC.

`python -m benchmarks.registry` prints a line a figure. The server and the load have a core each.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import aiohttp
import grpc

from benchmarks import toolchain
from benchmarks.machine import LOAD_CORE, ROOT, Process, free_port, pinned
from benchmarks.statistics import median
from prism.schema.v1 import schema_registry_pb2 as pb
from prism.schema.v1 import schema_registry_pb2_grpc as rpc

STARTS, SUBJECTS, CONNECTIONS, SECONDS, RATE, CALLS = 5, 10_000, 32, 4, 10_000, 400_000
TEXT = json.dumps({"type": "record", "name": "Order", "fields": [
    {"name": f"field_{number}", "type": "string", "default": ""} for number in range(6)]})


def registry(port: int, grpc_port: int = 0) -> Process:
    more = ["--grpc-listen", f"127.0.0.1:{grpc_port}"] if grpc_port else []
    return Process("registry", [sys.executable, "-m", "prism_schema_registry", "--memory", "--port", str(port),
                                "--log-level", "error", *more], {})


def starlette(port: int) -> Process:
    return Process("starlette", [sys.executable, "-m", "benchmarks.peers.starlette_schemas", str(port), str(SUBJECTS),
                                 TEXT], {"PYTHONPATH": str(ROOT)})


def start() -> None:
    """Milliseconds from spawn to an open port, and what it holds then."""
    found = []
    for _ in range(STARTS):
        port = free_port()
        with registry(port) as process:
            found.append(process.await_listening(port) * 1000)
            held = process.usage().rss_bytes
    print(f"start of --memory: {median(found):.0f} ms (goal 400), {held / 1e6:.0f} MB (goal 60)")


async def fill(port: int) -> None:
    """A schema of its own for each subject, by eight clients at a time."""
    numbers = iter(range(SUBJECTS))

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            schema = TEXT.replace("Order", f"Order{number}")
            url = f"http://127.0.0.1:{port}/subjects/s{number}-value/versions"
            async with session.post(url, json={"schema": schema}) as reply:
                assert reply.status == 200, await reply.text()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(8)))


def load(port: int, rate: float) -> dict[str, Any]:
    done = subprocess.run(
        pinned(LOAD_CORE, [sys.executable, "-m", "benchmarks.load.http_load", str(port), str(SUBJECTS),
                           str(CONNECTIONS), str(SECONDS), str(rate)]),
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert not found["errors"], found
    return found


def measure(name: str, process: Process, port: int) -> float:
    """Prints what reading by id costs; microseconds of CPU a request."""
    load(port, 0)
    before = process.usage().cpu_seconds
    closed = load(port, 0)
    cost = (process.usage().cpu_seconds - before) / closed["requests"] * 1e6
    print(f"{name}: {closed['requests'] / closed['seconds']:,.0f} requests/s in a closed loop of {CONNECTIONS} "
          f"connections, {cost:.1f} µs CPU each: {1e6 / cost:,.0f}/s a core (goal 10,000), "
          f"p50 {closed['p50']:.2f} ms, p99 {closed['p99']:.2f} ms")
    paced = load(port, RATE)
    print(f"{name}: at {RATE:,}/s p50 {paced['p50']:.2f} ms, p99 {paced['p99']:.2f} ms (goal 2)")
    return cost


def measure_grpc(process: Process, port: int) -> None:
    """What GetSchema costs. The first call is answered by the servicer, and checked."""
    request = pb.GetSchemaRequest(topic="s7", version="v1")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = rpc.SchemaRegistryServiceStub(channel)  # type: ignore[no-untyped-call]
        assert b"Order7" in stub.GetSchema(request).schema_content
    body = request.SerializeToString()
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0" + len(body).to_bytes(4, "big") + body)
        file.flush()
        command = pinned(LOAD_CORE, [
            toolchain.program("h2load", "apt: nghttp2-client"), f"--requests={CALLS}", "--clients=8",
            "--max-concurrent-streams=10", "--header=te: trailers", "--header=content-type: application/grpc",
            f"--data={file.name}", f"http://127.0.0.1:{port}/prism.schema.v1.SchemaRegistryService/GetSchema"])
        before = process.usage().cpu_seconds
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        cost = (process.usage().cpu_seconds - before) / CALLS * 1e6
    assert f"{CALLS} succeeded" in done.stdout, done.stdout
    print(f"GetSchema over gRPC: {cost:.1f} µs CPU: {1e6 / cost:,.0f}/s a core (goal 100,000)")


def main() -> None:
    start()
    port, grpc_port = free_port(), free_port()
    with registry(port, grpc_port) as process:
        process.await_listening(port)
        asyncio.run(fill(port))
        print(f"{SUBJECTS:,} subjects: {process.usage().rss_bytes / 1e6:.0f} MB")
        own = measure("prism-schema-registry", process, port)
        measure_grpc(process, grpc_port)
    port = free_port()
    with starlette(port) as process:
        process.await_listening(port)
        other = measure("Starlette, bare route", process, port)
    print(f"a bare route of Starlette costs {other / own:.1f} times as much")


if __name__ == "__main__":
    main()
