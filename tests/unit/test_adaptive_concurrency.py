"""Overload in virtual time: exact, and the same on every machine. `tests/integration` has it with a real server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from prism_proxy.errors import PrismError
from prism_proxy.patterns.keyvalue.operations import BATCH_GET, GET
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
        assert slot.resilience.turns is not None
        assert (slot.resilience.turns.in_flight, slot.resilience.turns.queued) == (0, 0)
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


@pytest.mark.parametrize("callers", [20, 60, 200])
def test_honest_callers_of_a_healthy_backend_are_never_shed(callers: int) -> None:
    """Closed-loop callers on a machine that does not run the process for 300 ms of every second."""

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        driver = FixedCapacity(100_000, 30)
        slot = Slot("store", "orders", driver, clock=loop.time)
        ends = loop.time() + 4
        shed = 0

        async def one() -> None:
            nonlocal shed
            while loop.time() < ends:
                try:
                    await slot.call(GET, None, driver.get, b"key")
                except PrismError:
                    shed += 1

        async def standstills() -> None:
            while loop.time() < ends:
                await asyncio.sleep(0.7)
                loop.advance(0.3)

        await asyncio.gather(standstills(), *(one() for _ in range(callers)))
        return shed, driver.served

    shed, served = run(main())
    assert shed == 0
    assert served > 100 * callers
