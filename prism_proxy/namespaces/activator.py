"""The one entry point for every change of the namespaces that this process serves.

    build a snapshot beside the active one ---> refused: nothing has changed
      open its new drivers ---------------------> refused: those that were opened are closed again
        (prepared: the other workers, if there are any, get this far as well, or all of them discard it)
        swap
          hand over what only one driver can have --> refused: the old configuration is activated again
            drain and close, in the background, the drivers that only the old snapshot used

Who calls it (a file that was read again, a supervisor, a control plane) makes no difference here. No call fails of a
change: those in progress end on the driver they began with, and those that meet a hand-over wait for it.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

from prism_proxy import standard
from prism_proxy._native.grpc.quota import SharedQuotaTable
from prism_proxy._native.grpc.replies import QueuedTotal
from prism_proxy.contracts.driver import VOLATILE, Adaptable, Driver, Health
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.interfaces.streams import OpenStreams, ended
from prism_proxy.namespaces.areas import meetings, overlaps, reason
from prism_proxy.namespaces.call_drain import CallDrain
from prism_proxy.namespaces.credentials import forget_others, with_credentials
from prism_proxy.namespaces.driver_drain import DriverDrain, Part
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.pending_driver import PendingDriver
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.snapshot import LOCAL, Namespaces, Route, Snapshot, build
from prism_proxy.slots.composition import QUEUED_BYTES, Pattern
from prism_proxy.slots.stall_clock import StallCompensatedClock
from prism_proxy.steps.resources import StepResources
from prism_runtime import log
from prism_runtime.tasks import Tasks

HAND_OVER_SECONDS = 2.0  # for calls in progress on a driver whose successor waits for it
RENEW_RETRY_SECONDS = 5.0  # when drivers could not be made with new credentials

MakeDriver = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared change: `commit` it or `discard` it, once.

    `pending` are drivers that must wait for another one to close, and that one.
    """

    activator: Activator
    snapshot: Snapshot
    pending: Mapping[PendingDriver, Driver]
    configs: Sequence[NamespaceConfig]

    async def commit(self) -> None:
        """PrismError when what only one driver can have could not be handed over: then all is as it was before."""
        await self.activator.commit(self)

    async def discard(self) -> None:
        await self.activator.discard(self.snapshot)


