"""Changes of namespaces: whole or not at all, without a call that fails, and without a driver that is left open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue.contract import ALL
from prism_proxy.models.keyvalue.options import KeyValueOptions
from prism_proxy.namespaces import activator as applier_module
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.standard import make_driver


@dataclass(frozen=True)
class Config:
    """`file` is what only one driver can have; `broken` drivers do not open."""

    name: str = ""
    file: str = ""
    broken: bool = False


class Driver:
    """A store of one value that remembers what happened to it."""

    def __init__(self, world: World, config: Config) -> None:
        self.world = world
        self.config = config
        self.declaration = Declaration("fake", ALL, "local", "volatile", config.file)
        self.state = "new"

    async def open(self) -> None:
        if self.config.broken:
            raise OSError("it is broken")
        if self.config.file:
            assert self.config.file not in self.world.files, "opened while another driver has the file"
            self.world.files.add(self.config.file)
        self.state = "open"

    async def drain(self, deadline_s: float) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        if self.state == "open":
            self.world.files.discard(self.config.file)
        self.state = "closed"

    def health(self) -> HealthReport:
        return HealthReport(Health.HEALTHY)

    def classify(self, error: Exception) -> PrismError | None:
        return None

    async def get(self, key: bytes) -> bytes | None:
        if self.world.pause is not None:
            await self.world.pause.wait()
        assert self.state == "open"
        return self.config.name.encode()


class World:
    """An activator over such drivers; `pause` holds every Get until it is set."""

    def __init__(self) -> None:
        self.drivers: list[Driver] = []
        self.files: set[str] = set()
        self.pause: asyncio.Event | None = None
        self.namespaces = Namespaces()
        self.activator = Activator(self.namespaces, self.make)

    def make(self, backend: str, config: Config) -> Driver:
        self.drivers.append(Driver(self, config))
        return self.drivers[-1]

    async def apply(self, **configs: Config) -> None:
        await self.activator.apply([NamespaceConfig.of_store(name, "fake", config) for name, config in configs.items()])

    def get(self, namespace: str) -> asyncio.Task[bytes | None]:
        """A Get in progress, which holds its route as a real call does."""

        async def call() -> bytes | None:
            route = self.namespaces.resolve(namespace)
            assert route is not None
            return await route.implementation("keyvalue_basic").get("k")

        return asyncio.ensure_future(call())

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(driver.config.name, driver.state) for driver in self.drivers]

    async def settled(self) -> list[tuple[str, str]]:
        """The states once everything that is to close has closed."""
        async with asyncio.timeout(5):
            while self.activator._draining:
                await asyncio.sleep(0.001)
        return self.states


@pytest.fixture
async def world() -> AsyncIterator[World]:
    gc.collect()
    made = World()
    yield made
    await made.apply()
    await made.activator.close()
    assert made.files == set()


async def test_what_changed_gets_a_new_driver_and_the_old_one_closes(world: World) -> None:
    await world.apply(a=Config("a"), b=Config("b"), c=Config("c"))
    await world.apply(a=Config("a"), b=Config("b2"), d=Config("d"))
    assert await world.settled() == [
        ("a", "open"), ("b", "closed"), ("c", "closed"), ("b2", "open"), ("d", "open")]
    assert await world.get("b") == b"b2"


async def test_options_change_without_a_new_driver(world: World) -> None:
    await world.apply(a=Config("a"))
    before = world.namespaces.current.routes["a"]
    narrow = KeyValueOptions(narrow_keys=True)
    await world.activator.apply([NamespaceConfig.of_store("a", "fake", Config("a"), keyvalue=narrow)])
    after = world.namespaces.current.routes["a"]
    assert (after is not before, after.drivers[0] is before.drivers[0]) == (True, True)
    assert after.implementation("keyvalue_basic").transactions is before.implementation("keyvalue_basic").transactions
    with pytest.raises(PrismError):
        after.implementation("keyvalue_basic").key("ä")


async def test_a_memstore_takes_new_bounds_and_keeps_its_data() -> None:
    namespaces = Namespaces()
    activator = Activator(namespaces, make_driver)
    for size in (4, 2, 8):
        settings = MemstoreConfig(max_bytes=size << 20)
        await activator.apply([NamespaceConfig.of_store("a", "memstore", settings)])
        route = namespaces.current.routes["a"]
        if size == 4:
            await route.implementation("keyvalue_basic").set("k", bytes(3 << 20))
        with pytest.raises(PrismError) if size == 2 else contextlib.nullcontext():
            await route.implementation("keyvalue_basic").set(f"k{size}", b"")
        assert route.drivers[0].health().details["max_bytes"] == str(size << 20)
        assert await route.implementation("keyvalue_basic").get("k") == bytes(3 << 20)
    await activator.apply([])
    await activator.close()


async def test_a_call_in_progress_ends_on_the_driver_it_began_with(world: World) -> None:
    await world.apply(a=Config("old"))
    world.pause = asyncio.Event()
    call = world.get("a")
    await asyncio.sleep(0)
    await world.apply(a=Config("new"))
    await asyncio.sleep(0.01)
    assert world.states == [("old", "open"), ("new", "open")]
    world.pause.set()
    assert await call == b"old"
    assert await world.settled() == [("old", "closed"), ("new", "open")]


@pytest.mark.parametrize("bad", [
    {"b": Config("b", broken=True)}, {"b": Config("b", file="x"), "c": Config("c", file="x")},
], ids=["broken", "shared"])
async def test_what_is_refused_changes_nothing(world: World, bad: dict[str, Config]) -> None:
    await world.apply(a=Config("a"), x=Config("x", file="x"))
    before = world.namespaces.current
    with pytest.raises((PrismError, ValueError), match=r"it is broken|needs x, which namespace '.' has"):
        await world.apply(a=Config("a2"), x=Config("x", file="x"), **bad)
    assert world.namespaces.current is before
    assert [state for name, state in world.states if name in ("a", "x")] == ["open", "open"]
    assert "open" not in [state for name, state in world.states if name not in ("a", "x")]


# --- what only one driver can have --------------------------------------------------------------------------------


async def test_a_file_is_handed_over_while_calls_wait(world: World) -> None:
    await world.apply(a=Config("old", file="f"))
    world.pause = asyncio.Event()
    before = world.get("a")
    await asyncio.sleep(0)
    change = asyncio.ensure_future(world.apply(a=Config("new", file="f")))
    async with asyncio.timeout(10):
        while world.namespaces.current.routes["a"].drivers[0].health().status is not Health.DEGRADED:
            await asyncio.sleep(0.001)
    during = world.get("a")
    assert world.states == [("old", "open"), ("new", "new")]
    world.pause.set()
    assert (await before, await during) == (b"old", b"new")
    await change
    assert (await world.settled(), world.files) == ([("old", "closed"), ("new", "open")], {"f"})
    assert await world.get("a") == b"new"
    assert world.namespaces.current.routes["a"].drivers[0].health().status is Health.HEALTHY


async def test_two_namespaces_can_swap_their_files(world: World) -> None:
    await world.apply(a=Config("a1", file="f"), b=Config("b1", file="g"))
    await world.apply(a=Config("a2", file="g"), b=Config("b2", file="f"))
    assert (await world.get("a"), await world.get("b")) == (b"a2", b"b2")
    await world.apply(c=Config("c", file="f"), b=Config("b3", file="g"))
    assert [await world.get("c"), await world.get("b")] == [b"c", b"b3"]
    assert (await world.settled())[-2:] == [("c", "open"), ("b3", "open")]


async def test_a_file_can_be_had_again_while_its_old_driver_still_closes(world: World) -> None:
    await world.apply(a=Config("old", file="f"))
    world.pause = asyncio.Event()
    call = world.get("a")
    await asyncio.sleep(0)
    await world.apply()
    assert world.states == [("old", "open")]
    change = asyncio.ensure_future(world.apply(a=Config("new", file="f")))
    await asyncio.sleep(0.01)
    world.pause.set()
    await change
    assert (await call, await world.get("a")) == (b"old", b"new")


async def test_a_hand_over_does_not_wait_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applier_module, "HAND_OVER_SECONDS", 0.01)
    await world.apply(a=Config("old", file="f"))
    world.pause = asyncio.Event()
    call = world.get("a")
    await asyncio.sleep(0)
    await world.apply(a=Config("new", file="f"))
    assert world.states == [("old", "closed"), ("new", "open")]
    world.pause.set()
    with pytest.raises(AssertionError):
        await call


async def test_a_hand_over_that_fails_puts_everything_back(world: World) -> None:
    await world.apply(a=Config("a", file="f"), b=Config("b"), c=Config("c"))
    waiting: list[Any] = []

    def swapped(_: object) -> None:
        if world.namespaces.current.revision == 2:
            waiting.extend(world.get(name) for name in ("a", "d", "e"))

    world.namespaces.on_swap(swapped)
    with pytest.raises(PrismError, match="it is broken"):
        await world.apply(a=Config("a2", file="f", broken=True), b=Config("b2"), d=Config("d"),
                          e=Config("e", file="f2"))
    assert [await world.get(name) for name in "abc"] == [b"a", b"b", b"c"]
    assert set(world.namespaces.current.routes) == set("abc")
    assert (await waiting[0], await waiting[1], await waiting[2]) == (b"a", b"d", b"e")
    states = await world.settled()
    assert sorted(name for name, state in states if state == "open") == ["a", "b", "c"]


async def test_calls_of_a_namespace_that_failed_to_take_over_are_told(world: World) -> None:
    await world.apply(a=Config("a", file="f"))
    waiting: list[asyncio.Task[bytes | None]] = []
    world.namespaces.on_swap(lambda now: waiting.append(world.get("b")) if "b" in now.routes else None)
    with pytest.raises(PrismError, match="it is broken"):
        await world.apply(b=Config("b", file="f", broken=True))
    with pytest.raises(PrismError, match="could not be activated") as caught:
        await waiting[0]
    assert caught.value.metadata["outcome"] == "not_executed"
    assert await world.get("a") == b"a"


async def test_what_other_workers_serve_is_not_opened() -> None:
    world = World()
    world.activator = Activator(world.namespaces, world.make, Placement(0, 2))
    for _ in range(2):
        await world.apply(**{name: Config(name, file=name) for name in "abcdefgh"})
        here = set(world.namespaces.current.here())
        assert 0 < len(here) < 8
        assert world.files == here
    await world.apply()
    await world.activator.close()
    assert world.files == set()
