"""One SQLite file under several names: served under one of them only, by one driver, without damage to its locks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.errors import PrismError, StatusCode
from prism_runtime.storage.errors import StorageError
from prism_runtime.storage.exclusive import FileLock
from tests.unit.test_sqlite import failure, opened, until

# holds the exclusive lock of a database file for as long as its input is open, as another process would
HOLDER = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def served(path: Path) -> AsyncIterator[SqliteDriver]:
    async with opened(path) as driver:
        await driver.set(b"k", b"v")
        yield driver


async def refusal(path: Path) -> PrismError:
    return await failure(SqliteDriver(SqliteConfig(str(path))).open())


def held_by_sqlite(path: Path) -> bool:
    """Whether another process finds the file locked by a connection in WAL mode, which never lets its lock go."""
    script = ("import fcntl, os, sys\n"
              "fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)\n")
    return subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True).returncode != 0


async def test_a_symbolic_link_to_a_served_file_is_in_use(path: Path, served: SqliteDriver) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    refused = await refusal(link)
    assert (refused.code, refused.reason) == (StatusCode.FAILED_PRECONDITION, "STORE_IN_USE")
    assert str(path) in refused.message
    await served.set(b"after", b"v")
    assert await served.get(b"after") == b"v"


async def test_a_symbolic_link_leads_to_the_file_and_its_log(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    async with opened(link) as driver:
        await driver.set(b"k", b"v")
        assert path.with_name("store.db-wal").exists()
        assert (await refusal(path)).reason == "STORE_IN_USE"
    async with opened(path) as driver:
        assert await driver.get(b"k") == b"v"


async def test_a_file_with_a_second_name_is_refused_naming_it(path: Path) -> None:
    async with opened(path) as driver:
        await driver.set(b"k", b"v")
    os.link(path, path.with_name("hard.db"))
    for name in (path, path.with_name("hard.db")):
        refused = await refusal(name)
        assert (refused.code, refused.reason) == (StatusCode.FAILED_PRECONDITION, "STORE_LINKED")
        assert f"{name} has 2 names" in refused.message
    path.with_name("hard.db").unlink()
    async with opened(path) as driver:
        assert await driver.get(b"k") == b"v"


@pytest.mark.parametrize("spelling", ["/{}", "{}"])
async def test_other_spellings_of_a_path_are_one_file(path: Path, spelling: str) -> None:
    async with opened(Path(spelling.format(path))) as driver:
        await driver.set(b"k", b"v")
        assert (await refusal(path)).reason == "STORE_IN_USE"


async def test_a_refused_second_opening_leaves_the_locks_of_the_first(path: Path, served: SqliteDriver) -> None:
    assert held_by_sqlite(path)
    os.link(path, path.with_name("hard.db"))
    assert (await refusal(path.with_name("hard.db"))).reason == "STORE_LINKED"
    path.with_name("hard.db").unlink()
    path.with_name("link.db").symlink_to(path)
    assert (await refusal(path.with_name("link.db"))).reason == "STORE_IN_USE"
    path.with_name("store.db.lock").unlink()  # what it was is gone: only the lock of the file itself is left
    assert (await refusal(path)).reason == "STORE_IN_USE"
    assert held_by_sqlite(path)


@contextlib.contextmanager
def locked_elsewhere(path: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        yield
        holder.communicate()


async def test_a_lock_of_the_file_itself_is_seen_whatever_the_name(path: Path) -> None:
    async with opened(path):
        pass
    with locked_elsewhere(path):
        assert (await refusal(path)).reason == "STORE_IN_USE"
    async with opened(path):
        pass


async def test_the_lock_outlives_every_connection_and_ends_with_the_driver(path: Path, served: SqliteDriver) -> None:
    assert await served.get(b"k") == b"v"
    await served.close()
    async with opened(path) as again:
        assert await again.get(b"k") == b"v"


@pytest.mark.parametrize("taken", ["removed", "moved", "replaced"])
async def test_a_file_taken_away_is_not_written_to(path: Path, served: SqliteDriver, taken: str) -> None:
    away = path.with_name("away.db")
    path.rename(away)
    if taken == "removed":
        away.unlink()
    elif taken == "replaced":
        path.write_bytes(b"")
    await until(lambda: "moved, replaced or removed" in served.health().message)
    refused = await failure(served.set(b"lost", b"v"))
    assert (refused.code, refused.reason, refused.metadata["outcome"]) == (
        StatusCode.UNAVAILABLE, "STORE_REPLACED", "not_executed")
    if taken == "moved":
        away.rename(path)
        await until(lambda: served.health().message.startswith("durability"))
        await served.set(b"kept", b"v")


async def test_a_file_a_move_brings_is_held_to_the_same(path: Path) -> None:
    """The target of a move opens its file as any driver does, before anything is emptied."""
    async with opened(path) as driver:
        await driver.set(b"k", b"v")
    target = path.with_name("target.db")
    os.link(path, target)
    assert (await refusal(target)).reason == "STORE_LINKED"
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM kv").fetchone() == (1,)
    connection.close()


def test_the_admin_refuses_second_names_and_sees_links(path: Path) -> None:
    first = FileLock(path)
    first.acquire()
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(StorageError, match=f"another prism-admin .process {os.getpid()}. serves this database"):
        FileLock(link).acquire()
    first.close()
    hard = path.with_name("hard.db")
    os.link(path, hard)
    for name in (path, hard):
        with pytest.raises(StorageError, match="has 2 names"):
            FileLock(name).acquire()


async def test_a_proxy_does_not_serve_the_file_of_an_admin(path: Path) -> None:
    admin = FileLock(path)
    admin.acquire()
    try:
        assert (await refusal(path)).reason == "STORE_IN_USE"
    finally:
        admin.close()