class Activator:
    """Changes come one at a time; `close` belongs to the end of the process. `page` holds the counts of limits.

    No frame that waits may hold an inactive route: see `call_drain`.
    """

    def __init__(
        self, namespaces: Namespaces, make_driver: MakeDriver, placement: Placement | None = None,
        page: SharedQuotaTable | None = None, resources: StepResources | None = None,
        queued: QueuedTotal | None = None,
    ) -> None:
        self._resources = resources or StepResources()
        self.queued = queued or QueuedTotal(QUEUED_BYTES)
        self._log = log.get("prism.namespaces")
        self._namespaces = namespaces
        self._make_driver = make_driver
        self._placement = placement or Placement()
        self._page = page if page is not None else SharedQuotaTable()
        self._running = StallCompensatedClock()
        self._one = asyncio.Lock()
        self._draining: set[DriverDrain] = set()
        self._replaced: dict[Driver, list[weakref.ref[Route]]] = {}  # inactive routes, by active drivers
        self._configs: Sequence[NamespaceConfig] = ()
        self._tasks = Tasks()
        self._renewing = False
        self._resources.on_new_credentials = self._renew

    async def apply(self, configs: Sequence[NamespaceConfig]) -> None:
        """Serve these namespaces and no others.

        A namespace whose backend did not change keeps its driver, its data and its transactions. ValueError or
        PrismError, which names namespace and backend, when one cannot be served as configured: then nothing has
        changed.
        """
        await (await self.prepare(configs)).commit()

    async def prepare(self, configs: Sequence[NamespaceConfig]) -> Prepared:
        """As `apply`, up to the swap. Other changes wait until this one is committed or discarded."""
        await self._one.acquire()
        return await self._prepare(configs)

    async def _prepare(self, configs: Sequence[NamespaceConfig]) -> Prepared:
        """The change whose turn it is; one that is refused lets the next one have it."""
        try:
            after, pending = self._build(await with_credentials(configs, self._resources))
            fresh = _drivers(after) - _drivers(self._namespaces.current)
            await _open_all(fresh)
            await self._open_patterns(after, pending)
            self._report_stranded(after, fresh)
        except BaseException:
            self._one.release()
            raise
        return Prepared(self, after, pending, configs)

    async def rotate_route(self, name: str) -> CallDrain:
        """Give a namespace another route; the drain tells when the calls that began before have ended. KeyError
        when the namespace is not served here."""
        async with self._one:
            before = self._namespaces.current
            before.routes[name].streams.end_open(ended(
                "NAMESPACE_MOVING", f"namespace {name!r} moves to another proxy: open the stream again"))
            drain = CallDrain([before.routes[name]])
            self._remember(before.routes[name])
            routes = {**before.routes, name: replace(before.routes[name])}
            revision = before.revision + 1
            del before
            self._namespaces.swap(Snapshot(revision, MappingProxyType(routes)))
            return drain

    async def commit(self, prepared: Prepared) -> None:
        after, pending = prepared.snapshot, prepared.pending
        try:
            if pending:
                await self._hand_over(after, pending)
            else:
                self._swap(after, self._namespaces.current)
            self._configs = prepared.configs
            await forget_others(prepared.configs, self._resources)
        finally:
            self._one.release()

    async def discard(self, after: Snapshot) -> None:
        try:
            current = self._namespaces.current
            await _close_all(_new_parts(after, current), _drivers(after) - _drivers(current))
        finally:
            self._one.release()

    def end_calls(self, namespaces: Collection[str]) -> None:
        """Fail the calls that are still in progress on inactive routes of these namespaces."""
        for driver_drain in self._draining:
            if driver_drain.serves(namespaces):
                driver_drain.hurry()

    def _renew(self) -> None:
        if not self._renewing:
            self._renewing = True
            self._tasks.spawn(self._apply_again())

    async def _apply_again(self) -> None:
        """Make drivers with the credentials of now, by the configuration that is active when it is their turn."""
        while self._renewing:
            await self._one.acquire()
            self._renewing = False
            try:
                await (await self._prepare(self._configs)).commit()
            except (PrismError, ValueError) as error:
                self._log.error("new credentials could not be used: the old connections stay", error=str(error),
                                retry_seconds=RENEW_RETRY_SECONDS)
                self._renewing = True
                await asyncio.sleep(RENEW_RETRY_SECONDS)

    async def close(self) -> None:
        """Close what is still being closed, at the end of the process; no call is in progress any more."""
        await self._tasks.close()
        await asyncio.gather(*(driver_drain.finish(0) for driver_drain in list(self._draining)))

    def _build(self, configs: Sequence[NamespaceConfig]) -> tuple[Snapshot, dict[PendingDriver, Driver]]:
        """The next snapshot, and those of its drivers that must wait for another one to close."""
        for first, second in overlaps(configs):
            raise ValueError(f"{second.owner} {reason(first, second)}")
        options = {config.name: config.options for config in configs}
        for one, other in meetings(configs):
            for why in standard.disagreements(options[one], options[other]):
                raise ValueError(f"namespaces {one!r} and {other!r} get each other's messages: {why}")
        before = self._namespaces.current
        retiring = (driver for driver_drain in self._draining for driver in driver_drain.drivers)
        holders = {driver.declaration.exclusive: driver for driver in (*_drivers(before), *retiring)}
        pending: dict[PendingDriver, Driver] = {}

        def make(backend: str, config: Any) -> Any:
            driver = self._make_driver(backend, config)
            holder = holders.get(driver.declaration.exclusive) if driver.declaration.exclusive else None
            if holder is None:
                return driver
            waiting = PendingDriver(driver)
            pending[waiting] = holder
            return waiting

        after = build(before.revision + 1, configs, make, before, self._placement, self._page, self._running,
                      self._resources, self.queued)
        here = _drivers(after)
        pending = {waiting: holder for waiting, holder in pending.items() if waiting in here}
        for waiting, holder in pending.items():
            if holder in here:
                raise ValueError(
                    f"namespace {_name_of(waiting, after)!r} needs {waiting.declaration.exclusive}, which namespace "
                    f"{_name_of(holder, after)!r} has: give it its own")
        return after, pending

    async def _open_patterns(self, after: Snapshot, pending: Collection[Driver]) -> None:
        """Open those that are new; those that need one of `pending` open when it is active. When one does not open,
        nothing of `after` stays open."""
        current = self._namespaces.current
        opening = _new_parts(after, current, waiting=pending)
        try:
            for part in opening:
                await _opened("a pattern or a step", part.open())
        except PrismError:
            await _close_all(_new_parts(after, current), _drivers(after) - _drivers(current))
            raise

    def _swap(self, after: Snapshot, before: Snapshot, spared: Collection[Driver] = ()) -> None:
        """Activate `after` and retire what it does not use of `before`."""
        retire = self._retirements(before, after, spared)
        if after is not self._namespaces.current:
            self._put(after)
        retire()

    def _put(self, after: Snapshot) -> None:
        """Activate `after`; drivers that stay learn their new settings."""
        current = self._namespaces.current.here()
        for name, route in after.here().items():
            before = current.get(name)
            if before is not None:
                for slot in route.slots.keys() & before.slots.keys():
                    self._settle(name, slot, before, route)
        self._namespaces.swap(after)

    def _settle(self, name: str, slot: str, before: Route, route: Route) -> None:
        driver, known = route.slots[slot].driver, before.slots[slot].driver
        if known is not driver:
            if known.declaration.durability == VOLATILE:
                self._log.warning("a namespace lost what it held in memory, because its backend changed",
                                  namespace=name, slot=slot)
        elif before.config.slots[slot].config != route.config.slots[slot].config:
            cast(Adaptable, driver).adapt(route.config.slots[slot].config)

    def _retirements(
        self, before: Snapshot, after: Snapshot, spared: Collection[Driver] = ()
    ) -> Callable[[], None]:
        """Watch the calls on the routes of `before` that are not in `after`, before these routes are let go; call it to
        let their patterns, and their drivers that are not `spared`, end with the calls."""
        staying = _drivers(after).union(spared)
        patterns = _patterns(after)
        found: list[tuple[Sequence[Part], list[Driver], CallDrain]] = []
        streams: list[tuple[str, OpenStreams]] = []
        for name, route in before.here().items():
            if after.routes.get(name) is route or route.pattern in patterns:
                continue
            going = [driver for driver in route.drivers if driver not in staying]
            earlier = [reference() for driver in route.drivers for reference in self._replaced.get(driver, ())]
            routes = [route, *(known for known in earlier if known is not None and (
                known.pattern is route.pattern or not set(going).isdisjoint(known.drivers)))]
            found.append(((route.pattern, route.chain), going, CallDrain(routes)))
            if going:
                streams.append((name, route.streams))
            for driver in going:
                self._replaced.pop(driver, None)
            self._remember(route, going)
            del routes, earlier

        def retire() -> None:
            for name, open_streams in streams:
                open_streams.end(ended("NAMESPACE_CHANGED", f"namespace {name!r} has another backend, or is not served "
                                       "here any more: open the stream again"))
            for parts, drivers, drain in found:
                self._draining.add(DriverDrain(parts, drivers, drain, self._draining.discard))

        return retire

    def _remember(self, route: Route, going: Collection[Driver] = ()) -> None:
        """Calls may go on upon this route while its drivers, but those that are going, serve another one."""
        for driver in route.drivers:
            if driver not in going:
                known = [found for found in self._replaced.get(driver, ()) if found() is not None]
                self._replaced[driver] = [*known, weakref.ref(route)]

    def _report_stranded(self, after: Snapshot, opened: Collection[Driver]) -> None:
        """An error line for each namespace whose data on this machine cannot be reached. What a shared backend lacks is
        seen and told by its slot."""
        for name, route in after.here().items():
            for driver in route.drivers:
                if driver in opened and driver.declaration.state == LOCAL:
                    report = driver.health()
                    if report.status is Health.UNHEALTHY:
                        self._log.error("a namespace cannot be served", namespace=name, backend=driver.declaration.name,
                                        path=report.details.get("path", ""), reason=report.message)

    # --- what only one driver can have --------------------------------------------------------------------------------

    async def _hand_over(self, after: Snapshot, pending: Mapping[PendingDriver, Driver]) -> None:
        """Swap while calls of some namespaces wait: close what has what they need, then open their drivers."""
        closing = set(pending.values())
        before = self._namespaces.current
        configs = [route.config for route in before.routes.values()]
        staying = before.without(closing)
        retire = self._retirements(before, staying, _drivers(after))
        del before
        self._put(after)
        retire()
        del retire
        ending = [driver_drain for driver_drain in self._draining if not closing.isdisjoint(driver_drain.drivers)]
        await asyncio.gather(*(driver_drain.finish(HAND_OVER_SECONDS) for driver_drain in ending))
        try:
            await _open_all([waiting.driver for waiting in pending])
        except Exception:
            await self._restore(configs, staying, pending)
            del staying  # the error holds this frame
            raise
        for waiting in pending:
            waiting.activate(waiting.driver)
        self._report_stranded(after, pending)
        for part in _parts(route for route in after.here().values() if not set(pending).isdisjoint(route.drivers)):
            try:
                await _opened("a pattern or a step", part.open())
            except PrismError as error:
                self._log.error("a namespace is active and its pattern did not open", error=str(error))
        self._swap(after, staying)

    async def _restore(
        self, configs: Sequence[NamespaceConfig], staying: Snapshot, pending: Collection[PendingDriver]
    ) -> None:
        """Activate the old configuration again: drivers that stayed are reused, those that closed are made again."""
        refused = self._namespaces.current
        names = {waiting: _name_of(waiting, refused) for waiting in pending}
        remade: list[PendingDriver] = []

        def make(backend: str, config: Any) -> PendingDriver:
            remade.append(PendingDriver(self._make_driver(backend, config)))
            return remade[-1]

        restored = build(refused.revision + 1, configs, make, staying, self._placement, self._page, self._running,
                      self._resources, self.queued)
        for driver in remade:
            try:
                await _open_all([driver.driver])
                driver.activate(driver.driver)
            except PrismError as error:
                self._log.error("the old driver could not be opened again", namespace=_name_of(driver, restored),
                                error=str(error))
                driver.reject(error)
        for waiting, name in names.items():
            route = restored.routes.get(name)
            if route is not None:
                waiting.activate(_counterpart(waiting, refused.routes[name], route))  # calls that waited go on
            else:
                waiting.reject(PrismError(StatusCode.UNAVAILABLE, "NAMESPACE_REFUSED",
                                          f"namespace {name!r} could not be activated", {"outcome": "not_executed"}))
        self._swap(restored, refused, pending)


