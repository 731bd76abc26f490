"""The active partition map: loaded once, changed under a lock, written before it is told.

Who wants to know of changes watches: a watcher gets the map now, and each later one; a slow one misses maps in between,
never the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prism_admin.layout import NOBODY, Layout, Move, owner_of
from prism_admin.storage.errors import ConflictError
from prism_admin.storage.proxies import Proxies


@dataclass(frozen=True, slots=True)
class Map:
    """A layout under its revision. Revisions only grow, over restarts too."""

    revision: int
    layout: Layout = NOBODY

    def owner(self, partition: int) -> str | None:
        return owner_of(self.layout, partition)


class Placement:
    """`open` first. Changes are serialised: plan and apply within one `changing()` block."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        self._lock = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._closed = False
        self.map = Map(0)

    async def open(self) -> None:
        revision, owners = await self._proxies.load_map()
        self.map = Map(revision, tuple(owners.get(partition) for partition in range(len(NOBODY))))

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Map]:
        """Nobody else changes the map within the block."""
        async with self._lock:
            yield self.map

    async def apply(self, moves: Iterable[Move]) -> Map:
        """Give partitions to their targets, durably, under the next revision. Within `changing()` only."""
        changes = {move.partition: move.target for move in moves}
        if not changes:
            return self.map
        revision = await self._save(changes)
        layout = tuple(changes.get(partition, owner) for partition, owner in enumerate(self.map.layout))
        await self._put(Map(revision, layout))
        return self.map

    async def reload(self) -> None:
        """Take what storage has for the active map, after an error that does not tell. Within `changing()` only."""
        await self.open()
        async with self._changed:
            self._changed.notify_all()

    async def announce(self) -> None:
        """Wake watchers although the layout is the same: an address has changed."""
        await self._put(Map(await self._save({}), self.map.layout))

    async def _save(self, changes: Mapping[int, str | None]) -> int:
        """The new revision. After ConflictError, which also a commit whose answer was lost leads to, the map is that of
        storage."""
        try:
            return await self._proxies.save_map(self.map.revision, changes)
        except ConflictError:
            await self.open()
            await self._put(self.map)
            raise

    async def _put(self, found: Map) -> None:
        self.map = found
        async with self._changed:
            self._changed.notify_all()

    async def close(self) -> None:
        """End all watching."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    async def watch(self, known: int) -> AsyncIterator[Map]:
        """The map now, when it is newer than `known`, and every newer one, until `close`."""
        while True:
            async with self._changed:
                while self.map.revision <= known and not self._closed:
                    await self._changed.wait()
                if self._closed:
                    return
                current = self.map
            known = current.revision
            yield current
