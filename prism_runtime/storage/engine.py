"""Opens the database of a process: connections as they must be, and tables that are current.

What the tables are, and which migrations lead to them, the process says by its `Layout`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, MetaData, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from prism_runtime.storage.database_url import Database
from prism_runtime.storage.errors import StorageError
from prism_runtime.storage.transactions import reason_of, translated

if TYPE_CHECKING:
    from alembic.config import Config

BUSY_MS = 5000
MIGRATION_LOCK = 0x70726973  # a number of our own among the advisory locks of the database
WAIT_SECONDS = 5  # for a connection, and for the answer to a statement


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables of a process. `latest` is the number of the last migration in the package `migrations`
    (`package:folder`); `fill` writes the rows that an empty database begins with. Programs that share a database have
    names of their own for `versions`, a table of `metadata`, and for Alembic's table."""

    metadata: MetaData
    latest: int
    migrations: str
    fill: Callable[[Connection], None]
    versions: str = "schema_version"
    alembic: str = "alembic_version"


async def open_engine(database: Database, layout: Layout) -> AsyncEngine:
    """An engine on a database with the latest tables. StorageError when it cannot be reached or migrated."""
    engine = make_engine(database)
    try:
        with translated(engine, f"database {database.shown}"):
            async with engine.connect() as connection:
                current = await connection.run_sync(version, layout)
            if current != layout.latest:
                await _bring_up(engine, layout)
    except StorageError:
        await engine.dispose()
        raise
    return engine


async def _bring_up(engine: AsyncEngine, layout: Layout) -> None:
    """To the latest tables, while no other process does the same."""
    async with engine.connect() as guard, engine.connect() as connection:
        if guard.dialect.name == "postgresql":
            await guard.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))  # of the transaction
        else:
            await guard.close()  # one process has the file
        current = await connection.run_sync(version, layout)
        if not current and not await connection.run_sync(_holds_tables, layout):
            await connection.run_sync(_create, layout)
        elif current != layout.latest:
            await connection.run_sync(migrate, layout, "head")


def make_engine(database: Database) -> AsyncEngine:
    if database.path is None:
        from prism_runtime.storage.postgres import arguments  # asyncpg is not loaded for SQLite

        return create_async_engine(
            "postgresql+asyncpg://", pool_size=8, max_overflow=8, pool_pre_ping=True, pool_timeout=WAIT_SECONDS,
            connect_args=arguments(database, WAIT_SECONDS))
    database.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(database.path)))
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def version(connection: Connection, layout: Layout) -> int:
    """The version of the tables; 0 for an empty database."""
    if not inspect(connection).has_table(layout.versions):
        return 0
    return int(connection.execute(text(f"SELECT coalesce(max(version), 0) FROM {layout.versions}")).scalar_one())


def migrate(connection: Connection, layout: Layout, target: str) -> None:
    """Bring the schema to a revision (`head`, `base`, or a number as in `0002`). StorageError names the failed step."""
    # Imported here: a start on a current schema need not pay 0.2 s for it.
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _alembic(connection, layout)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = version(connection, layout)
    if found and f"{found:04}" not in known:
        raise StorageError(
            f"its schema has version {found}, newer than this program knows ({layout.latest}): use that program")
    connection.rollback()
    try:
        upward = target == "head" or (target != "base" and int(target) > found)
        (command.upgrade if upward else command.downgrade)(config, target)
        connection.commit()
    except SQLAlchemyError as error:
        connection.rollback()
        raise StorageError(
            f"migration to {target} failed after version {version(connection, layout)}: {reason_of(error)}") from error


def _holds_tables(connection: Connection, layout: Layout) -> bool:
    return not layout.metadata.tables.keys().isdisjoint(inspect(connection).get_table_names())


def _create(connection: Connection, layout: Layout) -> None:
    """The latest tables in an empty database, as all migrations together make them."""
    layout.metadata.create_all(connection)
    layout.fill(connection)
    connection.execute(layout.metadata.tables[layout.versions].insert(), [
        {"version": number, "description": "made at once"} for number in range(1, layout.latest + 1)])
    connection.execute(text(f"CREATE TABLE {layout.alembic} (version_num VARCHAR(32) NOT NULL, "
                            f"CONSTRAINT {layout.alembic}_pkc PRIMARY KEY (version_num))"))
    connection.execute(text(f"INSERT INTO {layout.alembic} VALUES ('{layout.latest:04}')"))
    connection.commit()


def _alembic(connection: Connection, layout: Layout) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", layout.migrations)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = layout.alembic
    return config


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _begin_immediate
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    """A transaction that reads first and writes later cannot wait for another writer; one that locks at once can."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
