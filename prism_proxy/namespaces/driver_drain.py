"""The end of what a namespace no longer uses: its calls end, then its pattern, then its drivers, in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from prism_proxy.contracts.driver import Driver
from prism_proxy.namespaces.call_drain import CallDrain
from prism_runtime import log

CALLS_SECONDS = 300.0  # for calls in progress; a scan may take as long
DRAIN_SECONDS = 3.0  # for writes under way once the calls have ended


class Part(Protocol):
    """A pattern, or the chain of a namespace's steps."""

    async def open(self) -> None: ...

    async def drain(self, deadline_s: float) -> None: ...

    async def close(self) -> None: ...


class DriverDrain:
    """Of a namespace's `parts`, and of those of its drivers that nobody else uses. `on_end` is told when they have
    closed."""

    def __init__(self, parts: Sequence[Part], drivers: Sequence[Driver], drain: CallDrain,
                 on_end: Callable[[DriverDrain], None]) -> None:
        self.drivers = frozenset(drivers)
        self._parts = parts
        self._drain = drain
        self._on_end = on_end
        self._task = asyncio.get_running_loop().create_task(self._run())

    def serves(self, namespaces: Collection[str]) -> bool:
        """Whether calls in progress may be of one of these."""
        return not self._drain.namespaces.isdisjoint(namespaces)

    def hurry(self) -> None:
        """Calls still in progress fail now."""
        self._drain.give_up()

    async def finish(self, seconds: float) -> None:
        """Return when all have closed; calls still in progress after `seconds` fail."""
        await self._drain.wait(seconds)
        self.hurry()
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        # A pattern whose drivers another one uses may go on as long as its calls: subscriptions last.
        ended = await self._drain.wait(CALLS_SECONDS if self.drivers else None)
        deadline_s = DRAIN_SECONDS if ended else 0
        try:
            for part in self._parts:
                await self._quietly("", part.drain(deadline_s), part.close())
            await asyncio.gather(*(
                self._quietly(driver.declaration.name, driver.drain(deadline_s), driver.close())
                for driver in self.drivers))
        finally:
            self._on_end(self)

    async def _quietly(self, backend: str, *steps: Awaitable[None]) -> None:
        """Await all steps: nobody waits for this, and `close` has to follow whatever became of `drain`."""
        for step in steps:
            try:
                await step
            except Exception as error:  # noqa: BLE001 - as above; the namespace has another driver or is gone
                log.get("prism.namespaces").error(
                    "a backend did not close cleanly", backend=backend, namespaces=sorted(self._drain.namespaces),
                    exc_info=error)
