"""Opens the store that the options name. SQLAlchemy loads here, and for a database only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prism_runtime import log
from prism_runtime.lifecycle import StartError
from prism_runtime.storage.errors import StorageError
from prism_schema_registry.options import RegistryOptions
from prism_schema_registry.storage.contract import Memory, Store

PROGRAM = "prism-schema-registry"
_log = log.get("prism.schema_registry")
Closing = list[Callable[[], Awaitable[None]]]


async def open_store(options: RegistryOptions, closing: Closing, lost: Callable[[StorageError], None]) -> Store:
    """The store; what must be closed after it goes to `closing`. `lost` is called when another registry took over.
    StorageError, StartError."""
    if options.memory:
        return Memory()
    from prism_runtime.storage.database_url import DatabaseUrlError, parse
    from prism_runtime.storage.engine import open_engine
    from prism_runtime.storage.exclusive import FileLock
    from prism_runtime.storage.lease import Lease
    from prism_schema_registry.storage.sql import SqlStore
    from prism_schema_registry.storage.tables import LAYOUT

    try:
        database = parse(options.db, name="schema-registry")
    except DatabaseUrlError as error:
        raise StartError(f"--db: {error}") from error
    if database.path is not None:
        lock = FileLock(database.path, PROGRAM)
        lock.acquire()

        async def release() -> None:
            lock.close()

        closing.append(release)
    engine = await open_engine(database, LAYOUT)
    closing.append(engine.dispose)
    if database.path is None:
        lease = Lease(engine, PROGRAM, "registry_lease")
        closing.append(lease.close)
        await lease.take(wait=options.standby, waiting=lambda holder: _log.info(
            "waiting: another registry serves the database", holder=holder, database=database.shown))
        lease.start(lost)
        engine = lease.engine
    return SqlStore(engine, database.shown)
