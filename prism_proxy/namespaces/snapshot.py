"""The routing table: an immutable snapshot of every namespace served here, swapped whole.

A call resolves its route once and keeps it, so a swap never changes a call in progress. `Namespaces` holds the snapshot
in force and tells listeners (the native server's own table) of a swap.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prism_proxy._native.call import Handler
from prism_proxy._native.crc32 import partition_of
from prism_proxy._native.gate import Gate, GatePage
from prism_proxy._native.routing import NativeRoute, RouteTable
from prism_proxy.contracts.driver import VOLATILE, Driver
from prism_proxy.namespaces.gates import make_gate
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig
from prism_proxy.namespaces.placement import Placement
from prism_proxy.patterns.keyvalue.declaration import REQUIRED
from prism_proxy.patterns.keyvalue.pattern import KeyValuePattern
from prism_proxy.patterns.keyvalue.transactions import Transactions, process_name
from prism_proxy.slots.running import RunningClock
from prism_proxy.slots.slot import Slot

if TYPE_CHECKING:
    from prism_proxy.namespaces.hold import Hold


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Route:
    """Everything a call needs of its namespace; a call holds its route to its end, which `departure` watches.

    `native_store` lets native handlers serve it; None sends every call through the servicers. `elsewhere` is the worker
    that serves it when this one does not: then `driver` stays closed.
    """

    namespace: str
    partition: int
    revision: int
    config: NamespaceConfig
    driver: Driver
    slot: Slot[Any]
    keyvalue: KeyValuePattern
    native_store: Any
    elsewhere: int | None = None
    gate: Gate | None = None

    @property
    def backend(self) -> str:
        return self.config.backend


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Routes by namespace name, under one revision."""

    revision: int
    routes: Mapping[str, Route]

    def here(self) -> dict[str, Route]:
        """The routes this process serves itself."""
        return {name: route for name, route in self.routes.items() if route.elsewhere is None}

    def without(self, drivers: Collection[Driver]) -> Snapshot:
        """The routes that use none of these drivers."""
        return Snapshot(self.revision, MappingProxyType(
            {name: route for name, route in self.routes.items() if route.driver not in drivers}))

    def table(
        self, forward: Callable[[int], Handler | None] = lambda worker: None, reads: frozenset[bytes] = frozenset(),
        owner: str | None = None, by_partition: list[NativeRoute | None] | None = None,
        held: Mapping[str, Hold] = MappingProxyType({}), hidden: Collection[str] = (),
    ) -> RouteTable:
        """The form the native server reads. `forward(worker)` takes the calls of namespaces that another worker serves,
        `by_partition` those of other proxies, and `held` those that wait; calls of a namespace that is `hidden` go
        where they would if it were not here. `owner` is what replies name as the proxy they come from.

        Calls of `reads` (paths) that are lost with their owner run again in its successor, unless the data are lost
        too: a caller must not take an empty store for the answer to what it asked the full one.
        """
        def elsewhere(name: str, route: Route) -> Handler | None:
            if name in held:
                return held[name].handler
            return None if route.elsewhere is None else forward(route.elsewhere)

        native = [
            NativeRoute(route, name, route.native_store, elsewhere(name, route), owner, route.slot.circuit,
                        route.gate, reads if route.driver.declaration.durability != VOLATILE else frozenset(),
                        route.slot.turns)
            for name, route in self.routes.items() if name not in hidden]
        return RouteTable(self.revision, native, DEFAULT, by_partition)


class Namespaces:
    """The snapshot in force."""

    def __init__(self) -> None:
        self.current = Snapshot(0, MappingProxyType({}))
        self._listeners: list[Callable[[Snapshot], None]] = []
        self._held: dict[str, Hold] = {}
        self._hidden: Collection[str] = frozenset()

    def on_swap(self, listener: Callable[[Snapshot], None]) -> None:
        """Call `listener` with the snapshot now, and with every later one."""
        self._listeners.append(listener)
        listener(self.current)

    def swap(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force. Revisions only grow."""
        if snapshot.revision <= self.current.revision:
            raise ValueError(f"revision {snapshot.revision} is not after {self.current.revision}")
        self.current = snapshot
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener(self.current)

    @property
    def held(self) -> Mapping[str, Hold]:
        """Namespaces whose calls wait."""
        return self._held

    @property
    def hidden(self) -> Collection[str]:
        """Namespaces that are here, and get no call."""
        return self._hidden

    def steer(self, hidden: Collection[str], held: Collection[str]) -> None:
        """These namespaces get no call from now on, and calls of those wait; they need not be here yet. Calls that
        waited and need not any more go to whoever serves their namespace now."""
        from prism_proxy.namespaces.hold import Hold  # most proxies never move data

        released = [self._held.pop(name) for name in self._held.keys() - set(held)]
        for name in set(held) - self._held.keys():
            self._held[name] = Hold(name)
        self._hidden = frozenset(hidden)
        self._tell()
        for hold in released:
            hold.release()

    def resolve(self, name: str) -> Route | None:
        return self.current.routes.get(name)


def build(
    revision: int, configs: Sequence[NamespaceConfig], make_driver: Callable[[str, Any], Any],
    previous: Snapshot | None = None, placement: Placement | None = None, page: GatePage | None = None,
    running: RunningClock | None = None,
) -> Snapshot:
    """The snapshot of a configuration. `make_driver(backend, config)` comes from `prism_proxy.standard`; `page` counts
    for the limits of namespaces, and is needed where there are any; `running` times what bears on backends.

    A namespace whose backend is configured as in `previous` keeps its driver, its data and its open transactions;
    drivers of the others are new and not yet opened. ValueError, or PrismError SLOT_ERROR, when the configuration
    cannot be used: then nothing has changed.
    """
    kept = previous.routes if previous is not None else {}
    placement = placement or Placement()
    routes: dict[str, Route] = {}
    for config in configs:
        if config.name in routes:
            raise ValueError(f"namespace {config.name!r} is configured twice")
        before = kept.get(config.name)
        if before is not None and before.config == config:
            routes[config.name] = before
            continue
        gate = _gate(config, page)
        driver: Any
        if before is not None and _serves(before, config):
            driver, transactions = before.driver, before.keyvalue.transactions
        else:
            driver = make_driver(config.backend, config.driver_config)
            transactions = Transactions(process_name(placement.worker))
        if before is not None and before.driver is driver and before.config.resilience == config.resilience:
            slot = before.slot
        else:
            slot = Slot("store", config.name, driver, REQUIRED, config.resilience, running=running)
        pattern = KeyValuePattern(slot, config.keyvalue, transactions)
        partition = partition_of(config.name)
        elsewhere = placement.elsewhere(partition, driver.declaration.state)
        direct = elsewhere is None and not config.keyvalue.narrow_keys
        native = getattr(driver, "native_store", None) if direct else None
        routes[config.name] = Route(
            config.name, partition, revision, config, driver, slot, pattern, native, elsewhere, gate)
    return Snapshot(revision, MappingProxyType(routes))


def _serves(before: Route, config: NamespaceConfig) -> bool:
    """Whether the driver of a route is right for another configuration of its namespace, as it is or adapted."""
    if before.config.backend != config.backend:
        return False
    if before.config.backend_config == config.backend_config:
        return True
    adapts = getattr(before.driver, "adapts", None)
    return adapts is not None and bool(adapts(config.backend_config))


def _gate(config: NamespaceConfig, page: GatePage | None) -> Gate | None:
    if page is None and config.limits.limited:
        raise ValueError(f"namespace {config.name!r} has limits, and there is no page to hold their counts")
    return make_gate(page, config.name, config.limits) if page is not None else None
