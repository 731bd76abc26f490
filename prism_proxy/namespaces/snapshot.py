"""The routing table: an immutable snapshot of every namespace served here, swapped whole.

A call resolves its route once and keeps it, so a swap never changes a call in progress. `Namespaces` holds the snapshot
active and tells listeners (the native server's own table) of a swap.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prism_proxy import standard
from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.grpc.quota import NamespaceQuota, SharedQuotaTable
from prism_proxy._native.grpc.replies import QueuedTotal
from prism_proxy._native.grpc.routing import Binding, NativeRoute, RouteTable
from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.contracts.driver import VOLATILE, Driver
from prism_proxy.contracts.pattern import PatternDeclaration
from prism_proxy.handles import process_name
from prism_proxy.interfaces.catalogue import interface
from prism_proxy.interfaces.streams import OpenStreams
from prism_proxy.namespaces.model import DEFAULT, NamespaceConfig, SlotConfig
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.quotas import make_quota
from prism_proxy.slots.chain import EMPTY, Chain
from prism_proxy.slots.composition import QUEUED_BYTES, Composition, Pattern, Surroundings
from prism_proxy.slots.slot import Slot
from prism_proxy.slots.stall_clock import StallCompensatedClock

if TYPE_CHECKING:
    from prism_proxy._native.grpc.routing import Bindings
    from prism_proxy.forwarding.paused_calls import PausedCalls

LOCAL, SHARED = "local", "shared"
KEYVALUE = "keyvalue"  # the model whose values steps may seal natively


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Route:
    """Everything a call needs of its namespace; a call holds its route to its end, which `drain` watches.

    `slots` are those that are filled, the first one first. `interfaces` are those that are offered. `bindings` lets
    native handlers serve calls, by the service; the servicers serve all others. `elsewhere` is the worker
    that serves it when this one does not: then its drivers stay closed. `streams` are the open ones, shared by routes
    over the same drivers.
    """

    namespace: str
    partition: int
    revision: int
    config: NamespaceConfig
    slots: Mapping[str, Slot[Any]]
    pattern: Pattern
    interfaces: frozenset[str]
    bindings: Bindings
    streams: OpenStreams
    elsewhere: int | None = None
    quota: NamespaceQuota | None = None
    chain: Chain = EMPTY

    def implementation(self, interface: str) -> Any:
        return self.pattern.implementation(interface)

    @property
    def backend(self) -> str:
        """The name of the driver in the first slot, which is what metrics and errors call the backend."""
        return next(iter(self.config.slots.values())).driver

    def switch(self, interface: str) -> str:
        """The setting that would give an interface that is not offered; empty where none does."""
        declared = next(iter(self.slots.values())).driver.declaration
        return str(declared.switch) if interface in declared.switched_off else ""

    @property
    def drivers(self) -> tuple[Driver, ...]:
        return tuple(slot.driver for slot in self.slots.values())

    @property
    def state(self) -> str:
        """`local` when any of its drivers keeps its data in this process or machine."""
        return state_of(self.drivers)

    @property
    def durability(self) -> str:
        """That of its first driver, but `volatile` when any of them is."""
        found = [driver.declaration.durability for driver in self.drivers]
        return VOLATILE if VOLATILE in found else found[0]


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
            {name: route for name, route in self.routes.items() if not set(drivers).intersection(route.drivers)}))

    def interfaces(self) -> frozenset[str]:
        """Those that any namespace offers."""
        return frozenset().union(*(route.interfaces for route in self.routes.values()))

    def backends(self) -> frozenset[str]:
        """The names of all drivers that are used."""
        return frozenset(slot.driver for route in self.routes.values() for slot in route.config.slots.values())

    def sealed_backends(self) -> frozenset[str]:
        """Those of them whose values native handlers seal and open."""
        return frozenset(slot.driver for route in self.routes.values() for slot in route.config.slots.values()
                         if any(isinstance(binding, Binding) and binding.cipher is not None
                                for binding in route.bindings.values()))

    def table(
        self, forward: Callable[[int], Handler | None] = lambda worker: None, reads: frozenset[bytes] = frozenset(),
        owner: str | None = None, by_partition: list[NativeRoute | None] | None = None,
        paused: Mapping[str, PausedCalls] = MappingProxyType({}), unlisted: Collection[str] = (),
    ) -> RouteTable:
        """The form the native server reads. `forward(worker)` takes the calls of namespaces that another worker serves,
        `by_partition` those of other proxies, and `paused` those that wait; calls of a namespace that is `unlisted` go
        where they would if it were not here. `owner` is what replies name as the proxy they come from.

        Calls of `reads` (paths) that are lost with their owner run again in its successor, unless the data are lost
        too: a caller must not take an empty store for the answer to what it asked the full one.
        """
        def elsewhere(name: str, route: Route) -> Handler | None:
            if name in paused:
                return paused[name].handler
            return None if route.elsewhere is None else forward(route.elsewhere)

        native = []
        for name, route in self.routes.items():
            if name not in unlisted:
                native.append(NativeRoute(
                    route, name, route.bindings, elsewhere(name, route), owner, route.quota,
                    reads if route.durability != VOLATILE else frozenset()))
        return RouteTable(self.revision, native, DEFAULT, by_partition)


class Namespaces:
    """The active snapshot."""

    def __init__(self) -> None:
        self.current = Snapshot(0, MappingProxyType({}))
        self._listeners: list[Callable[[Snapshot], None]] = []
        self._paused: dict[str, PausedCalls] = {}
        self._unlisted: Collection[str] = frozenset()

    def on_swap(self, listener: Callable[[Snapshot], None]) -> None:
        """Call `listener` with the snapshot now, and with every later one."""
        self._listeners.append(listener)
        listener(self.current)

    def swap(self, snapshot: Snapshot) -> None:
        """Activate a snapshot. Revisions only grow."""
        if snapshot.revision <= self.current.revision:
            raise ValueError(f"revision {snapshot.revision} is not after {self.current.revision}")
        self.current = snapshot
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener(self.current)

    @property
    def paused(self) -> Mapping[str, PausedCalls]:
        """Namespaces whose calls wait."""
        return self._paused

    @property
    def unlisted(self) -> Collection[str]:
        """Namespaces that are here, and get no call."""
        return self._unlisted

    def set_overrides(self, unlisted: Collection[str], paused: Collection[str]) -> None:
        """These namespaces get no call from now on, and calls of those wait; they need not be here yet. Calls that
        waited and need not any more go to the process that serves their namespace now."""
        from prism_proxy.forwarding.paused_calls import PausedCalls  # most proxies never move data

        released = [self._paused.pop(name) for name in self._paused.keys() - set(paused)]
        for name in set(paused) - self._paused.keys():
            self._paused[name] = PausedCalls(name)
        self._unlisted = frozenset(unlisted)
        self._tell()
        for paused_calls in released:
            paused_calls.release()

    def resolve(self, name: str) -> Route | None:
        return self.current.routes.get(name)


def build(
    revision: int, configs: Sequence[NamespaceConfig], make_driver: Callable[[str, Any], Any],
    previous: Snapshot | None = None, placement: Placement | None = None, page: SharedQuotaTable | None = None,
    running: StallCompensatedClock | None = None, resources: Any = None, queued: QueuedTotal | None = None,
) -> Snapshot:
    """The snapshot of a configuration. `make_driver(backend, config)` comes from `prism_proxy.standard`; `page` counts
    for the limits of namespaces, and is needed where there are any; `running` times what bears on backends; `queued`
    bounds what waits for subscribers.

    A slot whose backend is configured as in `previous` keeps its driver and its data; where all do, the pattern keeps
    its state, such as open transactions. The other drivers, and all new patterns, are not yet opened. ValueError, or
    PrismError SLOT_ERROR, when the configuration cannot be used: then nothing has changed.
    """
    kept = previous.routes if previous is not None else {}
    builder = _Builder(revision, make_driver, placement or Placement(), page, running, resources,
                       queued or QueuedTotal(QUEUED_BYTES))
    routes: dict[str, Route] = {}
    for config in configs:
        if config.name in routes:
            raise ValueError(f"namespace {config.name!r} is configured twice")
        before = kept.get(config.name)
        routes[config.name] = before if before is not None and before.config == config else builder.route(
            config, before)
    return Snapshot(revision, MappingProxyType(routes))


@dataclass(frozen=True, slots=True)
class _Builder:
    """Makes the routes of one snapshot."""

    revision: int
    make_driver: Callable[[str, Any], Any]
    placement: Placement
    page: SharedQuotaTable | None
    running: StallCompensatedClock | None
    resources: Any
    queued: QueuedTotal

    def route(self, config: NamespaceConfig, before: Route | None) -> Route:
        """The route of a namespace whose route in the last snapshot was `before`."""
        quota = _quota(config, self.page)
        declared = standard.pattern(config.pattern)
        slots = {name: self._slot(name, config, declared, before) for name in config.slots}
        same = before is not None and before.config.pattern == config.pattern and before.slots.keys() == slots.keys() \
            and all(before.slots[name].driver is slot.driver for name, slot in slots.items())
        partition = partition_of(config.name)
        elsewhere = self.placement.elsewhere(partition, state_of(slot.driver for slot in slots.values()))
        chain = self._chain(config, slots) if elsewhere is None else EMPTY
        pattern: Pattern = standard.load(declared.factory)(
            Composition(slots, config.options, Surroundings(
                config.name, process_name(self.placement.worker), chain, config.options, queued=self.queued)),
            before.pattern if before is not None and same else None)
        offered = _offered(declared, pattern, slots, chain)
        return Route(
            config.name, partition, self.revision, config, MappingProxyType(slots), pattern,
            offered, _bindings(pattern, offered, chain) if elsewhere is None else {},
            before.streams if before is not None and same else OpenStreams(), elsewhere, quota, chain)

    def _chain(self, config: NamespaceConfig, slots: Mapping[str, Slot[Any]]) -> Chain:
        """The steps that the namespace switches on. ValueError for a pair that does not go together."""
        enabled = [step for step in standard.steps(config.options) if config.options[step.name].enabled]
        for first, second, why in standard.conflicts(enabled):
            raise ValueError(
                f"namespace {config.name!r}: step {second.name} cannot be used with {first.name}: {why}")
        for step, why in standard.unfit(enabled, config.options):
            raise ValueError(f"namespace {config.name!r}: {step.name} {why}")
        made = {}
        for step in enabled:
            own = {"slots": {slot.name: slots[slot.name] for slot in step.slots if slot.name in slots}}
            made[step.name] = standard.load(step.factory)(
                config.name, config.options[step.name], self.resources, assigned=config.assigned,
                **(own if step.slots else {}))
        offered = frozenset[str]().union(*(step.interfaces for step in enabled))
        return Chain(made, offered) if made else EMPTY

    def _slot(
        self, name: str, config: NamespaceConfig, declared: PatternDeclaration, before: Route | None
    ) -> Slot[Any]:
        wanted = config.slots[name]
        known = before.slots.get(name) if before is not None and before.config.slots.get(name) is not None else None
        if known is not None and before is not None and _serves(known.driver, before.config.slots[name], wanted):
            if before.config.slots[name].resilience == wanted.resilience and before.config.pattern == config.pattern:
                return known
            driver = known.driver
        else:
            driver = self.make_driver(wanted.driver, config.driver_config(name))
        needs = declared.slot(name) or next(
            (slot for step in standard.steps(config.options) for slot in step.slots if slot.name == name), None)
        return Slot(name, config.name, driver, needs, wanted.resilience, running=self.running)


def _serves(driver: Driver, before: SlotConfig, wanted: SlotConfig) -> bool:
    """Whether the driver of a slot is right for another configuration of it, as it is or adapted."""
    if before.driver != wanted.driver:
        return False
    if before.config == wanted.config:
        return True
    adapts = getattr(driver, "adapts", None)
    return adapts is not None and bool(adapts(wanted.config))


def _offered(
    declared: PatternDeclaration, pattern: Pattern, slots: Mapping[str, Slot[Any]], chain: Chain
) -> frozenset[str]:
    """The interfaces that a pattern offers over these drivers, and by these steps."""
    wanted = declared.interfaces
    if wanted is None:
        wanted = chain.interfaces.union(*(slot.driver.declaration.interfaces for slot in slots.values()))
    return frozenset(name for name in wanted if pattern.offers(name))


def _bindings(pattern: Pattern, offered: Iterable[str], chain: Chain) -> Bindings:
    """What native handlers may work with, by the service of an interface."""
    found: Bindings = {}
    for name in offered:
        known = interface(name)
        if known is None:
            continue
        if known.model in standard.MODELS and standard.model(known.model).native_later:
            found[known.service.encode()] = functools.partial(_binding, pattern, name, known.model, chain)
        elif (binding := _binding(pattern, name, known.model, chain)) is not None:
            found[known.service.encode()] = binding
    return found


def _binding(pattern: Pattern, name: str, model: str, chain: Chain) -> Binding | None:
    """A model may have a native store of its own. Else it is the driver's, or that of the part of the driver which has
    the commands of the model. Values alone are sealed and opened natively."""
    slot = pattern.native_slot(name)
    if slot is None:
        return None
    driver = getattr(slot.driver, model) if model in slot.driver.declaration.parts else slot.driver
    store = getattr(pattern.implementation(name), "native_store", None) or getattr(driver, "native_store", None)
    if store is None:
        return None
    return Binding(store, slot.circuit, slot.limiter, chain.native_values() if model == KEYVALUE else None)


def state_of(drivers: Iterable[Driver]) -> str:
    """`local` when the data of any of these is in this process or machine."""
    return LOCAL if any(driver.declaration.state == LOCAL for driver in drivers) else SHARED


def _quota(config: NamespaceConfig, page: SharedQuotaTable | None) -> NamespaceQuota | None:
    if page is None and config.limits.limited:
        raise ValueError(f"namespace {config.name!r} has limits, and there is no page to hold their counts")
    return make_quota(page, config.name, config.limits) if page is not None else None
