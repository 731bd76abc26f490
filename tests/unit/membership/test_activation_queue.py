"""Changes are activated together, and only those to blame are refused."""

from __future__ import annotations

import asyncio

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.membership.activation_queue import ActivationQueue, Change
from prism_proxy.membership.assignments import Assignment, Assignments
from prism_proxy.namespaces.model import NamespaceConfig


def namespace(name: str, max_keys: int = 0) -> NamespaceConfig:
    return NamespaceConfig.of_store(name, "memstore", MemstoreConfig(max_keys=max_keys))


class Serving:
    """Applies whatever does not contain a bad name."""

    def __init__(self) -> None:
        self.snapshots: list[dict[str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, configs: tuple[NamespaceConfig, ...]) -> None:
        await self.gate.wait()
        for config in configs:
            if config.name.startswith("bad"):
                raise ValueError(f"namespace {config.name!r} cannot be served")
        self.snapshots.append({config.name: config.slots["store"].config.max_keys for config in configs})


def put(name: str, max_keys: int = 0) -> Change:
    return Change(put=Assignment(namespace(name, max_keys), 1, 1))


async def test_an_assignment_wins_over_the_file_and_gives_it_back() -> None:
    serving = Serving()
    changes = ActivationQueue(Assignments(), (namespace("orders", 1), namespace("mine", 2)), serving.apply)
    assert await changes.make([put("orders", 9)]) == [None]
    assert serving.snapshots[-1] == {"mine": 2, "orders": 9}
    assert await changes.make([Change(drop=["orders"], revision=2)]) == [None]
    assert serving.snapshots[-1] == {"orders": 1, "mine": 2}


async def test_a_file_read_again_keeps_what_is_assigned() -> None:
    serving = Serving()
    changes = ActivationQueue(Assignments(), (namespace("mine"),), serving.apply)
    await changes.make([put("orders")])
    assert await changes.make([Change(file=(namespace("other"),))]) == [None]
    assert serving.snapshots[-1] == {"other": 0, "orders": 0}
    assert await changes.make([Change(file=(namespace("bad file"),))]) == ["namespace 'bad file' cannot be served"]
    await changes.make([put("later")])
    assert serving.snapshots[-1] == {"other": 0, "orders": 0, "later": 0}, "the refused file is forgotten"


async def test_a_hundred_assignments_are_few_snapshots_and_the_bad_ones_are_named() -> None:
    serving = Serving()
    assignments = Assignments()
    changes = ActivationQueue(assignments, (), serving.apply)
    wanted = [put(f"{'bad' if index in (17, 60) else 'good'}-{index}") for index in range(100)]
    problems = await changes.make(wanted)
    assert [index for index, problem in enumerate(problems) if problem] == [17, 60]
    assert len(assignments) == 98
    assert len(serving.snapshots) < 20
    assert len(serving.snapshots[-1]) == 98


async def test_what_is_asked_meanwhile_is_gathered() -> None:
    serving = Serving()
    changes = ActivationQueue(Assignments(), (), serving.apply)
    serving.gate.clear()
    first = asyncio.create_task(changes.make([put("a")]))
    await asyncio.sleep(0)
    rest = [asyncio.create_task(changes.make([put(f"b{index}")])) for index in range(10)]
    await asyncio.sleep(0)
    serving.gate.set()
    await asyncio.gather(first, *rest)
    assert len(serving.snapshots) == 2
