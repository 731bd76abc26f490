"""Workers under load of stock clients: drains, replacements and reloads fail no call."""

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest

from tests.integration.test_drain_under_load import Load
from tests.integration.test_workers import configuration, reloaded
from tests.services.workers import WorkersProcess, workers

pytestmark = pytest.mark.serial

SOAK = os.environ.get("PRISM_SOAK") == "1"
CLIENTS = 200 if SOAK else 24
RESTARTS = 20 if SOAK else 3
RELOADS = 100 if SOAK else 8


async def more_calls(load: Load, count: int = 100) -> None:
    """Wait for so many further answers."""
    goal = load.codes.total() + count
    async with asyncio.timeout(20):
        while load.codes.total() < goal:
            await asyncio.sleep(0.01)


@pytest.mark.timeout(600 if SOAK else 60)
async def test_DRN_5_a_drain_under_load_cuts_no_call_in_any_worker() -> None:
    async with workers() as process, Load(process.address, CLIENTS, until_failure=True) as load:
        await more_calls(load)
        assert await process.process.stop() == 0
        await load.finished()
    assert set(load.codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}, (load.codes, load.details)
    stopped = [line for line in process.process.lines if line["event"] == "stopped" and "worker" in line]
    assert [line["aborted"] for line in stopped] == [0, 0, 0]


@pytest.mark.timeout(1200 if SOAK else 60)
async def test_rolling_restarts_of_proxies_with_workers_fail_no_call() -> None:
    first = workers("--reuse-port", count=2)
    await first.__aenter__()
    listen = ("--reuse-port", "--listen", first.address)
    pair: list[WorkersProcess] = [first, await workers(*listen, count=2).__aenter__()]
    try:
        async with Load(first.address, 10, until_failure=False) as load:
            for number in range(RESTARTS):
                fresh = await workers(*listen, count=2).__aenter__()
                assert await pair[number % 2].process.stop() == 0
                pair[number % 2] = fresh
                await more_calls(load)
        assert set(load.codes) == {grpc.StatusCode.OK}, (load.codes, load.details)
    finally:
        for process in pair:
            await process.__aexit__()


async def test_a_worker_that_is_replaced_in_good_order_fails_no_call() -> None:
    """Its namespaces wait for the new one, and so do connections."""
    async with workers() as process, Load(process.address, CLIENTS, until_failure=False) as load:
        for worker in range(3):
            pid = (await process.pids())[worker]
            assert pid is not None
            os.kill(pid, signal.SIGTERM)
            await process.until_serving(restarts=worker + 1)
            await more_calls(load)
    assert set(load.codes) == {grpc.StatusCode.OK}, (load.codes, load.details)


async def test_reloads_under_load_fail_no_call(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text(configuration("default"))
    async with workers("--config", str(file)) as process, Load(process.address, CLIENTS, until_failure=False) as load:
        for number in range(RELOADS):
            file.write_text(configuration("default", *(f"extra-{number}-{index}" for index in range(20))))
            process.process.signal(signal.SIGHUP)
            shown = await reloaded(process, "ok", number + 1)
            assert shown["revision"] == number + 2
            await more_calls(load)
    assert set(load.codes) == {grpc.StatusCode.OK}, (load.codes, load.details)


async def test_counts_are_exact_under_load() -> None:
    """A scrape never sees fewer calls than were answered before it, nor more than were made by its end."""
    async with workers() as process:
        async with Load(process.address, CLIENTS, until_failure=False) as load:
            for _ in range(10):
                before = load.codes.total()
                counted = await process.requests("Exists")
                # The first call of each client is not in `codes`, and one of each may be in progress.
                assert before <= counted - CLIENTS <= load.codes.total() + CLIENTS
                await more_calls(load)
        assert await process.requests("Exists") == load.codes.total() + CLIENTS
