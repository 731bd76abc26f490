"""The source, the target or the admin is killed at any moment of a move: what a durable store acknowledged is found.

While the outcome is not known nobody takes writes, so callers may be refused. In the end each key has the last value
that was acknowledged, or one after it whose outcome the writer was not told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from prism.admin.v1 import admin_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_grpc
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_batch_pb2_grpc as batch_grpc
from tests.integration.test_migration import Cluster

ROUNDS = 9 if os.environ.get("PRISM_SOAK") == "1" else 1  # the admin takes ten such plans a minute
KEYS = 20
# What a proxy passed on before it was killed may be read by the owner a little later: the next write of the key waits.
SETTLE_SECONDS = 0.3
IN_DISK = (("x-namespace", "disk"),)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path) as found:
        yield found


class Ledger:
    """One writer a key. `may_be` has the values a key may have: the last acknowledged, and those after it whose outcome
    is not known."""

    def __init__(self) -> None:
        self.may_be: dict[str, list[bytes]] = {f"k{number}": [b""] for number in range(KEYS)}
        self.disagreements: list[str] = []
        self.acknowledged = 0
        self.ending = False

    async def write(self, key: str, *addresses: str) -> None:
        chance, count = random.Random(key), 0
        channels = [grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 200)])
                    for address in addresses]
        while not self.ending:
            count += 1
            value = b"%s %d" % (key.encode(), count)
            self.may_be[key].append(value)
            try:
                await basic_grpc.KeyValueBasicInterfaceStub(chance.choice(channels)).Set(
                    basic.SetRequest(key=key, value=value), metadata=IN_DISK, timeout=3)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(SETTLE_SECONDS)
            else:
                self.may_be[key] = [value]
                self.acknowledged += 1
                await self.read(key, chance.choice(channels))
        for channel in channels:
            await channel.close()

    async def read(self, key: str, channel: grpc.aio.Channel) -> None:
        """What was acknowledged is what any proxy says, where one answers: two owners would not agree."""
        stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
        with contextlib.suppress(grpc.aio.AioRpcError):
            found = await stub.Get(basic.GetRequest(key=key), metadata=IN_DISK, timeout=3)
            if found.value not in self.may_be[key]:
                self.disagreements.append(f"{key} is {found.value!r} and may be {self.may_be[key]}")

    async def check(self, address: str) -> None:
        assert not self.disagreements
        async with grpc.aio.insecure_channel(address) as channel:
            stub = basic_grpc.KeyValueBasicInterfaceStub(channel)
            for key, values in self.may_be.items():
                call = stub.Get(basic.GetRequest(key=key), metadata=IN_DISK, timeout=5, wait_for_ready=True)
                value = (await call).value
                owner = dict(await call.initial_metadata()).get("x-prism-owner")
                assert value in values, f"{key} is {value!r} by {address}, owner {owner}, and may be {values}"


async def fill(address: str) -> None:
    """Enough data for a move to take a while."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = batch_grpc.KeyValueBatchInterfaceStub(channel)
        for part in range(60):
            await stub.BatchSet(batch.BatchSetRequest(requests=[
                basic.SetRequest(key=f"fill {part} {number}", value=b"v" * 200) for number in range(500)]),
                metadata=IN_DISK)


async def until_served(cluster: Cluster, *addresses: str) -> None:
    """Every proxy answers for the namespace, and the map names one owner of it."""
    async with asyncio.timeout(30):
        while True:
            try:
                if "disk" in await cluster.owners():
                    for address in addresses:
                        async with grpc.aio.insecure_channel(address) as channel:
                            await basic_grpc.KeyValueBasicInterfaceStub(channel).Get(
                                basic.GetRequest(key="k0"), metadata=IN_DISK, timeout=3)
                    return
            except grpc.aio.AioRpcError:
                pass
            await asyncio.sleep(0.1)


@pytest.mark.timeout(300 if ROUNDS > 1 else 90)
@pytest.mark.parametrize("victim", ["source", "target", "admin"])
async def test_a_kill_during_a_move_loses_no_acknowledged_write(cluster: Cluster, victim: str) -> None:
    await cluster.join("b")
    await fill(cluster.proxies["a"].address)
    ports = {name: process.port for name, process in cluster.proxies.items()}
    addresses = [process.address for process in cluster.proxies.values()]
    ledger = Ledger()
    writers = [asyncio.create_task(ledger.write(key, *addresses)) for key in ledger.may_be]
    for _ in range(ROUNDS):
        await until_served(cluster, *addresses)
        source = (await cluster.owners())["disk"]
        target = "b" if source == "a" else "a"
        await cluster.call("Rebalance", admin_pb2.RebalanceRequest(leave=source))
        await asyncio.sleep(random.uniform(0, 0.8))
        before = ledger.acknowledged
        if victim == "admin":
            await cluster.admin.kill()
            await cluster.restart_admin()
        else:
            name = source if victim == "source" else target
            cluster.proxies[name].process.kill()
            await cluster.proxies[name].process.wait()
            await cluster.join(name, port=ports[name])
        await until_served(cluster, *addresses)
        while ledger.acknowledged < before + 10:
            await asyncio.sleep(0.05)
    ledger.ending = True
    await asyncio.gather(*writers)
    for address in addresses:
        await ledger.check(address)
