"""Transactions whose failures have one name: whatever the database, its driver or the network says is a StorageError.

What a statement says about its own rows, as a violated constraint, is for who issued it, within the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from prism_runtime.storage.errors import StorageError

FENCE = "prism_fence"  # option of an engine: called within each transaction that writes, raises where it must not


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction, committed when the block ends well. StorageError, also where another process writes by now."""
    fence = engine.get_execution_options().get(FENCE)
    async with unfenced(engine) as connection:
        if fence is not None:
            await fence(connection)
        yield connection


@asynccontextmanager
async def unfenced(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """As `writing`, for who decides which process writes."""
    with translated(engine):
        async with engine.begin() as connection:
            yield connection


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for a look; nothing is committed. StorageError."""
    with translated(engine):
        async with engine.connect() as connection:
            yield connection


@contextmanager
def translated(engine: AsyncEngine, what: str = "storage failed") -> Iterator[None]:
    """Raises failures of the database as StorageError, beginning with `what`."""
    try:
        yield
    except _failures(engine) as error:
        raise StorageError(f"{what}: {reason_of(error)}", of_the_rows=_of_the_rows(error)) from error


def _failures(engine: AsyncEngine) -> tuple[type[Exception], ...]:
    """asyncpg raises its own errors while it connects, before SQLAlchemy can translate them."""
    driver = getattr(engine.dialect.dbapi, "asyncpg", None)
    own = (driver.PostgresError, driver.InterfaceError) if driver is not None else (sqlite3.Error,)
    return (SQLAlchemyError, OSError, *own)


def _of_the_rows(error: Exception) -> bool:
    """Whether the database is there and has its tables, but takes no such values."""
    return (isinstance(error, StatementError) and not isinstance(error, (OperationalError, ProgrammingError))
            and not (isinstance(error, DBAPIError) and error.connection_invalidated))


def reason_of(error: Exception) -> str:
    """What failed, in one line."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig if isinstance(error.orig, Exception) else error
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
