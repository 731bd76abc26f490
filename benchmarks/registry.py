"""The schema registry: how fast it starts, what it holds, and what reading a schema by id costs, beside a bare route of
Starlette in the same run.

`python -m benchmarks.registry` prints a line a figure. The server and the load have a core each.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import aiohttp

from benchmarks.machine import LOAD_CORE, ROOT, Process, free_port, pinned
from benchmarks.statistics import median

STARTS, SUBJECTS, CONNECTIONS, SECONDS, RATE = 5, 10_000, 32, 4, 10_000
TEXT = json.dumps({"type": "record", "name": "Order", "fields": [
    {"name": f"field_{number}", "type": "string", "default": ""} for number in range(6)]})


def registry(port: int) -> Process:
    return Process("registry", [sys.executable, "-m", "prism_schema_registry", "--memory", "--port", str(port),
                                "--log-level", "error"], {})


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
            async with session.post(f"http://127.0.0.1:{port}/subjects/s{number}/versions", json={"schema": schema}
                                    ) as reply:
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


def main() -> None:
    start()
    port = free_port()
    with registry(port) as process:
        process.await_listening(port)
        asyncio.run(fill(port))
        print(f"{SUBJECTS:,} subjects: {process.usage().rss_bytes / 1e6:.0f} MB")
        own = measure("prism-schema-registry", process, port)
    port = free_port()
    with starlette(port) as process:
        process.await_listening(port)
        other = measure("Starlette, bare route", process, port)
    print(f"a bare route of Starlette costs {other / own:.1f} times as much")


if __name__ == "__main__":
    main()
