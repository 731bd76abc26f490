"""The one door for every change of the namespaces that this process serves.

    build a snapshot beside the one in force ---> refused: nothing has changed
      open its new drivers ---------------------> refused: those that were opened are closed again
        (prepared: the other workers, if there are any, get this far as well, or all of them discard it)
        swap
          drain and close, in the background, the drivers that only the old snapshot used

Who calls it (a file that was read again, a supervisor, a control plane) makes no difference here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prism_proxy.contracts.driver import Driver
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.snapshot import Namespaces, Route, Snapshot, build
from prism_proxy.telemetry import log

RETIRE_SECONDS = 30.0  # for calls in progress on a driver that is no longer used

MakeDriver = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change that only needs to be put in force: `commit` it or `discard` it, once."""

    applier: Applier
    snapshot: Snapshot

    def commit(self) -> Snapshot:
        self.applier.commit(self.snapshot)
        return self.snapshot

    async def discard(self) -> None:
        await self.applier.discard(self.snapshot)


class Applier:
    """Changes come one at a time; `close` belongs to the end of the process."""

    def __init__(self, namespaces: Namespaces, make_driver: MakeDriver, placement: Placement | None = None) -> None:
        self._log = log.get("prism.namespaces")
        self._namespaces = namespaces
        self._make_driver = make_driver
        self._placement = placement or Placement()
        self._one = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

    async def apply(self, configs: Sequence[NamespaceConfig]) -> Snapshot:
        """Serve these namespaces and no others; the snapshot in force then.

        A namespace that did not change keeps its driver, its data and its transactions. ValueError or PrismError, which
        names namespace and backend, when one cannot be served as configured: then nothing has changed.
        """
        return (await self.prepare(configs)).commit()

    async def prepare(self, configs: Sequence[NamespaceConfig]) -> Prepared:
        """As `apply`, up to the swap. Other changes wait until this one is committed or discarded."""
        await self._one.acquire()
        try:
            before = self._namespaces.current
            after = build(before.revision + 1, configs, self._make_driver, before, self._placement)
            await self._open(_drivers(after) - _drivers(before))
        except BaseException:
            self._one.release()
            raise
        return Prepared(self, after)

    def commit(self, after: Snapshot) -> None:
        before = self._namespaces.current
        self._namespaces.swap(after)
        for driver in _drivers(before) - _drivers(after):
            self._retire(driver)
        self._one.release()

    async def discard(self, after: Snapshot) -> None:
        try:
            for driver in _drivers(after) - _drivers(self._namespaces.current):
                await driver.close()
        finally:
            self._one.release()

    async def close(self) -> None:
        """Wait for drivers that are being closed."""
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def _open(self, drivers: Iterable[Driver]) -> None:
        """Open all, or none."""
        opened = []
        try:
            for driver in drivers:
                opened.append(driver)
                await driver.open()
        except BaseException:
            for driver in opened:
                await driver.close()
            raise

    def _retire(self, driver: Driver) -> None:
        task = asyncio.get_running_loop().create_task(self._end(driver))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _end(self, driver: Driver) -> None:
        try:
            await driver.drain(RETIRE_SECONDS)
            await driver.close()
        except Exception as error:  # noqa: BLE001 - nobody waits for this, and the namespace is served by another driver
            self._log.error("a backend did not close cleanly", backend=driver.declaration.name, exc_info=error)


def _drivers(snapshot: Snapshot) -> set[Driver]:
    routes: Iterable[Route] = snapshot.here().values()
    return {route.driver for route in routes}
