"""Figures that a backend must be asked for, such as how many messages wait in a queue, for a scrape that cannot wait.

A scrape shows what the scrape before it asked for, and asks again. Nobody scrapes: nothing is asked. Only names that
calls of this process used are asked for, because listing names costs some backends a walk over all their keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from prism_proxy.errors import PrismError
from prism_runtime.tasks import cancel

MAX_NAMES = 1000  # series of one namespace; names used later show under no label of their own
FRESH_S = 5.0  # two scrapers do not ask twice

NameT = TypeVar("NameT", bound=Hashable)
FigureT = TypeVar("FigureT")


class Depths(Generic[NameT, FigureT]):
    """`read(name)` asks the backend; a name that it does not know any more (PrismError) has no figures."""

    def __init__(self, read: Callable[[NameT], Awaitable[FigureT]]) -> None:
        self._read = read
        self._names: dict[NameT, None] = {}
        self._known: dict[NameT, FigureT] = {}
        self._asked = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def use(self, name: NameT) -> None:
        """A call names it."""
        if name not in self._names and len(self._names) < MAX_NAMES:
            self._names[name] = None

    def forget(self, name: NameT) -> None:
        self._names.pop(name, None)
        self._known.pop(name, None)

    def latest(self) -> dict[NameT, FigureT]:
        """What is known, and a question for what is asked next."""
        idle = self._task is None or self._task.done()
        if self._names and idle and time.monotonic() - self._asked >= FRESH_S:
            self._asked = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._ask())
        return self._known

    async def close(self) -> None:
        await cancel([self._task])

    async def _ask(self) -> None:
        for name in [*self._names]:
            try:
                self._known[name] = await self._read(name)
            except PrismError:
                self._known.pop(name, None)
