"""Who waits for something to come to a queue or a log."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable


class Arrivals:
    """Belongs to the loop. A wait begins before whoever waits looks for the last time, so that nothing is missed."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def expect(self, name: str) -> asyncio.Future[None]:
        """Is done when something comes; `forget` it afterwards in any case."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[name].add(waiting)
        return waiting

    def forget(self, name: str, waiting: asyncio.Future[None]) -> None:
        names = self._waiting.get(name)
        if names is not None:
            names.discard(waiting)
            if not names:
                del self._waiting[name]

    def tell(self, names: Iterable[str]) -> None:
        for name in names:
            for waiting in self._waiting.pop(name, ()):
                if not waiting.done():
                    waiting.set_result(None)
