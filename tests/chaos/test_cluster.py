"""Several proxies under one admin, while processes come, go, stand still and die, and callers keep account.

Shared state is in a real Redis. Every caller knows for each of its keys which values a read may find.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism_proxy._native.runtime.crc32 import partition_of
from tests.services.cluster import MEMSTORE, Cluster, cluster
from tests.services.redis import RedisServer, binary
from tests.support.ledger import Ledger

SOAK = os.environ.get("PRISM_SOAK") == "1"
ROUNDS = 20 if SOAK else 1
PROXIES = 5 if SOAK else 3
AWAY_SECONDS = 600 if SOAK else 1.5
SETTLE_SECONDS = 120 if SOAK else 20  # for the namespaces of a proxy that joins or leaves
NAMES = [f"shared-{number}" for number in range(1000 if SOAK else 12)]
USED = NAMES[:24]  # of which callers keep account: they share a core with the proxies
STALE = ("--stale-after", "3")
UNLIMITED = ("--rate-limits", "0,0,0")  # a quick machine plans more than ten changes within a minute
pytestmark = [pytest.mark.skipif(binary() is None, reason="no redis-server"), pytest.mark.timeout(3600 if SOAK else 60)]


@contextlib.asynccontextmanager
async def shared(
    folder: Path, count: int, *admin: str, proxies: tuple[str, ...] = (), urn: str = ""
) -> AsyncIterator[Cluster]:
    """Proxies with namespaces whose state any of them can serve."""
    async with RedisServer() as redis, cluster(folder, count, *proxies, admin=admin, urn=urn) as found:
        config = pb.NamespaceConfig(backends={"store": pb.BackendConfig(
            backend_type="redis", connection_string=redis.url)})
        await found.create(NAMES, config)
        yield found


@contextlib.asynccontextmanager
async def ledgers(found: Cluster, *numbers: int, names: list[str] = USED, callers: int = 2) -> AsyncIterator[
        list[Ledger]]:
    """Callers of every namespace, spread over some proxies."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Ledger(
            found.client(numbers[index % len(numbers)]).channel, name, callers=callers, deadline_s=5))
            for index, name in enumerate(names)]


async def progress(found: list[Ledger], calls: int = 20) -> None:
    await asyncio.gather(*(ledger.progress(calls) for ledger in found))


def failures(found: list[Ledger]) -> dict[tuple[str, str], int]:
    total: dict[tuple[str, str], int] = {}
    for ledger in found:
        for kind, count in ledger.failures.items():
            total[kind] = total.get(kind, 0) + count
    return total


async def test_a_proxy_joins_and_leaves_under_load_without_a_failed_call(tmp_path: Path) -> None:
    async with (shared(tmp_path, PROXIES, *UNLIMITED) as found,
                ledgers(found, *range(1, PROXIES + 1)) as accounts):
        await progress(accounts)
        for number in range(PROXIES + 1, PROXIES + 1 + ROUNDS):
            await found.start(number)
            await found.settled(SETTLE_SECONDS)
            await progress(accounts)
            before = (await found.settled()).revision
            await found.ask_admin("Rebalance", admin_pb2.RebalanceRequest(leave=f"proxy-{number:02}"))
            assert (await found.settled(SETTLE_SECONDS)).revision > before
            await progress(accounts)
            assert await found.proxies.pop(number).stop() == 0
            await progress(accounts)
        assert failures(accounts) == {}


async def test_the_admin_is_killed_and_comes_back_and_no_data_call_notices(tmp_path: Path, urn: str) -> None:
    """Kill admin under load: 0 failed data requests; creation returns UNAVAILABLE; restart admin: proxies re-register
    within backoff + 1 s and the namespaces are the same."""
    async with shared(tmp_path, 3, urn=urn) as found, ledgers(found, 1, 2, 3) as accounts:
        await progress(accounts)
        before = await namespaces(found)
        await found.admin.kill()
        ends = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < ends:
            await progress(accounts)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await found.create(["late"], MEMSTORE)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        await found.restart_admin()
        began = time.monotonic()
        while {(await found.status(number))["state"] for number in found.proxies} != {"joined"}:
            await asyncio.sleep(0.02)
        assert time.monotonic() - began < 0.3 * 1.2 + 1, "reconnect_s with its jitter, and a second"
        await progress(accounts)
        assert await namespaces(found) == before
        assert failures(accounts) == {}


async def namespaces(found: Cluster) -> dict[str, tuple[int, str]]:
    """Version and proxy of each, as the admin lists them."""
    listed = await found.ask_admin("ListNamespaces", admin_pb2.ListNamespacesRequest(page_size=1000))
    return {item.name: (item.config_version, item.assigned_proxy) for item in listed.namespaces}


async def test_a_killed_proxy_s_shared_namespaces_are_served_by_others(tmp_path: Path) -> None:
    async with shared(tmp_path, 3, *STALE) as found, ledgers(found, 1, 2) as accounts:
        await progress(accounts)
        await found.kill(3)
        await asyncio.gather(*(ledger.progress(20, seconds=20) for ledger in accounts))
        map_now = await found.settled()
        assert "proxy-03" not in {owner.proxy_id for owner in map_now.owners}
        assert {reason for _, reason in failures(accounts)} <= {"OWNER_DOWN", "OWNER_LOST"}
        lost = failures(accounts)
        await progress(accounts, 100)
        assert failures(accounts) == lost, "none fails once the partitions have moved"


async def owners_by_map(found: Cluster, names: Iterable[str]) -> dict[str, str]:
    current = await found.settled()
    return {name: next(item.proxy_id for item in current.owners if item.start <= partition_of(name) <= item.end)
            for name in names}


async def test_a_proxy_that_stood_still_too_long_serves_nothing_it_lost(tmp_path: Path) -> None:
    """Nor executes what was sent to it meanwhile, which its callers have long given up and others have done."""
    standstill = ("--limit", "standstill_s=3")
    async with (shared(tmp_path, 3, "--stale-after", "4", proxies=standstill) as found,
                ledgers(found, 1, 2) as accounts):
        await progress(accounts)
        owners = {name: await found.client(1).owner((("x-namespace", name),)) for name in USED}
        theirs = [name for name, owner in owners.items() if owner == "proxy-03"]
        assert theirs
        found.proxies[3].signal(signal.SIGSTOP)
        standing = found.proxies.pop(3)
        await asyncio.gather(*(ledger.progress(20, seconds=20) for ledger in accounts))
        await found.settled()
        standing.signal(signal.SIGCONT)
        found.proxies[3] = standing
        await progress(accounts)
        async with asyncio.timeout(20):  # it may still have to notice that it must register, and gets partitions then
            while (await owners_by_map(found, theirs)) != {
                    name: await found.client(3).owner((("x-namespace", name),)) for name in theirs}:
                await asyncio.sleep(0.1)
        await progress(accounts)


async def test_local_data_of_a_dead_proxy_is_unavailable_and_moves_nowhere(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3, admin=STALE) as found:
        await found.create(["orders", "default"], MEMSTORE)
        store = found.client(1).store
        metadata = (("x-namespace", "orders"),)
        await store.Set(kv.SetRequest(key="a", value=b"1"), metadata=metadata)
        owner = int((await found.client(1).owner(metadata))[-2:])
        assert owner == 3
        await found.kill(owner)
        async with asyncio.timeout(20):
            while "proxy-03" in {item.proxy_id for item in (await found.settled()).owners if item.start != item.end}:
                await asyncio.sleep(0.1)
        for number in found.proxies:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await found.client(number).store.Get(kv.GetRequest(key="a"), metadata=metadata)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "proxy-03" in str(error.value.details())
