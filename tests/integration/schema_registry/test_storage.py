"""What is registered stays, in SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, text

from prism_runtime.storage.database_url import parse
from prism_runtime.storage.engine import make_engine, migrate, open_engine, version
from prism_runtime.storage.errors import StorageError
from prism_schema import SchemaKind
from prism_schema_registry.errors import RegistryError
from prism_schema_registry.model import Draft
from prism_schema_registry.registry import Registry
from prism_schema_registry.storage.sql import SqlStore
from prism_schema_registry.storage.tables import LAYOUT
from prism_schema_registry.subjects import Subject
from tests.services.schema_registry import Rest, record, registry_process


async def test_everything_is_there_after_a_restart(database: str) -> None:
    reference = {"name": "Customer", "subject": "customer", "version": 1}
    order = {"type": "record", "name": "Order", "fields": [{"name": "buyer", "type": "Customer"}]}
    paths = ("/subjects?deleted=true", "/subjects/order/versions/1", "/subjects/gone/versions?deleted=true",
             "/schemas/ids/2", "/config", "/config/order", "/mode/order", "/contexts",
             "/subjects/customer/versions/1/referencedby", "/subjects/:.team:a/versions/latest")
    before = await registry_process("--db", database).start()
    async with Rest(before.url) as rest:
        await rest.register("customer", record("Customer", "name"))
        await rest.register("order", order, references=[reference], metadata={"properties": {"owner": "shop"}})
        await rest.register("gone", '"string"')
        await rest.delete("/subjects/gone")
        await rest.register(":.team:a", '"int"')
        await rest.put("/config", {"compatibility": "FULL", "normalize": True})
        await rest.put("/config/order", {"compatibility": "NONE", "piiValidation": "warn"})
        await rest.put("/mode/order", {"mode": "READONLY"})
        told = [await rest.get(path) for path in paths]
        assert [status for status, _ in told] == [200] * len(paths)
    assert await before.stop() == 0
    after = await registry_process("--db", database).start()
    async with Rest(after.url) as rest:
        assert [await rest.get(path) for path in paths] == told
        assert (await rest.register("gone", '"string"'))[1]["version"] == 2
    assert await after.stop() == 0


async def test_ids_of_what_is_gone_are_not_given_again_after_a_restart(database: str) -> None:
    for expected in (1, 2, 3):
        process = await registry_process("--db", database).start()
        async with Rest(process.url) as rest:
            assert (await rest.register("a", '"string"'))[1]["id"] == expected
            await rest.delete("/subjects/a")
            assert await rest.delete("/subjects/a?permanent=true") == (200, [1])
        assert await process.stop() == 0


async def test_migrations_make_the_tables_that_a_new_database_has(database: str) -> None:
    engine = await open_engine(parse(database), LAYOUT)
    try:
        async with engine.connect() as connection:
            made = await connection.run_sync(_shape)
            await connection.run_sync(migrate, LAYOUT, "base")
            assert await connection.run_sync(version, LAYOUT) == 0
            await connection.run_sync(migrate, LAYOUT, "head")
            assert await connection.run_sync(_shape) == made
            rows = (await connection.execute(text("SELECT name, value FROM registry_counters"))).all()
            assert [tuple(row) for row in rows] == [("id", 0)]
    finally:
        await engine.dispose()


def _shape(connection: Any) -> dict[str, Any]:
    found = MetaData()
    found.reflect(connection)
    return {name: ([(column.name, str(column.type), column.nullable, column.primary_key) for column in table.columns],
                   sorted(index.name or "" for index in table.indexes)) for name, table in found.tables.items()}


async def test_one_database_is_the_admins_and_the_registrys(urn: str) -> None:
    """Their tables, and the records of their migrations, have names of their own."""
    from prism_admin.storage.engine import LAYOUT as ADMIN

    for layout in (ADMIN, LAYOUT, ADMIN):
        engine = await open_engine(parse(urn), layout)
        async with engine.connect() as connection:
            assert await connection.run_sync(version, layout) == layout.latest
        await engine.dispose()


async def test_a_second_registry_on_a_file_is_refused(tmp_path: Path) -> None:
    database = f"sqlite://{tmp_path / 'schemas.db'}"
    first = await registry_process("--db", database).start()
    with pytest.raises(AssertionError, match=r"another prism-schema-registry \(process \d+\) serves this database"):
        await registry_process("--db", database).start()
    assert await first.stop() == 0


async def test_a_second_registry_on_postgresql_waits_and_takes_over(postgres_database: str) -> None:
    first = await registry_process("--db", postgres_database).start()
    async with Rest(first.url) as rest:
        assert (await rest.register("a", '"string"'))[0] == 200
    with pytest.raises(AssertionError, match="another prism-schema-registry"):
        await registry_process("--db", postgres_database, "--no-standby").start()
    waiting = asyncio.create_task(registry_process("--db", postgres_database).start())
    await asyncio.sleep(1)
    assert not waiting.done()
    assert await first.stop() == 0
    second = await waiting
    async with Rest(second.url) as rest:
        assert (await rest.register("b", '"int"'))[1]["id"] == 2
    assert await second.stop() == 0


class Failing(SqlStore):
    """Commits, and then loses the answer, or fails before it commits."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fails = ""

    async def apply(self, changes: Any) -> None:
        if self.fails == "before":
            raise StorageError("the disk is full")
        await super().apply(changes)
        if self.fails == "after":
            raise StorageError("the connection is gone")


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_after_a_failed_commit_nothing_is_decided_before_the_store_was_read(tmp_path: Path, fails: str) -> None:
    engine = await open_engine(parse(f"sqlite://{tmp_path / 'schemas.db'}"), LAYOUT)
    store = Failing(engine, "test")
    registry = Registry(store)
    await registry.open()
    subject = Subject(".", "a")
    try:
        await registry.register(subject, Draft(SchemaKind.AVRO, '"string"'))
        store.fails = fails
        with pytest.raises(RegistryError) as refused:
            await registry.register(subject, Draft(SchemaKind.AVRO, '{"type":"string","doc":"other"}'))
        assert (refused.value.code, refused.value.status) == (50001, 500)
        assert registry.commits.problem
        store.fails = ""
        after = await registry.register(Subject(".", "b"), Draft(SchemaKind.AVRO, '"int"'))
        assert after.schema.id == (3 if fails == "after" else 2)
        assert len(registry.versions(subject)) == (2 if fails == "after" else 1)
        assert not registry.commits.problem
    finally:
        await engine.dispose()


async def test_ten_thousand_subjects_load_in_a_moment(tmp_path: Path) -> None:
    """A restart reads all that is stored; also what one process keeps of it is bounded by what is there."""
    url = f"sqlite://{tmp_path / 'schemas.db'}"
    engine = make_engine(parse(url))
    await (await open_engine(parse(url), LAYOUT)).dispose()
    async with engine.begin() as connection:
        await connection.execute(text(
            "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 10000) "
            "INSERT INTO registry_schemas SELECT '.', value, 'AVRO', '\"string\"', '[]', '{}', printf('%064x', value) "
            "FROM n"))
        await connection.execute(text(
            "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 10000) "
            "INSERT INTO registry_versions SELECT '.', 's' || value, 1, value, 0, 0, '{}' FROM n"))
        await connection.execute(text("UPDATE registry_counters SET value = 10000"))
    await engine.dispose()
    process = await registry_process("--db", url).start()
    async with Rest(process.url) as rest:
        assert (await rest.get("/schemas/ids/10000"))[1] == {"schema": '"string"'}
        assert (await rest.register("new", '"int"'))[1]["id"] == 10001
    assert process.started_s < 5
    assert process.resident_bytes() < 150 * 1024 * 1024
    assert await process.stop() == 0
