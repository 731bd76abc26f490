"""Histories of a cluster under a virtual clock: proxies join, leave, die, stand still, return; the admin restarts.

The real coordinator, membership, placement and hand-off of the admin meet the real `Assignments` of proxies; storage
and network are dicts. After every step, and at every switch of the map, the promises are checked:

- a partition of shared namespaces is given only to a proxy that has all of them active
- a namespace of local data is active on one proxy at most, and moves only when an operator abandons its data
- revisions only grow; who was declared dead serves nothing it lost once it has registered again
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest

from prism import control_plane_pb2 as pb
from prism_admin import layout
from prism_admin.coordinator import Coordinator, UnknownProxyError
from prism_admin.membership import STALE_SECONDS, Membership, Status
from prism_admin.proxy_client import PushError
from prism_admin.storage.namespaces import Namespace
from prism_admin.storage.proxies import Proxy
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.membership.assignments import Assignment, Assignments
from prism_proxy.namespaces.model import NamespaceConfig

HISTORIES = 4000 if os.environ.get("PRISM_SOAK") == "1" else 100
STEPS = 40
HEARTBEAT = 30.0


class Store:
    """What survives a restart of the admin. `at_switch` hears of every change of the map before it is written."""

    def __init__(self, at_switch: Any) -> None:
        self.proxies = self.namespaces = self
        self.rows: dict[str, Proxy] = {}
        self.bound: dict[str, Namespace] = {}
        self.revision = 0
        self.owners: dict[int, str] = {}
        self._at_switch = at_switch

    async def list(self) -> list[Proxy]:
        return list(self.rows.values())

    async def upsert(self, proxy: Proxy) -> None:
        self.rows[proxy.proxy_id] = proxy

    async def set_status(self, proxies: Collection[str], status: str) -> None:
        for name in proxies:
            self.rows[name] = replace(self.rows[name], status=status)

    async def seen(self, when: Mapping[str, Any]) -> None:
        pass

    async def load_map(self) -> tuple[int, dict[int, str]]:
        return self.revision, dict(self.owners)

    async def save_map(self, expected: int, changes: Mapping[int, str | None]) -> int:
        assert expected == self.revision
        self._at_switch(changes)
        self.revision += 1
        for partition, owner in changes.items():
            self.owners.pop(partition, None)
            if owner is not None:
                self.owners[partition] = owner
        return self.revision

    async def page(self) -> list[Namespace]:
        return sorted(self.bound.values(), key=lambda found: found.name)

    async def in_partitions(self, partitions: Collection[int]) -> list[Namespace]:
        return [found for found in await self.page() if found.partition in partitions]


class Member:
    """A proxy: `running` is whether it serves calls, `reachable` whether the network lets it and the admin meet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = self.reachable = True
        self.assigned = Assignments()
        self.map = 0

    @property
    def connected(self) -> bool:
        return self.running and self.reachable

    def take(self, item: pb.NamespaceAssignment) -> None:
        """ValueError when it was overtaken."""
        if self.assigned.is_newer(item.namespace, item.version, item.revision):
            config = NamespaceConfig.of_store(item.namespace, "memstore", MemstoreConfig())
            self.assigned.put([Assignment(config, item.version, item.revision)])
        else:
            self.assigned.confirm(item.namespace, item.revision)

    def registered(self, ack: pb.ProxyRegistrationAck) -> None:
        for item in ack.initial_namespaces:
            self.take(item)
        owned = {partition for found in ack.partition_ranges for partition in range(found.start, found.end + 1)}
        self.assigned.drop(self.assigned.left_over(
            {item.namespace for item in ack.initial_namespaces}, owned, complete=True), ack.map_revision)

    def mapped(self, found: pb.PartitionMap) -> None:
        assert found.revision >= self.map, "a revision went back"
        self.map = found.revision
        owned = {partition for owner in found.owners if owner.proxy_id == self.name
                 for partition in range(owner.start, owner.end + 1)}
        self.assigned.drop(self.assigned.lost(owned, found.revision), found.revision)


