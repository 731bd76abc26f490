"""Waits for the calls in progress on routes that are no longer active.

A call holds its route from its first byte to its end, and once a table is swapped nothing else does: the route's own
end says that no call needs its driver any more. Costs the path of a call nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Sequence

from prism_proxy.namespaces.snapshot import Route


class CallDrain:
    """Make it while the routes exist, and keep no reference to them: not even in a frame that goes on.

    `namespaces` are those of the routes.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.namespaces = frozenset(route.namespace for route in routes)
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._given_up = False
        self._references = [weakref.ref(route, self._gone) for route in routes]

    async def wait(self, seconds: float | None) -> bool:
        """False when the last call has not ended within the time, or was given up. None waits as long as it takes."""
        self._check()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set() and not self._given_up

    def give_up(self) -> None:
        """Wait no longer."""
        self._given_up = not self._over.is_set()
        self._over.set()

    def _gone(self, reference: weakref.ref[Route]) -> None:
        # The last reference may go on a thread of the executor, or while the loop is closed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._check)

    def _check(self) -> None:
        if all(reference() is None for reference in self._references):
            self._over.set()
