"""The SQLite backend on a real disk that is full, or read-only: what callers hear, and that it comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.contracts.driver import Health
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.testing.clock import FakeClock
from tests.support.expiring import set_expiring

MIB = 1024 * 1024


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def refusal(driver: SqliteDriver, key: bytes, value: bytes) -> PrismError | None:
    try:
        await driver.set(key, value)
    except PrismError as error:
        return error
    return None


async def healthy(driver: SqliteDriver) -> None:
    async with asyncio.timeout(20):
        while driver.health().status is not Health.HEALTHY:
            await asyncio.sleep(0.01)


async def test_a_full_disk_refuses_writes_keeps_reads_and_recovers(disk: Path) -> None:
    filler = disk / "filler"
    driver = SqliteDriver(SqliteConfig(str(disk / "store.db")))
    await driver.open()
    try:
        await driver.set(b"before", b"v")
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        results = [await refusal(driver, b"k%d" % index, bytes(200_000)) for index in range(4)]
        full = results[-1]
        assert full is not None
        assert (full.code, full.reason) == (StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")
        assert (full.retry_after is None) or full.metadata["outcome"] == "not_executed"
        assert driver.health().status is Health.DEGRADED
        assert await driver.get(b"before") == b"v"
        filler.unlink()
        await driver.set(b"after", bytes(200_000))
        await healthy(driver)
        assert await driver.batch_get([b"before", b"after"]) == [b"v", bytes(200_000)]
    finally:
        await driver.close()


async def test_a_disk_filled_by_the_store_itself_serves_again_after_deletions(disk: Path) -> None:
    driver = SqliteDriver(SqliteConfig(str(disk / "store.db"), max_bytes=int(1.5 * MIB)))
    await driver.open()
    try:
        results = [await refusal(driver, b"k%d" % index, bytes(100_000)) for index in range(40)]
        assert results.count(None) >= 10
        assert {error.reason for error in results if error} == {"STORE_FULL"}
        await driver.delete(b"k0")
        await driver.set(b"again", bytes(90_000))
    finally:
        await driver.close()


async def test_a_read_only_disk_is_unavailable_until_it_is_writable(disk: Path) -> None:
    config = SqliteConfig(str(disk / "store.db"))
    driver = SqliteDriver(config)
    await driver.open()
    await driver.set(b"k", b"old")
    await driver.close()
    await asyncio.to_thread(mount, "-o", "remount,ro", str(disk))
    driver = SqliteDriver(config)
    await driver.open()
    try:
        error = await refusal(driver, b"k", b"new")
        assert error is not None
        assert (error.code, error.metadata["outcome"]) == (StatusCode.UNAVAILABLE, "not_executed")
        assert "Read-only" in error.message
        with pytest.raises(PrismError, match="Read-only"):
            await driver.get(b"k")  # a reader of a file that is not locked would keep this process from its lock
        assert driver.health().status is Health.UNHEALTHY
        await asyncio.to_thread(mount, "-o", "remount,rw", str(disk))
        await healthy(driver)
        await driver.set(b"k", b"new")
        assert await driver.get(b"k") == b"new"
    finally:
        await driver.close()


# --- room that is kept for what frees room ------------------------------------------------------------------------

FILLER = """
import asyncio, sys
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.errors import PrismError

async def main():
    driver = SqliteDriver(SqliteConfig(sys.argv[1]))
    await driver.open()
    stored = 0
    try:
        while True:
            await driver.set(b"k%d" % stored, bytes(20_000))
            stored += 1
    except PrismError as error:
        print(error.reason, stored, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def fill(disk: Path) -> None:
    """Another program takes whatever is left."""
    for size in (65536, 4096, 512):
        with (disk / f"filler.{size}").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(size)) == size:
                pass


async def fill_by_itself(driver: SqliteDriver) -> int:
    for index in range(1000):
        if await refusal(driver, b"k%d" % index, bytes(20_000)) is not None:
            return index
    raise AssertionError("the disk never got full")


async def leaves_the_full_disk(driver: SqliteDriver, stored: int) -> None:
    """Deletions work one by one and together, and then there is room for new values without the file growing."""
    assert stored > 20
    for index in range(3):
        assert await driver.delete(b"k%d" % index)
    assert all(await driver.batch_delete([b"k%d" % index for index in range(3, 20)]))
    assert await driver.expire(b"k20", 0)
    async with asyncio.timeout(20):
        while await refusal(driver, b"again", bytes(20_000)) is not None:
            await asyncio.sleep(0.05)
    assert await driver.get(b"again") == bytes(20_000)
    assert await driver.get(b"k21") == bytes(20_000)
    assert await driver.count(b"k") == stored - 21


async def test_a_disk_that_the_store_filled_is_left_by_deletions(disk: Path) -> None:
    driver = SqliteDriver(SqliteConfig(str(disk / "store.db")))
    await driver.open()
    try:
        await leaves_the_full_disk(driver, await fill_by_itself(driver))
    finally:
        await driver.close()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_disk_that_others_filled_is_left_by_deletions(disk: Path, restart: bool) -> None:
    config = SqliteConfig(str(disk / "store.db"))
    driver = SqliteDriver(config)
    await driver.open()
    try:
        for index in range(40):
            await driver.set(b"k%d" % index, bytes(20_000))
        fill(disk)
        full = [await refusal(driver, b"more", bytes(20_000)) for _ in range(20)][-1]
        assert full is None or full.reason == "STORE_FULL"
        if restart:
            await driver.close()
            fill(disk)
            driver = SqliteDriver(config)
            await driver.open()
        await leaves_the_full_disk(driver, 40)
    finally:
        await driver.close()


async def test_a_start_on_a_disk_that_was_full_at_a_kill_serves_deletions(disk: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FILLER, str(disk / "store.db"), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    reason, stored = (await process.stdout.readline()).split()
    process.kill()
    await process.wait()
    assert reason == b"STORE_FULL"
    fill(disk)
    driver = SqliteDriver(SqliteConfig(str(disk / "store.db")))
    await driver.open()
    try:
        await leaves_the_full_disk(driver, int(stored))
    finally:
        await driver.close()


async def test_expired_keys_leave_a_full_disk(disk: Path) -> None:
    clock = FakeClock()
    driver = SqliteDriver(SqliteConfig(str(disk / "store.db")), clock.nanoseconds)
    await driver.open()
    try:
        for index in range(30):
            await set_expiring(driver, b"short%d" % index, bytes(20_000), 10)
        await fill_by_itself(driver)
        fill(disk)
        await clock.wait(20)
        async with asyncio.timeout(20):
            while driver.health().details["expired_deleted"] != "30":
                await asyncio.sleep(0.05)
    finally:
        await driver.close()


async def test_a_store_full_by_its_own_limit_is_left_by_deletions_of_any_kind(disk: Path) -> None:
    driver = SqliteDriver(SqliteConfig(str(disk / "store.db"), max_bytes=MIB))
    await driver.open()
    try:
        await leaves_the_full_disk(driver, await fill_by_itself(driver))
    finally:
        await driver.close()
