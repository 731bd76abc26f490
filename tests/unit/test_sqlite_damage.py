"""Damage to a SQLite file: never served as data, told by key, by `verify` and in health; formats of other releases."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.__main__ import main
from prism_proxy._native.sqlite.row_sum import crc32c, crc32c_portable
from prism_proxy.backends.sqlite import schema
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.backends.sqlite.header import FORMAT
from prism_proxy.contracts.driver import Health
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.queue.contract import QueueItem
from prism_proxy.models.stream.contract import NewRecord
from prism_proxy.testing.clock import FakeClock
from tests.support.expiring import set_expiring
from tests.unit.test_sqlite import failure, opened, until

FORMAT_1 = Path(__file__).parent.parent / "fixtures" / "sqlite" / "format_1.sql"
KEYS = {b"key:%03d" % number: (b"value %03d " % number) * 20 for number in range(150)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def filled(path: Path, items: dict[bytes, bytes] = KEYS) -> None:
    async with opened(path) as driver:
        await driver.batch_set(list(items.items()))


@contextlib.contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def flip_within(path: Path, content: bytes) -> None:
    """A bit of the only place in the file where this stands."""
    data = path.read_bytes()
    assert data.count(content) == 1
    flip(path, data.index(content) + len(content) // 2)


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(path)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "expected"), [
    (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
    (b"", 0)])
def test_crc32c_is_castagnoli_s_on_every_processor(data: bytes, expected: int) -> None:
    assert crc32c(data) == crc32c_portable(data) == expected


async def test_a_flipped_bit_is_data_loss_of_its_key_alone(path: Path) -> None:
    await filled(path)
    flip_within(path, KEYS[b"key:070"])
    async with opened(path) as driver:
        reads: list[Any] = [
            driver.get(b"key:070"), driver.get_versioned(b"key:070"),
            driver.scan(b"key:07", None, 10, values=True), driver.compare_and_swap(b"key:070", None, b"new"),
            driver.compare_and_delete(b"key:070", KEYS[b"key:070"])]
        for read in reads:
            lost = await failure(read)
            assert (lost.code, lost.reason) == (StatusCode.DATA_LOSS, "ROW_DAMAGED")
            assert "'key:070'" in lost.message
        whole, damaged, missing = await driver.batch_get([b"key:001", b"key:070", b"key:none"])
        assert (whole, missing) == (KEYS[b"key:001"], None)
        assert isinstance(damaged, PrismError)
        assert (damaged.code, damaged.reason) == (StatusCode.DATA_LOSS, "ROW_DAMAGED")
        others = [key for key in KEYS if key != b"key:070"]
        assert await driver.batch_get(others) == [KEYS[key] for key in others]
        report = driver.health()
        assert (report.status, report.details["damaged_reads"]) == (Health.DEGRADED, "6")
        assert "'key:070'" in report.details["last_damage"]
        await driver.set(b"key:070", b"written again")
        assert await driver.get(b"key:070") == b"written again"


async def test_a_damaged_key_can_be_deleted(path: Path) -> None:
    await filled(path)
    flip_within(path, KEYS[b"key:070"])
    async with opened(path) as driver:
        assert await driver.delete(b"key:070")
        assert await driver.get(b"key:070") is None
        assert await driver.count(b"") == len(KEYS) - 1


@pytest.mark.parametrize("column", ["version", "expires"])
async def test_what_belongs_to_a_value_is_checked_with_it(path: Path, column: str) -> None:
    """What a damaged version or expiry would decide, without the value being read."""
    clock = FakeClock()
    async with opened(path, clock) as driver:
        await set_expiring(driver, b"k", b"v", 1000)
    with database(path) as connection:
        connection.execute(f"UPDATE kv SET {column} = {column} - 1024")
    async with opened(path, clock) as driver:
        reads: list[Any] = [
            driver.get(b"k"), driver.exists(b"k"), driver.ttl(b"k"), driver.scan(b"", None, 10, values=False),
            driver.expire(b"k", 5), driver.persist(b"k")]
        for read in reads:
            assert (await failure(read)).reason == "ROW_DAMAGED"


async def test_an_expiry_that_is_damaged_deletes_nothing(path: Path) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        await set_expiring(driver, b"kept", b"v", 1000)
        await set_expiring(driver, b"gone", b"v", 10)
    with database(path) as connection:
        connection.execute("UPDATE kv SET expires = 1 WHERE key = ?", (b"kept",))
    await clock.wait(20)
    async with opened(path, clock) as driver:
        await until(lambda: driver.health().details["expired_deleted"] == "1")
        assert (await failure(driver.get(b"kept"))).reason == "ROW_DAMAGED"


async def test_expiries_change_without_the_value_and_hold(path: Path) -> None:
    async with opened(path) as driver:
        await driver.set(b"k", b"v" * 5000)
        assert await driver.expire(b"k", 100)
        assert await driver.get(b"k") == b"v" * 5000
        assert await driver.persist(b"k")
        assert not await driver.persist(b"k")
        assert await driver.get(b"k") == b"v" * 5000
        assert not await driver.expire(b"missing", 5)


async def test_a_move_does_not_carry_damage(path: Path) -> None:
    await filled(path)
    flip_within(path, KEYS[b"key:070"])
    async with opened(path) as driver:
        moving = await driver.outgoing()
        assert (await failure(moving.page(None))).reason == "ROW_DAMAGED"
        await moving.end()


async def test_no_flip_of_any_bit_is_served_as_data(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bit in each of 60 copies of a file, anywhere: what is read is what was written, or an error; and what could
    not be read as it was, `verify` reports."""
    await filled(path)
    original, chance = path.read_bytes(), random.Random(13)
    differing = 0
    for _ in range(60):
        path.write_bytes(original)
        flip(path, chance.randrange(len(original)), chance.randrange(8))
        intact = True
        driver = SqliteDriver(SqliteConfig(str(path)))
        try:
            await driver.open()
            for key, value in KEYS.items():
                intact &= await read(driver, key) in (value,) or False
            scanned = await scan(driver)
            assert all(KEYS.get(key) == value for key, value in scanned.items())
            intact &= len(scanned) == len(KEYS)
        except PrismError:
            intact = False
        finally:
            await driver.close()
        differing += not intact
        if not intact:
            assert verified(path, capsys)[0] == 1
    assert 10 < differing < 60