def _drivers(snapshot: Snapshot) -> set[Driver]:
    """Those that are open here."""
    return {driver for route in snapshot.here().values() for driver in route.drivers}


def _patterns(snapshot: Snapshot) -> set[Pattern]:
    """Those that are open here."""
    return {route.pattern for route in snapshot.here().values()}


def _parts(routes: Iterable[Route]) -> list[Part]:
    """What opens for these routes, in its order."""
    return [part for route in routes for part in (route.chain, route.pattern)]


def _new_parts(after: Snapshot, current: Snapshot, waiting: Collection[Driver] = ()) -> list[Part]:
    """Those that `current` does not have, but for those of routes that need a driver that is `waiting`."""
    known = _patterns(current)
    return _parts(route for route in after.here().values()
                  if route.pattern not in known and set(waiting).isdisjoint(route.drivers))


def _counterpart(driver: Driver, route: Route, other: Route) -> Driver:
    """The driver of another route in the slot that a driver has in its own."""
    slot = next(name for name, found in route.slots.items() if found.driver is driver)
    return other.slots[slot].driver if slot in other.slots else other.drivers[0]


def _name_of(driver: Driver, snapshot: Snapshot) -> str:
    return next((name for name, route in snapshot.routes.items() if driver in route.drivers), "")


async def _open_all(drivers: Iterable[Driver]) -> None:
    """Open all, at the same time, or none. PrismError names the backend that cannot be opened."""
    opening = list(drivers)
    results = await asyncio.gather(*(_open(driver) for driver in opening), return_exceptions=True)
    if any(results):
        await asyncio.gather(*(driver.close() for driver in opening))
        try:
            raise next(filter(None, results))
        finally:
            del results  # an error that this frame holds would hold this frame, and those of callers with their routes


async def _open(driver: Driver) -> None:
    name = driver.declaration.name
    await _opened(f"backend {name}", driver.open(), backend=name)


async def _opened(what: str, opening: Awaitable[None], **metadata: str) -> None:
    """PrismError names what cannot be opened."""
    try:
        await opening
    except PrismError:
        raise
    except Exception as error:
        raise PrismError(StatusCode.FAILED_PRECONDITION, "BACKEND_NOT_OPENED", f"{what} cannot be opened: {error}",
                         metadata) from error


async def _close_all(parts: Iterable[Part], drivers: Iterable[Driver]) -> None:
    for part in parts:
        await part.close()
    for driver in drivers:
        await driver.close()
