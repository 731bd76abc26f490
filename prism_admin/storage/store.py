"""The entry point to storage."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from prism_admin.storage.engine import LAYOUT
from prism_admin.storage.namespaces import Namespaces
from prism_admin.storage.proxies import Proxies
from prism_runtime.storage.database_url import Database
from prism_runtime.storage.engine import open_engine
from prism_runtime.storage.lease import Lease


class Store:
    """One open database. Opened by `open_store`."""

    def __init__(self, engine: AsyncEngine, database: Database) -> None:
        self.engine = engine
        self.database = database
        self.namespaces = Namespaces(engine)
        self.proxies = Proxies(engine)

    def leased(self, lease: Lease) -> Store:
        """The same, where nothing is written once another admin has the lease."""
        return Store(lease.engine, self.database)

    async def close(self) -> None:
        await self.engine.dispose()


async def open_store(database: Database) -> Store:
    """StorageError when it cannot be reached or migrated."""
    return Store(await open_engine(database, LAYOUT), database)