async def read(driver: SqliteDriver, key: bytes) -> bytes | None:
    """The right value, or None for an error or a key that is not found; never anything else."""
    found: bytes | Exception | None
    try:
        found = await driver.get(key)
    except (PrismError, sqlite3.Error) as raw:
        found = raw if isinstance(raw, PrismError) else driver.classify(raw)
    if isinstance(found, PrismError):
        assert found.code is StatusCode.DATA_LOSS
        return None
    assert found in (KEYS[key], None)
    return found


async def scan(driver: SqliteDriver) -> dict[bytes, bytes | None]:
    try:
        return dict((await driver.scan(b"", None, 1000, values=True)).items)
    except (PrismError, sqlite3.Error):
        return {}


async def test_a_file_that_is_damaged_all_over_is_unhealthy_until_it_is_not(path: Path) -> None:
    await filled(path, {b"only": b"the only value there is"})
    flip_within(path, b"the only value there is")
    async with opened(path) as driver:
        assert driver.health().status is Health.UNHEALTHY
        assert str(path) in driver.health().message
        await driver.set(b"only", b"again")
        await until(lambda: driver.health().status is Health.DEGRADED)


async def test_damage_that_comes_while_a_file_is_served_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism_proxy.backends.sqlite.damage.LOOK_SECONDS", 0.0)
    async with opened(path) as driver:
        await driver.set(b"k", b"v")
        assert driver.health().status is Health.HEALTHY
        with database(path) as connection:
            connection.execute("UPDATE kv SET value = 'w'")
        for _ in range(3):
            await failure(driver.get(b"k"))
        await until(lambda: driver.health().status is Health.UNHEALTHY)


# --- the header -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "bit"), [(3, 1), (16, 4), (47, 0), (59, 1), (63, 0), (63, 1), (70, 5)])
async def test_a_damaged_header_is_called_that(
    path: Path, offset: int, bit: int, capsys: pytest.CaptureFixture[str],
) -> None:
    """Magic, page size, schema format, encoding, our format (as a newer and as none), our application id."""
    await filled(path)
    flip(path, offset, bit)
    async with opened(path) as driver:
        refused = await failure(driver.set(b"k", b"v"))
        assert (refused.code, refused.reason) == (StatusCode.DATA_LOSS, "STORE_CORRUPT")
        assert f"the header of {path} is damaged" in refused.message
        assert (await failure(driver.get(b"key:001"))).code is StatusCode.DATA_LOSS
        assert driver.health().status is Health.UNHEALTHY
    assert verified(path, capsys)[0] == 1


# --- formats ----------------------------------------------------------------------------------------------------------


def of_format_1(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMAT_1.read_text())
        connection.execute("PRAGMA journal_mode=WAL")


