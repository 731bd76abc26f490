"""When a move of data is stored, when it is not, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from prism import transfer_pb2
from prism_admin.data_moves import DataMoves
from prism_admin.layout import NOBODY, Layout, Move
from prism_admin.placement import Map, Placement
from prism_admin.proxy_client import ProxyClient, PushError
from prism_admin.storage.namespaces import Namespace, Namespaces

PARTITION = 7
MEMORY = {"backends": {"store": {"backendType": "memstore"}}}
SHARED = {"backends": {"store": {"backendType": "redis"}}}


class FakePlacement:
    """`breaks` before or after the map is stored."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.map = Map(1, owned_by("a"))
        self.stored = self.map
        self.breaks = ""

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Map]:
        async with self._lock:
            yield self.map

    async def apply(self, moves: list[Move]) -> Map:
        if self.breaks == "before":
            raise OSError("no disk")
        self.stored = Map(self.map.revision + 1, owned_by(str(moves[0].target)))
        if self.breaks == "after":
            raise OSError("the connection was lost")
        self.map = self.stored
        return self.map

    async def reload(self) -> None:
        self.map = self.stored


class FakePushes:
    """Notes what is asked; `fails` names what is refused, `waits` what does not end."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.fails = ""
        self.waits = ""
        self.waiting = asyncio.Event()

    async def _note(self, what: str, address: str) -> None:
        self.said.append((what, address))
        if what == self.waits:
            self.waiting.set()
            await asyncio.Event().wait()
        if what == self.fails:
            raise PushError(f"{address}: no")

    async def send(self, address: str, request: transfer_pb2.SendRequest) -> None:
        assert [item.namespace for item in request.namespaces] == ["mine"], "shared data need no copy"
        await self._note("send", address)

    async def assign(self, address: str, assignment: Any) -> None:
        assert assignment.namespace == "shared"
        await self._note("assign", address)

    async def finish(self, address: str, move_id: str) -> None:
        await self._note("finish", address)

    async def abandon(self, address: str, move_id: str) -> None:
        await self._note("abandon", address)


class FakeNamespaces:
    def __init__(self) -> None:
        self.found = [Namespace("mine", PARTITION, MEMORY, version=1),
                      Namespace("shared", PARTITION, SHARED, version=1)]

    async def in_partitions(self, partitions: list[int]) -> list[Namespace]:
        return list(self.found)


def owned_by(proxy: str) -> Layout:
    return tuple(proxy for _ in NOBODY)


class World:
    def __init__(self) -> None:
        self.placement, self.proxy_client, self.namespaces = FakePlacement(), FakePushes(), FakeNamespaces()
        self.moves = DataMoves(
            cast(Placement, self.placement), cast(Namespaces, self.namespaces), cast(ProxyClient, self.proxy_client),
            lambda proxy: f"{proxy}:1", lambda found: found.config == MEMORY, retry_s=0)
        self.moves.start()

    async def move(self) -> str:
        """The owner when all is over."""
        self.moves.want([Move(PARTITION, "a", "b")])
        await self.ended()
        return str(self.placement.stored.owner(PARTITION))

    async def ended(self) -> None:
        while self.moves.wanted:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    yield found
    await found.moves.close()


async def test_the_map_is_stored_when_the_target_has_the_same(world: World) -> None:
    assert await world.move() == "b"
    assert world.proxy_client.said == [("send", "a:1"), ("assign", "b:1"), ("finish", "a:1")]


@pytest.mark.parametrize("step", ["send", "assign", "finish"])
async def test_a_failed_step_is_tried_again_and_then_given_up(world: World, step: str) -> None:
    world.proxy_client.fails = step
    assert await world.move() == "a"
    assert world.proxy_client.said.count((step, "b:1" if step == "assign" else "a:1")) == 3
    for address in ("a:1", "b:1"):
        assert world.proxy_client.said.count(("abandon", address)) == 3


async def test_a_failing_storage_decides_by_what_it_has_stored(world: World) -> None:
    world.placement.breaks = "after"
    assert await world.move() == "b"
    assert "abandon" not in dict(world.proxy_client.said)
    assert world.placement.map.owner(PARTITION) == "b"


async def test_what_was_not_stored_is_abandoned(world: World) -> None:
    world.placement.breaks = "before"
    assert await world.move() == "a"
    assert ("abandon", "a:1") in world.proxy_client.said


@pytest.mark.parametrize("proxy", ["a", "b"])
async def test_a_registration_of_either_proxy_ends_the_move(world: World, proxy: str) -> None:
    world.proxy_client.waits = "send"
    world.moves.want([Move(PARTITION, "a", "b")])
    await world.proxy_client.waiting.wait()
    world.proxy_client.waits = ""
    async with world.placement.changing():
        world.moves.forget(proxy=proxy)
        world.placement.map = world.placement.stored = Map(5, owned_by("a"))
    await world.ended()
    assert {("abandon", "a:1"), ("abandon", "b:1")} <= set(world.proxy_client.said)
    # The source's registration leaves the wish, which is then made again; the target's takes it away.
    assert world.placement.stored.owner(PARTITION) == ("b" if proxy == "a" else "a")


async def test_proxies_that_have_nothing_to_do_with_each_other_move_data_at_the_same_time(world: World) -> None:
    """A proxy takes part in one move at a time; which of them is stored first is for the lock of the map."""
    layout = list(owned_by("a"))
    layout[PARTITION + 2] = "c"
    world.placement.map = world.placement.stored = Map(1, tuple(layout))
    world.proxy_client.waits = "send"
    world.moves.want([Move(PARTITION, "a", "b"), Move(PARTITION + 1, "a", "e"), Move(PARTITION + 2, "c", "d")])
    while len(world.proxy_client.said) < 2:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert world.proxy_client.said == [("send", "a:1"), ("send", "c:1")]
    world.proxy_client.waits = ""
    async with world.placement.changing():
        world.moves.forget(proxy="b")
    while world.moves.wanted.keys() != {PARTITION + 2}:
        await asyncio.sleep(0)
    assert world.proxy_client.said.count(("finish", "a:1")) == 1, "the other one of this proxy was made then"
    assert ("finish", "c:1") not in world.proxy_client.said


async def test_a_namespace_that_comes_meanwhile_is_not_left_behind(world: World) -> None:
    before = world.namespaces.found
    world.proxy_client.waits = "send"
    world.moves.want([Move(PARTITION, "a", "b")])
    await world.proxy_client.waiting.wait()
    world.namespaces.found = [*before, Namespace("newer", PARTITION, SHARED, version=1)]
    world.proxy_client.waits = ""
    async with world.placement.changing():
        world.moves.forget(partition=PARTITION)
    await world.ended()
    assert world.placement.stored.owner(PARTITION) == "a"
