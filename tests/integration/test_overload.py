"""A backend of fixed capacity behind a real server, called at half, at once and at twice its capacity.

The short form runs at a quarter of the rates, because the full ones need a quiet machine.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvloop

from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import build
from prism_runtime.lifecycle import spare_collector
from tests.support.fixed_capacity import FixedCapacity
from tests.support.in_process import served
from tests.support.redis_stand_in import RedisStandIn

pytestmark = pytest.mark.serial

SOAK = bool(os.environ.get("PRISM_SOAK"))
SCALE = 1.0 if SOAK else 0.25
WARM_S, SECONDS = (2.0, 10.0) if SOAK else (0.8, 1.8)
SERVERS = 10


@pytest.fixture
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The loop that the proxy runs on."""
    return uvloop.EventLoopPolicy()


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """As in a process of a proxy: all that tests have loaded must not count as its garbage."""
    threshold = gc.get_threshold()
    gc.collect()
    spare_collector()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


@dataclass
class Load:
    """What the client reports; see `tests.support.open_loop_client`."""

    statuses: dict[str, int]
    goodput: float
    p99: float
    late: float
    unexpected: list[str]

    @property
    def shed(self) -> int:
        return self.statuses.get("RESOURCE_EXHAUSTED", 0)

    def __str__(self) -> str:
        return (f"{self.goodput:.0f}/s, p99 {self.p99 * 1000:.1f} ms, {self.shed} shed, "
                f"client {self.late * 1000:.0f} ms late")


async def measure(address: str, rate: float) -> Load:
    command = [sys.executable, "-m", "tests.support.open_loop_client", address, str(rate * SCALE), str(WARM_S),
               str(SECONDS)]
    # Not by the loop: uvloop forks, and in its child grpcio waits for ever for threads that are not there.
    process = await asyncio.to_thread(subprocess.run, command, stdout=subprocess.PIPE, check=True)
    load = Load(**json.loads(process.stdout))
    assert not load.unexpected, load
    return load


async def hold(address: str) -> None:
    """Call a backend of 2,000 calls a second at three rates: goodput and latency hold."""
    half, full, double = [await measure(address, rate) for rate in (1000, 2000, 4000)]
    report = f"1000/s: {half}; 2000/s: {full}; 4000/s: {double}"
    assert half.shed == 0, report
    assert double.shed > 0, report
    assert double.goodput >= 0.8 * max(half.goodput, full.goodput), report
    assert double.p99 <= 3 * max(half.p99, full.p99), report


async def test_overload_costs_neither_goodput_nor_latency() -> None:
    driver = FixedCapacity(2000 * SCALE, SERVERS)
    snapshot = build(1, [NamespaceConfig.of_store("default", "fixed", None)], lambda *_: driver)
    async with served(snapshot) as address:
        await hold(address)


class Unasked(RedisDriver):
    """Native handlers do without it."""

    asked = 0

    async def get(self, key: bytes) -> bytes | None:
        self.asked += 1
        return await super().get(key)


async def test_overload_of_redis_costs_native_calls_neither() -> None:
    capacity = FixedCapacity(2000 * SCALE, SERVERS)
    async with RedisStandIn(lambda command: b"$5\r\nvalue\r\n", capacity.done_at) as redis:
        driver = Unasked(RedisConfig(redis.url).within("default"))
        snapshot = build(1, [NamespaceConfig.of_store("default", "redis", None)], lambda *_: driver)
        limiter = snapshot.routes["default"].slots["store"].limiter
        assert limiter is not None
        await driver.open()
        try:
            async with served(snapshot, native=True) as address:
                await hold(address)
        finally:
            await driver.close()
    assert (driver.asked, limiter.in_flight, limiter.queued) == (0, 0, 0)
