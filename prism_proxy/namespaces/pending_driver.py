"""Stands in for a driver that cannot open before another one has closed, such as that of the same file.

    waiting --activate--> the driver's own commands
            --reject---> every command is refused

Commands wait, for a moment that the caller does not notice, and are then those of the driver itself: after `activate`
each is looked up once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from prism_proxy.contracts.driver import Driver, Health, HealthReport
from prism_proxy.errors import PrismError, StatusCode

WAIT_SECONDS = 5.0


class PendingDriver:
    """`driver` is not open yet. `activate` may be called with another one, which then takes its place."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.declaration = driver.declaration
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begun.add_done_callback(lambda done: done.exception())  # it need not be waited for

    def activate(self, driver: Driver) -> None:
        """`driver` is open: commands go to it, those that wait first."""
        self.driver = driver
        self._begun.set_result(None)

    def reject(self, error: PrismError) -> None:
        """There will be no driver."""
        self._begun.set_exception(error)

    async def open(self) -> None:
        """Its driver is opened when its predecessor has closed."""

    async def drain(self, deadline_s: float) -> None:
        if self._open:
            await self.driver.drain(deadline_s)

    async def close(self) -> None:
        if self._open:
            await self.driver.close()

    def health(self) -> HealthReport:
        if self._open:
            return self.driver.health()
        failed = self._begun.exception() if self._begun.done() else None
        if failed is not None:
            return HealthReport(Health.UNHEALTHY, str(failed))
        return HealthReport(Health.DEGRADED, "waits for the driver before it to close")  # calls wait, and do not fail

    @property
    def _open(self) -> bool:
        return self._begun.done() and self._begun.exception() is None

    def __getattr__(self, name: str) -> Any:
        """A command of the driver, or a part of it that has commands. There is no native store: native code would not
        wait."""
        if name == "native_store" or name.startswith("_"):
            raise AttributeError(name)
        if name in self.declaration.parts:
            part = _SuccessorPart(self, name)
            setattr(self, name, part)
            return part
        command = self.command(lambda driver: getattr(driver, name))
        if self._open:
            setattr(self, name, command)
        return command

    def command(self, find: Callable[[Any], Any]) -> Any:
        """What `find` finds in the driver, which waits until there is one."""
        found = find(self.driver)
        if self._open:
            return found
        if inspect.isasyncgenfunction(found):
            return functools.partial(self._stream_later, find)
        if inspect.iscoroutinefunction(found):
            return functools.partial(self._later, find)
        return found

    async def _later(self, find: Callable[[Any], Any], *args: Any, **kwargs: Any) -> Any:
        await self._wait()
        return await find(self.driver)(*args, **kwargs)

    async def _stream_later(self, find: Callable[[Any], Any], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        await self._wait()
        async for item in find(self.driver)(*args, **kwargs):
            yield item

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(self._begun), WAIT_SECONDS)
        except TimeoutError:
            raise PrismError(
                StatusCode.UNAVAILABLE, "HANDING_OVER",
                f"the {self.declaration.name} driver of this namespace waits for the one before it to close: try again",
                {"outcome": "not_executed"}, retry_after=0.5) from None
        except PrismError as error:
            raise dataclasses.replace(error) from None  # each call its own, with its own traceback


class _SuccessorPart:
    """A part of the driver, such as its `pubsub`, whose commands wait as the driver's own do."""

    def __init__(self, successor: PendingDriver, part: str) -> None:
        self._successor = successor
        self._part = part

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._successor.command(lambda driver: getattr(getattr(driver, self._part), name))
