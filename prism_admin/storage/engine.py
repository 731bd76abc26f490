"""Opens the database: connections as they must be, and a schema that is current."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, event, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from prism_admin.storage import tables
from prism_admin.storage.database_url import Database
from prism_admin.storage.errors import StorageError
from prism_admin.storage.transactions import reason_of, translated

if TYPE_CHECKING:
    from alembic.config import Config

LATEST = 4  # of migrations/versions
BUSY_MS = 5000
MIGRATION_LOCK = 0x70726973  # a number of our own among the advisory locks of the database
WAIT_SECONDS = 5  # for a connection, and for the answer to a statement


async def open_engine(database: Database) -> AsyncEngine:
    """An engine on a database with the latest schema. StorageError when it cannot be reached or migrated."""
    engine = make_engine(database)
    try:
        with translated(engine, f"database {database.shown}"):
            async with engine.connect() as connection:
                current = await connection.run_sync(version)
            if current != LATEST:
                await _bring_up(engine)
    except StorageError:
        await engine.dispose()
        raise
    return engine


async def _bring_up(engine: AsyncEngine) -> None:
    """To the latest schema, while no other admin does the same."""
    async with engine.connect() as guard, engine.connect() as connection:
        if guard.dialect.name == "postgresql":
            await guard.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))  # of the transaction
        else:
            await guard.close()  # one process has the file
        current = await connection.run_sync(version)
        if not current and not await connection.run_sync(_holds_tables):
            await connection.run_sync(_create)
        elif current != LATEST:
            await connection.run_sync(migrate, "head")


def make_engine(database: Database) -> AsyncEngine:
    if database.path is None:
        from prism_admin.storage.postgres import arguments  # asyncpg is not loaded for SQLite

        return create_async_engine(
            "postgresql+asyncpg://", pool_size=8, max_overflow=8, pool_pre_ping=True, pool_timeout=WAIT_SECONDS,
            connect_args=arguments(database, WAIT_SECONDS))
    database.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(database.path)))
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def version(connection: Connection) -> int:
    """The version of the schema; 0 for an empty database."""
    if not inspect(connection).has_table("schema_version"):
        return 0
    return int(connection.execute(text("SELECT coalesce(max(version), 0) FROM schema_version")).scalar_one())


def migrate(connection: Connection, target: str) -> None:
    """Bring the schema to a revision (`head`, `base`, or a number as in `0002`). StorageError names the failed step."""
    # Imported here: a start on a current schema need not pay 0.2 s for it.
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _alembic(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = version(connection)
    if found and f"{found:04}" not in known:
        raise StorageError(
            f"its schema has version {found}, newer than this program knows ({LATEST}): use that program")
    connection.rollback()
    try:
        upward = target == "head" or (target != "base" and int(target) > found)
        (command.upgrade if upward else command.downgrade)(config, target)
        connection.commit()
    except SQLAlchemyError as error:
        connection.rollback()
        raise StorageError(
            f"migration to {target} failed after version {version(connection)}: {reason_of(error)}") from error


def _holds_tables(connection: Connection) -> bool:
    return bool(inspect(connection).get_table_names())


def _create(connection: Connection) -> None:
    """The latest schema in an empty database, as all migrations together make it."""
    tables.metadata.create_all(connection)
    connection.execute(tables.partition_map.insert().values(id=1, revision=0))
    connection.execute(tables.admin_lease.insert().values(id=1, owner="", epoch=0))
    connection.execute(tables.schema_version.insert(), [
        {"version": number, "description": "made at once"} for number in range(1, LATEST + 1)])
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
                            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"))
    connection.execute(text(f"INSERT INTO alembic_version VALUES ('{LATEST:04}')"))
    connection.commit()


def _alembic(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "prism_admin.storage:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
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
