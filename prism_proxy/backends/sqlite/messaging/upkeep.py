"""What logs need now and then: their retention. One task, which outlives a file that is away."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

from prism_proxy.errors import PrismError

SECONDS = 0.5  # within 1 s nobody sees what a retention does not keep


class Upkeep:
    def __init__(self, *work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SECONDS)
            for one in self._work:
                with contextlib.suppress(PrismError, sqlite3.Error):  # the store is away, which its health tells
                    await one()