class World:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.members: dict[str, Member] = {}
        self.store = Store(self.switching)
        self.names = 0
        self.abandoned: set[int] = set()
        self.unborn: set[str] = set()  # created while nobody could be told
        self.log: list[str] = []

    async def open(self) -> None:
        """A start of the admin."""
        self.membership = Membership(clock=lambda: self.now)
        self.admin = Coordinator(self.store, self.membership, self)  # type: ignore[arg-type]
        await self.admin.open()

    # --- the network ------------------------------------------------------------------------------------------------

    async def assign(self, address: str, item: pb.NamespaceAssignment) -> None:
        member = self.members[address]
        if not member.connected or self.random.random() < 0.1:
            raise PushError(f"{address} cannot be reached")
        try:
            member.take(item)
        except ValueError as error:
            raise PushError(str(error)) from error
        if self.random.random() < 0.1:
            raise PushError(f"{address}: the answer was lost")

    async def revoke(self, address: str, item: pb.NamespaceRevocation) -> None:
        member = self.members[address]
        if not member.connected or self.random.random() < 0.2:
            raise PushError(f"{address} cannot be reached")
        if member.assigned.revocable(item.namespace, item.revision):
            member.assigned.drop([item.namespace], item.revision)

    async def forget(self, address: str) -> None:
        pass

    async def register(self, member: Member) -> None:
        member.registered(await self.admin.register(
            pb.ProxyRegistration(proxy_id=member.name, address=member.name)))

    async def pass_time(self, seconds: float) -> None:
        """Heartbeats, sweeps, hand-offs and maps, as they come in that time."""
        for _ in range(max(1, round(seconds / HEARTBEAT))):
            self.now += min(seconds, HEARTBEAT)
            for member in self.members.values():
                if member.connected:
                    try:
                        self.admin.heartbeat(pb.ProxyHeartbeat(proxy_id=member.name))
                    except UnknownProxyError:
                        await self.register(member)
            await self.admin.sweep()
            await self.admin.hand_off()
            await self.let_tasks_run()
            self.tell_maps()

    async def let_tasks_run(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    def tell_maps(self) -> None:
        found = self.admin.partition_map()
        for member in self.members.values():
            if member.connected and self.random.random() < 0.9:
                member.mapped(found)

    # --- what may happen --------------------------------------------------------------------------------------------

    async def step(self) -> None:
        happening = self.random.choice((
            self.join, self.join, self.create, self.create, self.die, self.stand_still, self.come_back, self.come_back,
            self.restart_admin, self.rebalance, self.give_up_data, self.wait, self.wait))
        self.log.append(happening.__name__)
        await happening()
        self.check()

    async def wait(self) -> None:
        await self.pass_time(self.random.choice((5.0, 30.0, 120.0)))

    async def join(self) -> None:
        if len(self.members) < 8:
            member = Member(f"proxy-{len(self.members):02}")
            self.members[member.name] = member
            await self.register(member)

    async def create(self) -> None:
        self.names += 1
        backend = self.random.choice(("redis", "redis", "memstore"))
        name = f"{backend}-{self.names}"
        partition = layout.partition_of(name)
        owner = self.admin.placement.map.owner(partition)
        if owner is None or owner not in self.members:
            return
        namespace = Namespace(name, partition, {"backends": {"store": {"backendType": backend}}}, version=1)
        self.store.bound[name] = namespace
        try:
            await self.assign(owner, pb.NamespaceAssignment(
                namespace=name, version=1, revision=self.admin.placement.map.revision))
        except PushError:
            self.unborn.add(name)

    async def die(self) -> None:
        member = self.one(lambda found: found.running)
        if member is not None:
            member.running = False

    async def stand_still(self) -> None:
        """Or be cut off: it serves on, and hears nothing."""
        member = self.one(lambda found: found.connected)
        if member is not None:
            member.reachable = False
            await self.pass_time(self.random.choice((10.0, STALE_SECONDS + 10)))

    async def come_back(self) -> None:
        member = self.one(lambda found: not found.connected)
        if member is not None:
            await self.back(member)
            await self.pass_time(HEARTBEAT)

    async def back(self, member: Member) -> None:
        """A process that starts again knows nothing, and registers; one that was cut off does not know it was."""
        member.reachable = True
        if not member.running:
            member.assigned, member.map, member.running = Assignments(), 0, True
            await self.register(member)

    async def restart_admin(self) -> None:
        await self.admin.handoff.close()
        await self.open()

    async def rebalance(self) -> None:
        leaving = self.one(lambda found: True)
        others = set(self.membership.members()) - {leaving.name if leaving is not None else ""}
        if leaving is not None and others and self.random.random() < 0.5:
            await self.admin.rebalance(leaving=leaving.name)
        else:
            await self.admin.rebalance(contiguous=True)

    async def give_up_data(self) -> None:
        """An operator accepts the loss of what a dead proxy alone had."""
        for partition, owner in list(self.store.owners.items()):
            member = self.members[owner]
            if self.local_in(partition) and not member.running and self.admin.status(owner) is Status.UNHEALTHY:
                self.abandoned.add(partition)
                try:
                    await self.admin.abandon(partition)
                except ValueError:
                    return
                for namespace in await self.store.in_partitions([partition]):
                    member.assigned.drop([namespace.name], self.store.revision)
                return

    def one(self, wanted: Any) -> Member | None:
        found = [member for member in self.members.values() if wanted(member)]
        return self.random.choice(found) if found else None

    # --- promises ---------------------------------------------------------------------------------------------------

    def local_in(self, partition: int) -> list[str]:
        return [found.name for found in self.store.bound.values()
                if found.partition == partition and found.name.startswith("memstore")]

    def switching(self, changes: Mapping[int, str | None]) -> None:
        for partition, target in changes.items():
            source = self.store.owners.get(partition)
            if source is None or target is None:
                continue
            if self.local_in(partition):
                assert partition in self.abandoned, f"partition {partition} with local data went to {target}"
                continue
            for namespace in self.store.bound.values():
                if namespace.partition == partition:
                    assert namespace.name in self.members[target].assigned or not self.members[target].running, (
                        f"{target} got partition {partition} without {namespace.name}")

    def check(self) -> None:
        living = {name for name in self.membership.members() if name in self.members}
        owners = self.store.owners
        if living:
            assert all(partition in owners for partition in range(256)), "a partition without an owner"
        for name, namespace in self.store.bound.items():
            if name.startswith("memstore") and namespace.partition not in self.abandoned:
                holders = [member.name for member in self.members.values()
                           if member.running and name in member.assigned]
                assert len(holders) <= 1, f"{name} is active on {holders}"


@pytest.mark.timeout(3600 if HISTORIES > 1000 else 60)
@pytest.mark.parametrize("first", range(0, HISTORIES, HISTORIES // 4))
async def test_no_history_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + HISTORIES // 4):
        world = World(seed)
        await world.open()
        try:
            for _ in range(STEPS):
                await world.step()
            for member in world.members.values():
                await world.back(member)
            for _ in range(12):
                await world.pass_time(HEARTBEAT)
            world.check()
            settled(world)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, after {' '.join(world.log)}: {error}") from error


def settled(world: World) -> None:
    """With everybody there and some time gone by, each namespace is active where the map says."""
    for name, namespace in world.store.bound.items():
        owner = world.store.owners[namespace.partition]
        assert name in world.members[owner].assigned or name in world.unborn, f"{name} is not active on {owner}"
        if namespace.partition not in world.abandoned:
            holders = {member.name for member in world.members.values() if (found := member.assigned.get(name))
                       and found.revision <= member.map}  # else a hand-over that has not come to its map
            assert holders <= {owner}, f"{name}: {holders}, not {owner} alone"
