"""The admin's database, all of it on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError

from prism_admin.storage.audit import Audit, Entry
from prism_admin.storage.engine import LATEST, LAYOUT
from prism_admin.storage.errors import AlreadyExistsError, ConflictError, NotFoundError
from prism_admin.storage.namespaces import Namespace
from prism_admin.storage.proxies import Proxy
from prism_admin.storage.store import Store, open_store
from prism_runtime.storage.database_url import parse
from prism_runtime.storage.engine import make_engine, migrate, version
from prism_runtime.storage.errors import StorageError

ORDERS = Namespace("orders", 238, {"backends": {"store": {"backendType": "memstore"}}}, description="all orders")


async def test_a_new_database_has_the_latest_schema_and_keeps_its_rows(urn: str) -> None:
    store = await open_store(parse(urn))
    async with store.engine.connect() as connection:
        assert await connection.run_sync(version, LAYOUT) == LATEST
    created = await store.namespaces.create(ORDERS)
    await store.close()
    again = await open_store(parse(urn))
    assert await again.namespaces.get("orders") == created
    await again.close()


async def test_migrations_go_up_down_and_up(urn: str) -> None:
    engine = make_engine(parse(urn))
    async with engine.connect() as connection:
        for target, expected in (
                ("0001", 1), ("0002", 2), ("head", LATEST), ("0002", 2), ("base", 0), ("head", LATEST)):
            await connection.run_sync(migrate, LAYOUT, target)
            assert await connection.run_sync(version, LAYOUT) == expected
        tables = await connection.run_sync(lambda sync: set(engine.dialect.get_table_names(sync)))
    assert tables >= {"namespaces", "proxies", "patterns", "audit_logs", "launchers", "partitions", "schema_version"}
    await engine.dispose()


def described(connection: Connection) -> dict[str, object]:
    """All that a schema says, in a form that does not depend on the order it was made in."""
    found = inspect(connection)

    def plain(items: object) -> list[str]:
        return sorted(str(sorted((key, str(value)) for key, value in item.items() if key != "comment"))
                      for item in items)  # type: ignore[attr-defined]

    looks = (found.get_columns, found.get_indexes, found.get_foreign_keys, found.get_unique_constraints,
             found.get_check_constraints)
    return {table: ([plain(look(table)) for look in looks], found.get_pk_constraint(table)["constrained_columns"])
            for table in found.get_table_names()}


async def test_a_schema_made_at_once_is_the_one_that_migrations_make(urn: str) -> None:
    store = await open_store(parse(urn))
    async with store.engine.connect() as connection:
        at_once = await connection.run_sync(described)
        await connection.run_sync(migrate, LAYOUT, "base")
        assert await connection.run_sync(version, LAYOUT) == 0
        await connection.run_sync(migrate, LAYOUT, "head")
        assert await connection.run_sync(described) == at_once
    await store.close()


async def test_a_schema_from_the_future_is_refused(urn: str) -> None:
    store = await open_store(parse(urn))
    async with store.engine.begin() as connection:
        await connection.execute(text("INSERT INTO schema_version (version) VALUES (99)"))
    await store.close()
    with pytest.raises(StorageError, match="version 99, newer than this program knows"):
        await open_store(parse(urn))


async def test_namespaces_are_created_once_and_their_versions_never_restart(store: Store) -> None:
    first = await store.namespaces.create(ORDERS)
    assert (first.version, first.description, first.partition) == (1, "all orders", 238)
    with pytest.raises(AlreadyExistsError, match="namespace already exists: orders"):
        await store.namespaces.create(ORDERS)
    changed = await store.namespaces.change("orders", config={"backends": {}}, expected_version=1)
    assert changed.version == 2
    with pytest.raises(ConflictError, match="has version 2, not 1"):
        await store.namespaces.change("orders", config={}, expected_version=1)
    assert (await store.namespaces.change("orders", description="other")).version == 2
    await store.namespaces.delete("orders")
    with pytest.raises(NotFoundError, match="namespace not found: orders"):
        await store.namespaces.get("orders")
    assert (await store.namespaces.create(ORDERS)).version > 2


async def test_namespaces_are_listed_by_name_in_pages(store: Store) -> None:
    for number in range(25):
        await store.namespaces.create(replace(ORDERS, name=f"ns-{number:02}", partition=number))
    names = [found.name for found in await store.namespaces.page()]
    assert names == [f"ns-{number:02}" for number in range(25)]
    page = await store.namespaces.page(after="ns-09", limit=10)
    assert [found.name for found in page] == names[10:20]
    assert [found.name for found in await store.namespaces.page(prefix="ns-1")] == names[10:20]
    assert [found.partition for found in await store.namespaces.in_partitions([3, 7])] == [3, 7]


async def test_a_proxy_has_one_row_and_heartbeats_change_only_when_it_was_seen(store: Store) -> None:
    proxy = Proxy("proxy-001", "127.0.0.1:8980", "eu", "0.1.0", "healthy", ("keyvalue",), {"rack": "7"})
    await store.proxies.upsert(proxy)
    await store.proxies.upsert(replace(proxy, status="unhealthy"))
    assert [found.status for found in await store.proxies.list()] == ["unhealthy"]
    later = datetime.now(UTC) + timedelta(seconds=5)
    await store.proxies.seen({"proxy-001": later})
    found = await store.proxies.get("proxy-001")
    assert (found.last_seen, found.status) == (later, "healthy")
    assert (found.address, found.version, found.metadata, found.capabilities) == (
        proxy.address, proxy.version, proxy.metadata, proxy.capabilities)
    with pytest.raises(NotFoundError, match="proxy not found: proxy-002"):
        await store.proxies.get("proxy-002")


async def test_the_partition_map_changes_only_from_the_revision_that_was_read(store: Store) -> None:
    assert await store.proxies.load_map() == (0, {})
    await store.namespaces.create(ORDERS)
    assert await store.proxies.save_map(0, dict.fromkeys(range(256), "proxy-01")) == 1
    with pytest.raises(ConflictError, match="no longer at revision 0"):
        await store.proxies.save_map(0, {1: "proxy-02"})
    assert await store.proxies.save_map(1, {238: "proxy-02", 5: None}) == 2
    revision, owners = await store.proxies.load_map()
    assert (revision, owners[238], 5 in owners) == (2, "proxy-02", False)
    assert (await store.namespaces.get("orders")).assigned_proxy == "proxy-02"


async def test_a_pattern_of_a_missing_namespace_is_refused(store: Store) -> None:
    with pytest.raises(IntegrityError):
        async with store.engine.begin() as connection:
            await connection.execute(text(
                "INSERT INTO patterns (pattern_id, pattern_type, namespace) VALUES ('p', 'keyvalue', 'missing')"))


def entry(**values: object) -> Entry:
    return Entry("CreateNamespace", "namespace", datetime.now(UTC), **values)  # type: ignore[arg-type]


async def test_audit_is_queried_by_namespace_user_and_time(store: Store) -> None:
    audit = Audit(store.engine, b"key")
    audit.start()
    before = datetime.now(UTC)
    audit.log(entry(namespace="test-ns", user="ada", request_body={"a": [1]}))
    audit.log(entry(namespace="other", user="bob"))
    await audit.flush()
    assert [found.namespace for _, found in await audit.query(namespace="test-ns")] == ["test-ns"]
    assert [found.namespace for _, found in await audit.query(limit=10)] == ["other", "test-ns"]
    assert [found.user for _, found in await audit.query(user="bob")] == ["bob"]
    assert len(await audit.query(start=before, limit=10)) == 2
    assert await audit.query(end=before) == []
    newest, _ = (await audit.query(limit=1))[0]
    assert [found.user for _, found in await audit.query(before=newest)] == ["ada"]
    await audit.close()


async def test_an_audit_entry_changed_by_hand_is_found_also_after_a_restart(store: Store) -> None:
    for _ in range(2):
        audit = Audit(store.engine, b"key")
        audit.start()
        for number in range(10):
            audit.log(entry(resource_id=str(number)))
        await audit.close()
    assert await audit.verify() is None
    ids = [found for found, _ in await audit.query()]
    async with store.engine.begin() as connection:
        await connection.execute(text("UPDATE audit_logs SET error = 'x' WHERE id = :id").bindparams(id=ids[4]))
    assert await audit.verify() == ids[4]
    async with store.engine.begin() as connection:
        await connection.execute(text("UPDATE audit_logs SET error = '' WHERE id = :id").bindparams(id=ids[4]))
        await connection.execute(text("DELETE FROM audit_logs WHERE id = :id").bindparams(id=ids[9]))
    assert await audit.verify() == ids[8]


async def test_audit_that_cannot_be_written_is_counted(store: Store) -> None:
    audit = Audit(store.engine, b"key")
    audit.start()
    async with store.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE audit_logs RENAME TO elsewhere"))
    audit.log(entry())
    await audit.flush()
    assert audit.failures == 1
    async with store.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE elsewhere RENAME TO audit_logs"))
    audit.log(entry())
    await audit.close()
    assert len(await audit.query()) == 1


async def test_an_entry_that_the_database_refuses_costs_no_other(store: Store) -> None:
    audit = Audit(store.engine, b"key")
    async with store.engine.begin() as connection:
        await connection.execute(text("CREATE UNIQUE INDEX once ON audit_logs (path)"))
    for number in range(20):
        audit.log(entry(path="twice" if number in (3, 4, 17) else str(number)))
    audit.start()  # all in one batch
    await audit.close()
    assert audit.failures == 2
    assert [found.path for _, found in reversed(await audit.query())] == [
        "twice" if number == 3 else str(number) for number in range(20) if number not in (4, 17)]
    assert await audit.verify() is None


async def test_old_audit_entries_are_swept(store: Store) -> None:
    audit = Audit(store.engine, b"key")
    audit.start()
    audit.log(replace(entry(), timestamp=datetime.now(UTC) - timedelta(days=91)))
    audit.log(entry())
    await audit.flush()
    assert await audit.sweep() == 1
    assert await audit.verify() is None
    await audit.close()


async def test_many_writers_and_readers_never_meet_a_locked_database(store: Store) -> None:
    until = time.monotonic() + 1.5

    async def write(lane: int) -> int:
        count = 0
        while time.monotonic() < until:
            await store.namespaces.create(replace(ORDERS, name=f"w{lane}-{count}"))
            count += 1
        return count

    async def read() -> int:
        while time.monotonic() < until:
            await store.namespaces.page(limit=10)
        return 0

    counts = await asyncio.gather(*(write(lane) for lane in range(8)), *(read() for _ in range(32)))
    assert len(await store.namespaces.page()) == sum(counts) > 0


async def test_a_database_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        await open_store(parse("postgresql://ada:secret@127.0.0.1:9/prism"))
    assert "postgresql://ada@127.0.0.1:9/prism" in str(caught.value)
    assert "secret" not in str(caught.value)
    (tmp_path / "file.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match=r"file\.db: file is not a database"):
        await open_store(parse(f"sqlite:///{tmp_path / 'file.db'}"))


async def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    store = await open_store(parse(f"sqlite:///{tmp_path / 'deep' / 'admin.db'}"))
    async with store.engine.connect() as connection:
        found = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
                 for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")]
    assert found == ["wal", 2, 1, 5000]
    await store.close()
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700
    assert sqlite3.connect(tmp_path / "deep" / "admin.db").execute("SELECT version FROM schema_version").fetchall() == [
        (1,), (2,), (3,), (4,), (5,)]
