"""The SQLite driver beyond its contract: batches, bounds, failing disks, restarts, and who may have the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.contracts.driver import Health
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.standard import make_driver
from prism_proxy.testing.clock import FakeClock
from tests.support.expiring import set_expiring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@contextlib.asynccontextmanager
async def opened(path: Path, clock: FakeClock | None = None, **settings: Any) -> AsyncIterator[SqliteDriver]:
    config = SqliteConfig(str(path), **settings)
    driver = SqliteDriver(config, clock.nanoseconds) if clock else SqliteDriver(config)
    await driver.open()
    try:
        yield driver
    finally:
        await driver.drain(5)
        await driver.close()


def detail(driver: SqliteDriver, name: str) -> int:
    return int(driver.health().details[name])


@contextlib.contextmanager
def writer_held(driver: SqliteDriver) -> Iterator[None]:
    """The writer is busy inside a request until the block ends."""
    leave = threading.Event()

    def hold(session: object) -> None:
        assert leave.wait(30)

    holding = asyncio.ensure_future(driver._writer.submit(hold, 1))
    try:
        yield
    finally:
        leave.set()
        holding.add_done_callback(asyncio.Future.exception)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def outcome(call: Any) -> PrismError | None:
    try:
        await call
    except PrismError as error:
        return error
    return None


async def failure(call: Any) -> PrismError:
    with pytest.raises(PrismError) as caught:
        await call
    return caught.value


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    {"path": ""}, {"path": ":memory:"}, {"path": "file:x"}, {"path": "x", "durability": "some"},
    {"path": "x", "readers": 0}, {"path": "x", "max_bytes": -1}, {"path": "x", "max_queued": 0}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^(path|durability|readers|max_bytes|max_queued) is "):
        SqliteConfig(**settings)


async def test_the_standard_list_makes_it_and_status_names_the_durability(path: Path) -> None:
    assert make_driver("sqlite", SqliteConfig(str(path))).declaration.durability == "synced"
    async with opened(path, durability="checkpointed") as driver:
        assert driver.declaration.durability == "checkpointed"
        report = driver.health()
        assert report.status is Health.HEALTHY
        assert "checkpointed" in report.message
        assert report.details["durability"] == "checkpointed"


@pytest.mark.parametrize(("durability", "expected"), [("synced", 2), ("checkpointed", 1)])
async def test_durability_is_what_sqlite_is_told(path: Path, durability: Any, expected: int) -> None:
    async with opened(path, durability=durability) as driver:
        asked = await driver._writer.submit(
            lambda session: session.connection.execute("PRAGMA synchronous").fetchone()[0], 1)
        mode = await driver._writer.submit(
            lambda session: session.connection.execute("PRAGMA journal_mode").fetchone()[0], 1)
    assert (asked, mode) == (expected, "wal")


# --- batches ----------------------------------------------------------------------------------------------------------


async def test_writers_that_wait_share_a_commit(path: Path) -> None:
    async with opened(path) as driver:
        with writer_held(driver):
            waiting = [asyncio.ensure_future(driver.set(b"k%d" % index, b"v")) for index in range(500)]
            await asyncio.sleep(0)
            assert not any(write.done() for write in waiting)
        await asyncio.gather(*waiting)
        assert await driver.count(b"k") == 500
        assert detail(driver, "commits") <= 3
        assert detail(driver, "writes") == 501


async def test_a_writer_alone_does_not_wait_for_company(path: Path) -> None:
    async with opened(path) as driver:
        for index in range(5):
            await driver.set(b"k", b"%d" % index)
        assert detail(driver, "commits") == 5


async def test_a_request_that_fails_leaves_its_batch_alone(path: Path) -> None:
    def broken(session: Any) -> None:
        session.put(b"half", b"done")
        raise ValueError("on purpose")

    async with opened(path) as driver:
        with writer_held(driver):
            before = asyncio.ensure_future(driver.set(b"before", b"v"))
            failing = asyncio.ensure_future(driver._writer.submit(broken, 1))
            after = asyncio.ensure_future(driver.set(b"after", b"v"))
            await asyncio.sleep(0)
        await before
        await after
        with pytest.raises(ValueError, match="on purpose"):
            await failing
        assert await driver.batch_get([b"before", b"half", b"after"]) == [b"v", None, b"v"]
        assert detail(driver, "commits") <= 2


async def test_a_commit_that_fails_fails_every_member_and_none_is_applied(path: Path) -> None:
    def no_commit(session: Any) -> None:
        session.connection.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        session.connection.execute("CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        session.connection.execute("INSERT INTO child VALUES (1)")

    async with opened(path) as driver:
        await driver._writer.submit(lambda session: None, 1)
        driver._writer.committer._connection.execute("PRAGMA foreign_keys=1")  # type: ignore[union-attr]
        with writer_held(driver):
            members = [asyncio.ensure_future(driver.set(b"k%d" % index, b"v")) for index in range(3)]
            members.append(asyncio.ensure_future(driver._writer.submit(no_commit, 1)))
            await asyncio.sleep(0)
        results = await asyncio.gather(*members, return_exceptions=True)
        assert all(isinstance(result, sqlite3.IntegrityError) for result in results), results
        assert await driver.count(b"") == 0
        await driver.set(b"next", b"v")


async def test_a_caller_that_gives_up_loses_nobody_else_s_write(path: Path) -> None:
    async with opened(path) as driver:
        with writer_held(driver):
            writes = [asyncio.ensure_future(driver.set(b"k%d" % index, b"v")) for index in range(10)]
            await asyncio.sleep(0)
            for write in writes[::2]:
                write.cancel()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 5
        assert await driver.count(b"k") == 10  # queued writes are done: never half of them
        await driver.drain(5)
        assert detail(driver, "queued") == 0


async def test_full_queues_push_back(path: Path) -> None:
    async with opened(path, max_queued=3, max_queued_bytes=10_000) as driver:
        with writer_held(driver):
            waiting = [asyncio.ensure_future(driver.set(b"k%d" % index, b"v")) for index in range(2)]
            await asyncio.sleep(0)
            refused = await failure(driver.set(b"k", b"v"))
        await asyncio.gather(*waiting)
        assert (refused.code, refused.reason) == (StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
        assert refused.retry_after
        assert refused.metadata["outcome"] == "not_executed"
        with writer_held(driver):
            large = asyncio.ensure_future(driver.set(b"large", bytes(9_000)))
            await asyncio.sleep(0)
            assert (await failure(driver.set(b"k", bytes(2_000)))).reason == "QUEUE_FULL"
        await large
        await driver.drain(5)
        await driver.set(b"larger than the queue, but alone", bytes(20_000))


async def test_reads_do_not_wait_for_the_writer(path: Path) -> None:
    async with opened(path) as driver:
        await driver.set(b"k", b"old")
        with writer_held(driver):
            write = asyncio.ensure_future(driver.set(b"k", b"new"))
            async with asyncio.timeout(10):
                assert await driver.get(b"k") == b"old"
                assert await driver.count(b"") == 1
            assert not write.done()
        await write
        assert await driver.get(b"k") == b"new"


# --- order, versions, expiry ------------------------------------------------------------------------------------------


async def test_a_read_that_is_refused_gives_its_connection_back(path: Path) -> None:
    connections = []

    def refuse(connection: sqlite3.Connection) -> None:
        connections.append(connection)
        raise ValueError("the caller asked for too much")

    async with opened(path, readers=1) as driver:
        for _ in range(3):
            with pytest.raises(ValueError, match="too much"):
                await driver._readers.run(refuse)
    assert len({id(connection) for connection in connections}) == 1


async def test_scans_are_bytewise_and_see_each_key_once(path: Path) -> None:
    keys = [b"a", b"a\x00", b"a\xff", b"a\xff\xff", b"a\xffb", b"b", b"\xff", b"\xff\xff", b"B", "é".encode()]
    async with opened(path) as driver:
        await driver.batch_set([(key, key) for key in keys])
        for prefix in (b"", b"a", b"a\xff", b"\xff", b"\xff\xff", b"c"):
            found: list[bytes] = []
            cursor = None
            while True:
                page = await driver.scan(prefix, cursor, 2, values=True)
                found += [key for key, value in page.items if key == value]
                cursor = page.cursor
                if cursor is None:
                    break
            assert found == sorted(key for key in keys if key.startswith(prefix))
            assert await driver.count(prefix) == len(found)


async def test_pages_of_large_values_are_short(path: Path) -> None:
    async with opened(path) as driver:
        for index in range(5):
            await driver.set(b"k%d" % index, bytes(900_000))
        page = await driver.scan(b"", None, 100, values=True)
        assert len(page.items) == 2
        assert page.cursor is not None


async def test_versions_never_repeat_over_restarts(path: Path) -> None:
    seen = []
    for _ in range(3):
        async with opened(path) as driver:
            for _ in range(3):
                await driver.set(b"k", b"v")
                seen.append((await driver.get_versioned(b"k"))[1])
                await driver.delete(b"k")
    assert seen == sorted(set(seen))


async def test_expiry_passes_while_nothing_runs(path: Path) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        await set_expiring(driver, b"short", b"v", 10)
        await set_expiring(driver, b"long", b"v", 100)
    await clock.wait(50)
    async with opened(path, clock) as driver:
        assert await driver.batch_get([b"short", b"long"]) == [None, b"v"]
        assert await driver.ttl(b"long") == 50


async def test_expired_keys_are_deleted_in_the_background(path: Path) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        await asyncio.gather(*(set_expiring(driver, b"k%d" % index, b"v", 10) for index in range(1200)))
        await driver.set(b"stays", b"v")
        await clock.wait(11)
        assert await driver.count(b"") == 1
        await until(lambda: detail(driver, "expired_deleted") == 1200)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT key FROM kv").fetchall() == [(b"stays",)]


# --- whose file it is -------------------------------------------------------------------------------------------------


async def test_a_second_process_is_refused(path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from prism_proxy.backends.sqlite.config import SqliteConfig\n"
        "from prism_proxy.backends.sqlite.driver import SqliteDriver\n"
        "asyncio.run(SqliteDriver(SqliteConfig(sys.argv[1])).open())\n")
    async with opened(path) as driver:
        await driver.set(b"k", b"v")
        second = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=30)
        assert second.returncode == 1
        assert "STORE_IN_USE" in second.stderr
        assert f"in use by process {os.getpid()}" in second.stderr
        assert (await failure(SqliteDriver(SqliteConfig(str(path))).open())).code is StatusCode.FAILED_PRECONDITION
        assert await driver.get(b"k") == b"v"
    async with opened(path) as driver:
        assert await driver.get(b"k") == b"v"


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    assert (await failure(SqliteDriver(SqliteConfig(str(path))).open())).reason == "STORE_FORMAT"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == ["theirs"]


async def test_a_file_that_is_no_database_is_said_to_be_damaged(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)
    async with opened(path) as driver:
        assert (await failure(driver.set(b"k", b"v"))).reason == "STORE_CORRUPT"
        assert driver.health().status is Health.UNHEALTHY


# --- disks that fail --------------------------------------------------------------------------------------------------


async def test_a_missing_folder_is_unavailable_until_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "mounted later"
    async with opened(folder / "store.db") as driver:
        assert driver.health().status is Health.UNHEALTHY
        refused = await failure(driver.set(b"k", b"v"))
        assert (refused.code, refused.reason) == (StatusCode.UNAVAILABLE, "STORE_CANNOT_OPEN")
        assert refused.metadata["outcome"] == "not_executed"
        assert refused.retry_after
        with pytest.raises(PrismError) as caught:
            await driver.get(b"k")
        assert (caught.value.code, caught.value.reason) == (StatusCode.UNAVAILABLE, "STORE_CANNOT_OPEN")
        folder.mkdir()
        await until(lambda: driver.health().status is Health.HEALTHY)
        await driver.set(b"k", b"v")
        assert await driver.get(b"k") == b"v"


async def test_a_full_store_refuses_and_recovers(path: Path) -> None:
    async with opened(path, max_bytes=1024 * 1024) as driver:
        results = [await outcome(driver.set(b"k%d" % index, bytes(50_000))) for index in range(30)]
        stored = results.count(None)
        full = results[-1]
        assert full is not None
        assert (full.code, full.reason) == (StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
        assert full.metadata["outcome"] == "not_executed"
        assert 10 < stored < 21
        assert not any(results[:stored])
        assert driver.health().status is Health.DEGRADED
        assert await driver.count(b"") == stored
        await driver.batch_delete([b"k%d" % index for index in range(5)])
        assert driver.health().status is Health.HEALTHY
        await driver.set(b"again", bytes(50_000))


async def test_a_write_that_finds_no_room_leaves_its_batch_alone(path: Path) -> None:
    async with opened(path, max_bytes=1024 * 1024) as driver:
        with writer_held(driver):
            small = asyncio.ensure_future(driver.set(b"small", b"v"))
            large = asyncio.ensure_future(driver.set(b"large", bytes(2 * 1024 * 1024)))
            last = asyncio.ensure_future(driver.set(b"last", b"v"))
            await asyncio.sleep(0)
        await small
        await last
        assert (await failure(large)).reason == "STORE_FULL"
        assert await driver.batch_get([b"small", b"large", b"last"]) == [b"v", None, b"v"]


@contextlib.contextmanager
def failing_writes(limit: int) -> Iterator[None]:
    """Every write beyond `limit` bytes of a file fails, by any writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_an_io_error_fails_the_batch_and_the_file_is_opened_again(path: Path) -> None:
    async with opened(path) as driver:
        await driver.set(b"before", b"v")
        with failing_writes(64 * 1024):
            writes = [asyncio.ensure_future(driver.set(b"k%d" % index, bytes(100_000))) for index in range(3)]
            errors = [await failure(write) for write in writes]
            assert {error.code for error in errors} == {StatusCode.UNAVAILABLE}
            assert errors[0].reason == "STORE_IO_ERROR"
            assert errors[0].metadata["outcome"] in ("unknown", "not_executed")
            assert (errors[0].retry_after is None) == (errors[0].metadata["outcome"] == "unknown")
            assert await driver.get(b"before") == b"v"
        await until(lambda: driver.health().status is Health.HEALTHY)
        assert detail(driver, "opened") >= 2
        assert await driver.count(b"k") == 0
        await driver.set(b"after", bytes(100_000))
    async with opened(path) as driver:
        assert await driver.batch_get([b"before", b"after"]) == [b"v", bytes(100_000)]
        assert await driver.count(b"") == 2


