"""Writes, one at a time: decided on the catalog, stored, then applied to it.

    uncertain --reload--> certain --a commit fails--> uncertain

A commit whose answer was lost may have happened. Nothing is decided again before the catalog was read from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prism_runtime import log
from prism_runtime.storage.errors import StorageError
from prism_schema_registry.catalog import Catalog
from prism_schema_registry.changes import Change
from prism_schema_registry.errors import unavailable
from prism_schema_registry.storage.contract import Store

_log = log.get("prism.schema_registry")


class Commits:
    """The only one that changes the catalog."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._lock = asyncio.Lock()
        self._certain = False
        self.failures = 0
        self.problem = ""  # of the last write; empty when it was stored

    async def open(self) -> None:
        """Read what is stored. StorageError."""
        async with self._lock:
            await self._load()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[list[Change]]:
        """A list to be filled: what it holds at the end of the block is stored and applied. RegistryError 50001."""
        async with self._lock:
            changes: list[Change] = []
            try:
                if not self._certain:
                    await self._load()
                yield changes
                if changes:
                    await self._commit(changes)
            except StorageError as error:
                self.failures += 1
                self.problem = str(error)
                _log.error("a write was not stored", reason=str(error))
                raise unavailable(str(error)) from error

    async def _load(self) -> None:
        self._catalog.replace(await self._store.load())
        self._certain, self.problem = True, ""

    async def _commit(self, changes: list[Change]) -> None:
        self._certain = False
        await self._store.apply(changes)
        self._catalog.apply(changes)
        self._certain, self.problem = True, ""