async def test_a_file_of_format_1_is_migrated_with_all_it_holds(path: Path) -> None:
    of_format_1(path)
    async with opened(path) as driver:
        assert await driver.batch_get([b"orders/1", b"orders/2", b"carts/7", b"carts/8", "größe".encode()]) == [
            b"paid", b"", b"two items", None, bytes(range(256))]
        assert (await driver.get_versioned(b"orders/2"))[1] == 4
        assert (await driver.ttl(b"carts/7") or 0) > 1e9
        await driver.set(b"new", b"v")
        assert (await driver.get_versioned(b"new"))[1] > 7
        assert await driver.expire(b"orders/1", 1000)
        assert await driver.get(b"orders/1") == b"paid"
    with database(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
        summed = dict(connection.execute("SELECT key, sum IS NOT NULL FROM kv"))
        assert summed == {b"orders/1": 0, b"orders/2": 0, b"carts/7": 0, "größe".encode(): 0, b"new": 1}
    async with opened(path) as driver:
        await driver.set(b"orders/1", b"sent")
        await driver.expire(b"orders/1", 1000)
        assert await driver.get(b"orders/1") == b"sent"


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_format_1(path)
    monkeypatch.setitem(schema._MIGRATIONS, FORMAT - 1, f"{schema._MIGRATIONS[FORMAT - 1]}; CREATE TABLE kv (x)")
    async with opened(path) as driver:
        assert driver.health().status is Health.UNHEALTHY
    monkeypatch.undo()
    with database(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert "sum" not in {row[1] for row in connection.execute("PRAGMA table_info(kv)")}
    async with opened(path) as driver:
        assert await driver.get(b"orders/1") == b"paid"


async def test_a_newer_format_is_refused_naming_both(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(path)
    with database(path) as connection:
        connection.execute("UPDATE counter SET value = 99, sum = NULL WHERE name = 'format'")
        connection.execute("PRAGMA user_version = 99")
    refused = await failure(SqliteDriver(SqliteConfig(str(path))).open())
    assert refused.reason == "STORE_FORMAT"
    assert f"{path} has format 99" in refused.message
    assert f"knows formats up to {FORMAT}" in refused.message
    assert "has format 99" in verified(path, capsys)[1]


async def test_a_damaged_counter_gives_no_version_twice(path: Path) -> None:
    await filled(path)
    with database(path) as connection:
        connection.execute("UPDATE counter SET value = 3 WHERE name = 'version'")
        (highest,) = connection.execute("SELECT max(version) FROM kv").fetchone()
    async with opened(path) as driver:
        await driver.set(b"new", b"v")
        assert (await driver.get_versioned(b"new"))[1] > highest


# --- prism-proxy verify -----------------------------------------------------------------------------------------------


async def test_verify_finds_nothing_in_a_whole_file_that_is_served(
    path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    await filled(path)
    async with opened(path) as driver:
        await driver.set(b"in the log", b"v")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "prism_proxy", "verify", str(path), stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        assert out.decode() == f"{path}: {len(KEYS) + 1} rows: no damage found\n"
        assert process.returncode == 0


async def test_verify_names_every_damaged_key_and_counter(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(path)
    for key in (b"key:003", b"key:140"):
        flip_within(path, KEYS[key])
    with database(path) as connection:
        connection.execute("UPDATE counter SET value = 3 WHERE name = 'version'")
    code, said = verified(path, capsys)
    assert code == 1
    assert "key 'key:003': its checksum does not hold" in said
    assert "key 'key:140': its checksum does not hold" in said
    assert "counter version: its checksum does not hold" in said
    assert said.endswith(f"{path}: {len(KEYS)} rows: 3 damages found\n")


async def test_verify_goes_on_behind_rows_that_cannot_be_read(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(path)
    flip_within(path, KEYS[b"key:149"])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            page = connection.execute(
                "SELECT pageno FROM dbstat WHERE name = 'kv' AND pagetype = 'leaf' ORDER BY pageno").fetchall()[1][0]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat table")
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096:(page - 1) * 4096 + 64] = bytes(64)
    path.write_bytes(data)
    code, said = verified(path, capsys)
    assert code == 1
    assert "cannot be read" in said
    assert "key 'key:149': its checksum does not hold" in said


def test_verify_takes_a_file_of_format_1_and_refuses_what_is_none(
    path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    of_format_1(path)
    assert verified(path, capsys) == (
        0, f"{path}: 5 rows, 5 of them without a checksum (not written since release 0.1): no damage found\n")
    path.write_bytes(b"no database" * 1000)
    code, said = verified(path, capsys)
    assert (code, "is no SQLite database" in said) == (1, True)
    path.unlink()
    code, said = verified(path, capsys)
    assert (code, "No such file or directory" in said) == (1, True)


async def test_verify_finds_damaged_messages_and_records(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(path) as driver:
        for name in (b"first", b"second"):
            message = StoredMessage(f"id of the {name.decode()}", b"the %s message" % name, {"a": "b"}, 1000)
            await driver.queue.enqueue("q", [QueueItem(message)])
            record = StoredMessage(message.message_id, b"the %s record" % name, {"a": "b"}, 1000)
            await driver.stream.append("s", [NewRecord(b"key", record)])
    assert verified(path, capsys) == (
        0, f"{path}: 0 rows, 2 messages of queues, 2 records of streams and topics: no damage found\n")
    flip_within(path, b"the second message")
    flip_within(path, b"the first record")
    code, said = verified(path, capsys)
    assert code == 1
    assert "message 2, id 'id of the second': its checksum does not hold" in said
    assert "id 'id of the first': its checksum does not hold" in said
    assert "2 damages found" in said
