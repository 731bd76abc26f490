"""Overload in virtual time: exact, and the same on every machine. `tests/integration` has it with a real server."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue.operations import BATCH_GET, GET
from prism_proxy.slots.operation import Operation
from prism_proxy.slots.slot import Slot
from tests.support.fixed_capacity import FixedCapacity, open_loop
from tests.support.virtual_time import VirtualTimeLoop, run

CAPACITY = 2000
WARM_S, SECONDS = 1.0, 4.0


@dataclass
class Load:
    """Seconds that answered calls took, and how many were shed, after a second of warming up."""

    latencies: list[float] = field(default_factory=list)
    shed: int = 0

    @property
    def goodput(self) -> float:
        return len(self.latencies) / SECONDS

    @property
    def p99(self) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)]


def overload(rate: float, servers: int = 10, capacity: float = CAPACITY,
             operation: Operation = GET, share: float = 0.0) -> dict[Operation, Load]:
    """`share` of the calls are BatchGet, the others `operation`."""

    async def main() -> dict[Operation, Load]:
        loop = asyncio.get_running_loop()
        driver = FixedCapacity(capacity, servers)
        slot = Slot("store", "orders", driver, clock=loop.time)
        loads = {operation: Load(), BATCH_GET: Load()}
        warm = loop.time() + WARM_S

        async def one(kind: Operation) -> None:
            began, load = loop.time(), loads[kind]
            try:
                await slot.call(kind, None, driver.get, b"key")
            except PrismError as error:
                load.shed += began >= warm and error.reason == "LOAD_SHED"
            else:
                if began >= warm:
                    load.latencies.append(loop.time() - began)

        kinds = [open_loop(rate * (1 - share), WARM_S + SECONDS, lambda: one(operation))]
        if share:
            kinds.append(open_loop(rate * share, WARM_S + SECONDS, lambda: one(BATCH_GET), seed=2))
        await asyncio.gather(*kinds)
        assert slot.resilience is not None
        assert slot.resilience.limiter is not None
        assert (slot.resilience.limiter.in_flight, slot.resilience.limiter.queued) == (0, 0)
        return loads

    return run(main())


@pytest.mark.parametrize("servers", [10, 40])
def test_goodput_and_latency_hold_at_twice_the_capacity(servers: int) -> None:
    half, full, double = (overload(rate, servers)[GET] for rate in (1000, 2000, 4000))
    report = [(round(it.goodput), f"{it.p99 * 1000:.1f} ms", it.shed) for it in (half, full, double)]
    assert half.shed == 0, report
    assert double.goodput >= 0.8 * max(half.goodput, full.goodput), report
    assert double.p99 <= 3 * half.p99, report


def test_buf3_bulk_work_is_shed_first() -> None:
    loads = overload(3000, share=0.5)
    asked = 1500 * SECONDS
    assert loads[GET].shed / asked < 0.05
    assert loads[BATCH_GET].shed / asked > 0.4


class Linear(FixedCapacity):
    """Each call takes 5 ms, and longer in proportion when more than ten are there, as where all share a processor."""

    here = 0

    async def _serve(self) -> None:
        self.here += 1
        try:
            await asyncio.sleep(0.005 * max(1.0, self.here / 10))
        finally:
            self.here -= 1
        self.served += 1


def closed_loop(driver: FixedCapacity, callers: int, stall: float, every: float, seconds: float = 2.0) -> int:
    """How many calls of callers that wait for each answer are shed, while the machine does not run the process for
    `stall` seconds now and then, `every` seconds apart on average."""

    async def main() -> int:
        loop, draw = asyncio.get_running_loop(), random.Random(1)
        assert isinstance(loop, VirtualTimeLoop)
        slot = Slot("store", "orders", driver, clock=loop.time)
        ends = loop.time() + seconds
        shed = 0

        async def one() -> None:
            nonlocal shed
            while loop.time() < ends:
                try:
                    await slot.call(GET, None, driver.get, b"key")
                except PrismError:
                    shed += 1
                    await asyncio.sleep(0.001)

        async def stalls() -> None:
            while stall and loop.time() < ends:
                await asyncio.sleep(every * draw.uniform(0.5, 1.5))
                loop.advance(stall)

        await asyncio.gather(stalls(), *(one() for _ in range(callers)))
        return shed

    return run(main())


@pytest.mark.parametrize("callers", [20, 200])
@pytest.mark.parametrize(("stall", "every"), [(0.5, 1.0), (0.3, 0.7), (0.05, 0.2), (0.02, 0.06)])
def test_honest_callers_of_a_fast_backend_are_never_shed(callers: int, stall: float, every: float) -> None:
    driver = FixedCapacity(100_000, 30)
    assert closed_loop(driver, callers, stall, every) == 0
    assert driver.served > 50 * callers


def test_many_honest_callers_find_a_fast_backend_and_none_is_shed() -> None:
    """More than the limit has grown to when a line that stands is taken for overload."""
    driver = FixedCapacity(100_000, 100)
    assert closed_loop(driver, 900, 0, 1.0, seconds=0.3) == 0
    assert driver.served > 900 * 10


@pytest.mark.parametrize("used", [0, 500])
def test_a_burst_is_no_overload(used: int) -> None:
    """A hundred calls at once at a backend that does nothing else, be it new or known."""

    async def main() -> int:
        driver = FixedCapacity(CAPACITY, 10)
        slot = Slot("store", "orders", driver, clock=asyncio.get_running_loop().time)
        await open_loop(used, 1, lambda: slot.call(GET, None, driver.get, b"key")) if used else None
        await asyncio.gather(*(slot.call(GET, None, driver.get, b"key") for _ in range(100)))
        return driver.served

    assert run(main()) >= 100


@pytest.mark.parametrize(("stall", "every"), [(0.0, 1.0), (0.3, 0.7), (0.02, 0.06)])
def test_honest_callers_are_not_shed_by_a_backend_at_its_capacity(stall: float, every: float) -> None:
    assert closed_loop(FixedCapacity(CAPACITY, 10), 20, stall, every) == 0
    assert closed_loop(Linear(CAPACITY, 10), 20, stall, every) == 0


@pytest.mark.parametrize("rate", [1000, 1800])
def test_a_backend_that_recovers_is_used_again(rate: float) -> None:
    """Ten times slower from the third second to the sixth: what it then can take is used, and all of it afterwards."""

    async def main() -> dict[int, list[float | None]]:
        loop = asyncio.get_running_loop()
        driver = FixedCapacity(CAPACITY, 10)
        usual = driver.service_s
        slot = Slot("store", "orders", driver, clock=loop.time)
        start = loop.time()
        seconds: dict[int, list[float | None]] = {}

        async def one() -> None:
            began = loop.time()
            try:
                await slot.call(GET, None, driver.get, b"key")
                took = loop.time() - began
            except PrismError:
                took = None
            seconds.setdefault(int(began - start), []).append(took)

        loop.call_at(start + 3, setattr, driver, "service_s", usual * 10)
        loop.call_at(start + 6, setattr, driver, "service_s", usual)
        await open_loop(rate, 9, one)
        return seconds

    seconds = run(main())
    answered = {second: [it for it in took if it is not None] for second, took in seconds.items()}
    assert len(answered[2]) == len(seconds[2])
    for slow in (4, 5):
        assert len(answered[slow]) >= 0.8 * CAPACITY / 10
        assert sorted(answered[slow])[len(answered[slow]) // 2] < 0.2
    assert len(answered[8]) == len(seconds[8])
