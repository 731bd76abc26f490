"""When the list of namespaces counts as complete. Timers of milliseconds stand for those of seconds."""

from __future__ import annotations

import asyncio

from prism_proxy.joining.arrivals import Arrivals

LONG = 1000.0


async def until_complete(arrivals: Arrivals) -> None:
    async with asyncio.timeout(5):
        while arrivals.expected:
            await asyncio.sleep(0.001)


async def test_an_answer_with_everything_expects_nothing() -> None:
    told: list[bool] = []
    arrivals = Arrivals(LONG, lambda: told.append(arrivals.expected))
    arrivals.registered(complete=True)
    assert told == []
    assert not arrivals.expected


async def test_a_push_that_never_comes_is_not_waited_for_for_ever() -> None:
    told: list[bool] = []
    arrivals = Arrivals(0.01, lambda: told.append(arrivals.expected), LONG)
    arrivals.registered(complete=False)
    assert told == [True]
    await until_complete(arrivals)
    assert told == [True, False]


async def test_each_push_is_a_reason_to_expect_another() -> None:
    arrivals = Arrivals(0.2, lambda: None, LONG)
    arrivals.registered(complete=False)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + 0.3:
        arrivals.arrived()
        await asyncio.sleep(0)
    assert arrivals.expected, "longer than the quiet time, but never quiet"
    await until_complete(arrivals)


async def test_pushes_without_end_are_other_namespaces() -> None:
    arrivals = Arrivals(LONG, lambda: None, 0.01)
    arrivals.registered(complete=False)
    async with asyncio.timeout(5):
        while arrivals.expected:
            arrivals.arrived()
            await asyncio.sleep(0)
    arrivals.arrived()
    assert not arrivals.expected


async def test_while_the_admin_is_away_nothing_is_complete() -> None:
    arrivals = Arrivals(0.005, lambda: None, 0.01)
    arrivals.registered(complete=False)
    arrivals.pause()
    arrivals.arrived()
    await asyncio.sleep(0.05)
    assert arrivals.expected
    arrivals.registered(complete=True)
    assert not arrivals.expected
