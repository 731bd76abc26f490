"""What a queue costs when much waits in it: `python -m benchmarks.queue_depth [--depth 1000000]`.

A message is enqueued, leased and settled, one after the other, while 1,000 messages wait and while `--depth` do. The
drivers are called in process, and the CPU is that of this process and of the Redis server together: time would be the
disk's and the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from benchmarks.machine import Process, free_port
from benchmarks.servers import redis_server
from benchmarks.statistics import median
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import Outcome, QueueItem, Settlement

SHALLOW, DEEP = 1_000, 1_000_000
PAGE = 5_000
CYCLES, ROUNDS = 2_000, 3
SIZE = 100
QUEUE = "jobs"
DONE = Settlement(Outcome.DONE)
Cpu = Callable[[], float]
Opened = AbstractAsyncContextManager[tuple[Any, Cpu]]


@contextlib.asynccontextmanager
async def memstore() -> AsyncIterator[tuple[Any, Cpu]]:
    """A driver with room for a million messages, and the CPU seconds that it has used."""
    driver = MemstoreDriver(MemstoreConfig(max_bytes=4 << 30))
    await driver.open()
    try:
        yield driver, time.process_time
    finally:
        await driver.close()


@contextlib.asynccontextmanager
async def sqlite() -> AsyncIterator[tuple[Any, Cpu]]:
    with tempfile.TemporaryDirectory() as folder:
        driver = SqliteDriver(SqliteConfig(f"{folder}/store.db"))
        await driver.open()
        try:
            yield driver, time.process_time
        finally:
            await driver.close()


@contextlib.asynccontextmanager
async def redis() -> AsyncIterator[tuple[Any, Cpu]]:
    port = free_port()
    with Process("queue-depth-redis", redis_server(port), {}) as server:
        server.await_listening(port)
        driver = RedisDriver(RedisConfig(f"redis://127.0.0.1:{port}/0").within("depth"))
        await driver.open()
        try:
            yield driver, lambda: time.process_time() + server.usage().cpu_seconds
        finally:
            await driver.close()


STORES: dict[str, Callable[[], Opened]] = {"memstore": memstore, "sqlite": sqlite, "redis": redis}


def items(count: int) -> list[QueueItem]:
    now = time.time_ns() // 1_000_000
    return [QueueItem(StoredMessage(str(uuid.uuid4()), bytes(SIZE), {"content-type": "text/plain"}, now))
            for _ in range(count)]


async def fill(queue: Any, count: int) -> None:
    """So many more messages wait."""
    for start in range(0, count, PAGE):
        await queue.enqueue(QUEUE, items(min(PAGE, count - start)))


async def cycle_us(queue: Any, cpu: Cpu, cycles: int) -> float:
    """CPU of one message, enqueued, leased and settled."""
    before = cpu()
    for item in items(cycles):
        await queue.enqueue(QUEUE, [item])
        (leased,) = await queue.lease(QUEUE, 1, 60, 0)
        await queue.settle(QUEUE, [leased.receipt], DONE)
    return (cpu() - before) * 1e6 / cycles


async def compared(
    store: str, depth: int, cycles: int = CYCLES, shallow: int = SHALLOW, rounds: int = ROUNDS
) -> tuple[float, float]:
    """The cost at `shallow` messages and at `depth`, measured in turns on two stores."""
    async with STORES[store]() as (few, few_cpu), STORES[store]() as (many, many_cpu):
        await fill(few.queue, shallow)
        await fill(many.queue, depth)
        costs: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            costs[0].append(await cycle_us(few.queue, few_cpu, cycles))
            costs[1].append(await cycle_us(many.queue, many_cpu, cycles))
        return median(costs[0]), median(costs[1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue_depth", description=__doc__)
    parser.add_argument("--depth", type=int, default=DEEP, help=f"messages that wait ({DEEP:,})")
    parser.add_argument("--store", action="append", choices=list(STORES), help="this one alone; repeatable")
    options = parser.parse_args(arguments)
    for store in options.store or STORES:
        few, many = asyncio.run(compared(store, options.depth))
        print(f"{store}: {few:.0f} us of CPU at {SHALLOW:,} waiting messages, {many:.0f} at {options.depth:,}: "
              f"{many / few:.2f} times", flush=True)


if __name__ == "__main__":
    main()
