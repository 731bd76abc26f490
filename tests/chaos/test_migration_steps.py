"""The source, the target, the admin, a worker or a supervisor of workers is killed at each step of a move: one owner is
left, and every write that a durable store acknowledged.

Processes stop at a step by `tests/support/steps`, so that the kill comes exactly there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from enum import Enum
from pathlib import Path

import pytest

from prism.admin.v1 import admin_pb2
from prism_proxy._native.runtime.crc32 import partition_of
from tests.chaos.test_migration_kill import Ledger, until_served
from tests.integration.test_migration import BACKENDS, Cluster

STEPS = ("begin", "snapshot", "tail", "hold", "verified", "in doubt", "committed", "released")
LONG = os.environ.get("PRISM_SOAK") == "1"
WORKERS = 3
# the short form: each step once, with the victim whose loss matters most there
SHORT = {"source": ("hold", "verified", "released"), "target": ("snapshot", "in doubt"),
         "admin": ("begin", "tail", "committed")}
SHORT_WORKERS = {"source": ("verified", "in doubt"), "target": ("snapshot", "committed")}
SHORT_SUPERVISORS = {"source": ("tail", "in doubt"), "target": ("verified", "committed")}


class Steps:
    """The folder by which processes are stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.environment = {"STEPS_FOLDER": str(folder),
                            "PYTHONPATH": str(Path(__file__).parent.parent / "support" / "steps")}

    @contextlib.asynccontextmanager
    async def reached(self, step: str) -> AsyncIterator[None]:
        """Until the end of the block the first process that comes to the step waits there."""
        async with asyncio.timeout(20):
            while not (found := list(self._folder.glob(f"{step}.*"))):
                await asyncio.sleep(0.005)
        try:
            yield
        finally:
            found[0].unlink()

    def arm(self, step: str) -> None:
        (self._folder / step).touch()


class Kill(Enum):
    PROXY = "all of it"
    WORKER = "the worker that has the data"
    SUPERVISOR = "the supervisor, whose workers find out by themselves"


async def kill_worker(cluster: Cluster, proxy: str) -> None:
    """The worker that has the data."""
    workers = json.loads((await cluster.proxies[proxy].get("/ready"))[1])["workers"]
    os.kill(workers[partition_of("disk") % len(workers)]["pid"], signal.SIGKILL)


async def until_registered(cluster: Cluster) -> None:
    """An admin that has just started knows no proxy yet."""
    async with asyncio.timeout(20):
        while any(found.status != "healthy" for found in (
                await cluster.call("ListProxies", admin_pb2.ListProxiesRequest())).proxies):
            await asyncio.sleep(0.05)


async def kill_supervisor(cluster: Cluster, proxy: str) -> None:
    """Its workers may live when this returns: `wait` would go on until all have closed the log."""
    process = cluster.proxies[proxy].process
    process.kill()
    while process.returncode is None:
        await asyncio.sleep(0.005)


async def sees_what_stays(cluster: Cluster, source: str) -> None:
    """An admin that started again knows of no wish; what the proxy has still to leave is in the plan, until it has."""
    assert not (await cluster.call("GetPartitionMap", admin_pb2.GetPartitionMapRequest())).moving
    plan = await cluster.call("PlanRebalance", admin_pb2.PlanRebalanceRequest(leave=source))
    named = [name for move in plan.moves for name in move.namespaces] + list(plan.refused.values())
    assert bool(named) == ((await cluster.owners())["disk"] == source), plan


async def kills(folder: Path, victim: str, steps: Sequence[str], kill: Kill = Kill.PROXY) -> None:
    stops, workers = Steps(folder / "steps"), 1 if kill is Kill.PROXY else WORKERS
    more = ("--workers", str(workers)) if workers > 1 else ()
    async with Cluster(folder, workers=workers, backends={"disk": BACKENDS["disk"]},
                       environment=stops.environment) as cluster:
        await cluster.join("b", *more)
        ports = {name: process.port for name, process in cluster.proxies.items()}
        addresses = [process.address for process in cluster.proxies.values()]
        ledger = Ledger()
        writers = [asyncio.create_task(ledger.write(key, *addresses)) for key in ledger.may_be]
        for step in steps:
            await until_served(cluster, *addresses)
            source = (await cluster.owners())["disk"]
            name = source if victim == "source" else "b" if source == "a" else "a"
            await until_registered(cluster)
            stops.arm("in doubt" if step == "committed" else step)
            await cluster.call("Rebalance", admin_pb2.RebalanceRequest(leave=source))
            if step == "committed":  # the next map that is stored is that of the move
                async with stops.reached("in doubt"):
                    stops.arm(step)
            async with stops.reached(step):
                if victim == "admin":
                    await cluster.admin.kill()
                elif kill is Kill.WORKER:
                    await kill_worker(cluster, name)
                elif kill is Kill.SUPERVISOR:
                    await kill_supervisor(cluster, name)
                else:
                    await cluster.proxies[name].__aexit__()
            if victim == "admin":
                await cluster.restart_admin()
            elif kill is not Kill.WORKER:
                await cluster.join(name, *more, port=ports[name])
            before = ledger.acknowledged
            await until_served(cluster, *addresses)
            if victim == "admin":
                await sees_what_stays(cluster, source)
            while ledger.acknowledged < before + len(writers):
                await asyncio.sleep(0.05)
        ledger.ending = True
        await asyncio.gather(*writers)
        for address in addresses:
            await ledger.check(address)


@pytest.mark.timeout(120 if LONG else 60)
@pytest.mark.parametrize(("victim", "steps"), [
    (victim, steps) for victim in SHORT for steps in ((STEPS[:4], STEPS[4:]) if LONG else (SHORT[victim],))])
async def test_a_kill_at_each_step_of_a_move_leaves_one_owner_and_every_write(
    tmp_path: Path, victim: str, steps: Sequence[str]
) -> None:
    await kills(tmp_path, victim, steps)


@pytest.mark.timeout(120 if LONG else 60)
@pytest.mark.parametrize(("victim", "steps"), [
    (victim, steps) for victim in SHORT_WORKERS
    for steps in ((STEPS[:4], STEPS[4:]) if LONG else (SHORT_WORKERS[victim],))])
async def test_a_worker_killed_at_each_step_of_a_move_leaves_one_owner_and_every_write(
    tmp_path: Path, victim: str, steps: Sequence[str]
) -> None:
    await kills(tmp_path, victim, steps, Kill.WORKER)


@pytest.mark.timeout(360 if LONG else 180)
@pytest.mark.parametrize(("victim", "steps"), [
    (victim, steps) for victim in SHORT_SUPERVISORS
    for steps in ((STEPS[:4], STEPS[4:]) if LONG else (SHORT_SUPERVISORS[victim],))])
async def test_a_supervisor_killed_at_each_step_of_a_move_leaves_one_owner_and_every_write(
    tmp_path: Path, victim: str, steps: Sequence[str]
) -> None:
    await kills(tmp_path, victim, steps, Kill.SUPERVISOR)
