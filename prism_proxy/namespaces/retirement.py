"""The end of a driver no longer used: its calls and transactions end, it drains, it closes, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from prism_proxy.contracts.driver import Driver
from prism_proxy.namespaces.departure import Departure
from prism_proxy.telemetry import log

CALLS_SECONDS = 300.0  # for calls in progress; a scan may take as long
DRAIN_SECONDS = 3.0  # for writes under way once the calls have ended


class Retirement:
    """`on_end` is told when the driver has closed."""

    def __init__(self, driver: Driver, departure: Departure, on_end: Callable[[Driver], None]) -> None:
        self._driver = driver
        self._departure = departure
        self._on_end = on_end
        self._task = asyncio.get_running_loop().create_task(self._run())

    def serves(self, namespaces: Collection[str]) -> bool:
        """Whether calls in progress may be of one of these."""
        return not self._departure.namespaces.isdisjoint(namespaces)

    def hurry(self) -> None:
        """Calls still in progress fail now."""
        self._departure.give_up()

    async def finish(self, seconds: float) -> None:
        """Return when the driver has closed; calls still in progress after `seconds` fail."""
        await self._departure.wait(seconds)
        self.hurry()
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        ended = await self._departure.wait(CALLS_SECONDS)
        for transactions in self._departure.transactions:
            transactions.close()
        try:
            await self._driver.drain(DRAIN_SECONDS if ended else 0)
        except Exception as error:  # noqa: BLE001 - nobody waits for this, and close still has to follow
            self._complain(error)
        try:
            await self._driver.close()
        except Exception as error:  # noqa: BLE001 - as above; the namespace has another driver or is gone
            self._complain(error)
        finally:
            self._on_end(self._driver)

    def _complain(self, error: Exception) -> None:
        log.get("prism.namespaces").error(
            "a backend did not close cleanly", backend=self._driver.declaration.name, exc_info=error)
