"""One open durable subscription: the log of a topic to a sink, and its position back into the file."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

from prism_proxy.backends.sqlite.messaging.reading import Reading
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Delivery, Sink
from prism_proxy.models.messaging_errors import subscriber_replaced

SETTLE_SECONDS = 0.05  # within which positions are written together


class Durable:
    """Implements `models.pubsub.contract.DurableActive`. `store` writes the offset behind what is settled."""

    def __init__(
        self, name: str, reading: Reading[Delivery], sink: Sink[Delivery], store: Callable[[int], Awaitable[None]],
        leave: Callable[[Durable], None],
    ) -> None:
        self._name = name
        self._reading = reading
        self._sink = sink
        self._store = store
        self._leave = leave
        self._settled = 0
        self._stored = 0
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    async def settle(self, position: bytes) -> None:
        """It is in the file within SETTLE_SECONDS, with others."""
        self._settled = max(self._settled, int(position) + 1)
        if self._writing is None and not self._closed:
            self._writing = asyncio.get_running_loop().create_task(self._write_soon())

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._leave(self)
        await self._reading.close()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._write()

    async def replace(self) -> None:
        """Another one subscribed under the same name."""
        self._sink.end(subscriber_replaced(self._name))
        await self.close()

    async def _write_soon(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        self._writing = None
        await self._write()

    async def _write(self) -> None:
        settled = self._settled
        if settled > self._stored:
            with contextlib.suppress(PrismError, sqlite3.Error):  # written with the next one, or delivered again
                await self._store(settled)
                self._stored = max(self._stored, settled)