# --- checkpoints, life ------------------------------------------------------------------------------------------------


async def test_the_log_is_copied_beside_the_writers_and_stays_bounded(path: Path) -> None:
    async with opened(path, durability="checkpointed") as driver:
        rounds = 0
        # How many rounds fit between two checkpoints depends on the machine; the log must not grow with all of them.
        while rounds < 40 or detail(driver, "checkpoints") < 2:
            await asyncio.gather(*(driver.set(b"k%d" % index, bytes(50_000)) for index in range(20)))
            rounds += 1
        await until(lambda: driver._writer.checkpointer.idle)
        assert path.with_name("store.db-wal").stat().st_size < rounds * 20 * 50_000
    assert not path.with_name("store.db-wal").exists()  # all is copied at the end


async def test_after_close_everything_is_refused_and_what_was_queued_is_done(path: Path) -> None:
    driver = SqliteDriver(SqliteConfig(str(path)))
    await driver.open()
    queued = [asyncio.ensure_future(driver.set(b"k%d" % index, b"v")) for index in range(50)]
    await asyncio.sleep(0)
    await driver.close()
    await asyncio.gather(*queued)
    for call in (driver.set(b"k", b"v"), driver.get(b"k")):
        assert (await failure(call)).reason == "STORE_CLOSED"
    await driver.close()
    async with opened(path) as again:
        assert await again.count(b"k") == 50
