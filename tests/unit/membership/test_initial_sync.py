"""When the list of namespaces counts as complete. Timers of milliseconds stand for those of seconds."""

from __future__ import annotations

import asyncio

from prism_proxy.membership.initial_sync import InitialSync

LONG = 1000.0


async def until_complete(sync: InitialSync) -> None:
    async with asyncio.timeout(5):
        while sync.expected:
            await asyncio.sleep(0.001)


async def test_an_answer_with_everything_expects_nothing() -> None:
    told: list[bool] = []
    sync = InitialSync(LONG, lambda: told.append(sync.expected))
    sync.registered(complete=True)
    assert told == []
    assert not sync.expected


async def test_a_push_that_never_comes_is_not_waited_for_for_ever() -> None:
    told: list[bool] = []
    sync = InitialSync(0.01, lambda: told.append(sync.expected), LONG)
    sync.registered(complete=False)
    assert told == [True]
    await until_complete(sync)
    assert told == [True, False]


async def test_each_push_is_a_reason_to_expect_another() -> None:
    sync = InitialSync(0.2, lambda: None, LONG)
    sync.registered(complete=False)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + 0.3:
        sync.arrived()
        await asyncio.sleep(0)
    assert sync.expected, "longer than the quiet time, but never quiet"
    await until_complete(sync)


async def test_pushes_without_end_are_other_namespaces() -> None:
    sync = InitialSync(LONG, lambda: None, 0.01)
    sync.registered(complete=False)
    async with asyncio.timeout(5):
        while sync.expected:
            sync.arrived()
            await asyncio.sleep(0)
    sync.arrived()
    assert not sync.expected


async def test_while_the_admin_is_away_nothing_is_complete() -> None:
    sync = InitialSync(0.005, lambda: None, 0.01)
    sync.registered(complete=False)
    sync.pause()
    sync.arrived()
    await asyncio.sleep(0.05)
    assert sync.expected
    sync.registered(complete=True)
    assert not sync.expected
