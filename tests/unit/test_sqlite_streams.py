"""Streams in a SQLite file, beyond what the contract suites of all backends ask."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.backends.sqlite.errors import overloaded
from prism_proxy.backends.sqlite.messaging import log_rows
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.stream.contract import (
    LATEST,
    NONE,
    Appended,
    Membership,
    NewRecord,
    ReadFrom,
    Record,
    Retention,
    StreamSettings,
)
from prism_proxy.testing.clock import FakeClock
from tests.unit.test_sqlite import failure, opened


class Collected:
    """A sink that takes `capacity` records at a time."""

    def __init__(self, capacity: int = 1000) -> None:
        self.capacity = capacity
        self.records: list[Record] = []
        self.missing = 0
        self.ended: list[PrismError | None] = []
        self._room = asyncio.Event()

    @property
    def credit(self) -> int:
        return self.capacity - len(self.records)

    def push(self, delivery: Record) -> bool:
        if self.credit <= 0:
            self._room.clear()
            return False
        self.records.append(delivery)
        return True

    async def room(self) -> None:
        if self.credit <= 0:
            await self._room.wait()

    def take(self) -> list[Record]:
        taken, self.records = self.records, []
        self._room.set()
        return taken

    def missed(self, count: int | None, why: str) -> None:
        self.missing += count or 0

    def end(self, error: PrismError | None) -> None:
        self.ended.append(error)

    async def until(self, count: int) -> list[Record]:
        async with asyncio.timeout(10):
            while len(self.records) < count and not self.ended:
                await asyncio.sleep(0.005)
        return self.records

    async def end_of_read(self) -> list[bytes]:
        async with asyncio.timeout(10):
            while not self.ended:
                await asyncio.sleep(0.005)
        assert self.ended == [None]
        return [record.data for record in self.records]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def driver(path: Path) -> AsyncIterator[SqliteDriver]:
    async with opened(path) as one:
        yield one


def record(data: bytes, key: bytes = b"", at: int = 1000, **headers: str) -> NewRecord:
    return NewRecord(key, StoredMessage(str(uuid.uuid4()), data, headers, at))


def numbered(count: int, key: bytes = b"") -> list[NewRecord]:
    return [record(b"%d" % number, key) for number in range(count)]


async def read(driver: SqliteDriver, what: ReadFrom) -> list[bytes]:
    sink = Collected(100_000)
    reading = await driver.stream.read(what, sink)
    try:
        return await sink.end_of_read()
    finally:
        await reading.close()


def offsets(records: list[Record]) -> list[int]:
    return [one.offset for one in records]


async def test_records_are_read_in_order_from_any_offset_over_a_restart(path: Path) -> None:
    async with opened(path) as driver:
        assert await driver.stream.append("s", numbered(3)) == Appended(0, 2)
    async with opened(path) as driver:
        assert await driver.stream.append("s", [record(b"3", kind="x")]) == Appended(3, 3)
        assert await read(driver, ReadFrom("s")) == [b"0", b"1", b"2", b"3"]
        assert await read(driver, ReadFrom("s", offset=2)) == [b"2", b"3"]
        assert await read(driver, ReadFrom("s", offset=1, until=2)) == [b"1", b"2"]
        assert await read(driver, ReadFrom("s", offset=4)) == []
        assert await read(driver, ReadFrom("s", positions={0: 3})) == [b"3"]
        assert (await failure(driver.stream.read(ReadFrom("s", offset=5), Collected()))).reason == "OFFSET_OUT_OF_RANGE"
        assert (await failure(driver.stream.read(ReadFrom("none"), Collected()))).reason == "STREAM_NOT_FOUND"
        assert await driver.stream.latest_offset("s", 0) == 3
        assert (await failure(driver.stream.latest_offset("s", 1))).reason == "PARTITION_OUT_OF_RANGE"


async def test_a_read_that_follows_gets_all_once_through_a_full_buffer(driver: SqliteDriver) -> None:
    sink = Collected(7)
    reading = await driver.stream.read(ReadFrom("s", follow=True), sink)
    for number in range(0, 100, 5):
        await driver.stream.append("s", [record(b"%d" % (number + index)) for index in range(5)])
    seen: list[int] = []
    while len(seen) < 100:
        await sink.until(1)
        seen += [int(one.data) for one in sink.take()]
    assert seen == list(range(100))
    late = Collected()
    other = await driver.stream.read(ReadFrom("s", offset=LATEST, follow=True), late)
    await driver.stream.append("s", [record(b"new")])
    assert [one.data for one in await late.until(1)] == [b"new"]
    await reading.close()
    await other.close()


async def test_equal_keys_share_a_partition_and_keep_their_order(driver: SqliteDriver) -> None:
    driver.stream.configure(StreamSettings(partitions=4))
    for number in range(40):
        await driver.stream.append("s", [record(b"%d" % number, b"key%d" % (number % 8))])
    sink = Collected()
    await driver.stream.read(ReadFrom("s"), sink)
    await sink.end_of_read()
    homes: dict[bytes, set[int]] = {}
    for one in sink.records:
        homes.setdefault(one.key, set()).add(one.partition)
    assert all(len(found) == 1 for found in homes.values())
    assert len({one.partition for one in sink.records}) > 1
    for key in homes:
        data = [int(one.data) for one in sink.records if one.key == key]
        assert data == sorted(data)
    parts = await driver.stream.partitions("s")
    assert sum(part.records for part in parts) == 40
    assert await driver.stream.append("s", [record(b"x")], 3) == Appended(parts[3].latest + 1, parts[3].latest + 1)
    assert (await failure(driver.stream.append("s", [record(b"x")], 4))).reason == "PARTITION_OUT_OF_RANGE"


async def joined(driver: SqliteDriver, name: str, most: int = 100, group: str = "g") -> tuple[object, Collected]:
    sink = Collected()
    return await driver.stream.join(Membership("s", group, name, most), sink), sink


async def test_a_group_goes_on_behind_what_was_acknowledged_after_a_restart(path: Path) -> None:
    async with opened(path) as driver:
        await driver.stream.append("s", numbered(6))
        await driver.stream.create_group("s", "g", 0)
        assert (await failure(driver.stream.create_group("s", "g", 0))).reason == "GROUP_EXISTS"
        _, sink = await joined(driver, "a", most=5)
        assert offsets(await sink.until(5)) == [0, 1, 2, 3, 4]
        assert await driver.stream.ack("s", "g", 0, [0, 1, 3, 3, 77]) == 3
        assert offsets(await sink.until(6)) == [0, 1, 2, 3, 4, 5]
        info = await driver.stream.group_info("s", "g")
        assert (info.members, info.lag, info.pending, info.committed) == (["a"], 0, 3, {0: 1})
    async with opened(path) as driver:
        _, sink = await joined(driver, "b")
        assert offsets(await sink.until(3)) == [2, 4, 5]
        assert {one.attempt for one in sink.records} == {1}
        unknown = await failure(driver.stream.join(Membership("s", "x", "a", 1), Collected()))
        assert unknown.reason == "GROUP_NOT_FOUND"


async def test_what_a_member_leaves_goes_to_another_at_once_and_once(driver: SqliteDriver) -> None:
    await driver.stream.append("s", numbered(4))
    await driver.stream.create_group("s", "g", 0)
    first, sink = await joined(driver, "a")
    await sink.until(4)
    await driver.stream.ack("s", "g", 0, [1])
    _, other = await joined(driver, "b")
    await first.close()  # type: ignore[attr-defined]
    began = asyncio.get_running_loop().time()
    assert offsets(await other.until(3)) == [0, 2, 3]
    assert asyncio.get_running_loop().time() - began < 0.1
    assert {one.attempt for one in other.records} == {2}
    await driver.stream.append("s", [record(b"more")])
    assert offsets(await other.until(4))[3:] == [4]


async def test_unacknowledged_records_come_again_and_then_go_to_the_dead_letters(driver: SqliteDriver) -> None:
    driver.stream.configure(StreamSettings(ack_timeout_s=0.1, max_deliveries=2))
    await driver.stream.append("s", [record(b"poison", b"k", kind="x"), record(b"good", b"k")])
    await driver.stream.create_group("s", "g", 0)
    _, sink = await joined(driver, "a")
    await sink.until(3)
    assert [(one.data, one.attempt) for one in sink.records[:3]] == [(b"poison", 1), (b"poison", 2), (b"good", 1)]
    await driver.stream.ack("s", "g", 0, [1])
    letters = Collected()
    await driver.stream.read(ReadFrom("s.dlq", follow=True), letters)
    (letter,) = await letters.until(1)
    assert (letter.data, letter.key) == (b"poison", b"k")
    assert letter.headers == {"kind": "x", "x-dlq-source": "s", "x-error": "it was not acknowledged",
                              "x-retry-count": "2"}
    assert (await driver.stream.group_info("s", "g")).committed == {0: 1}


async def test_a_refused_record_holds_back_its_key_and_no_other(driver: SqliteDriver) -> None:
    await driver.stream.append("s", [record(b"a1", b"a"), record(b"a2", b"a"), record(b"b1", b"b")])
    await driver.stream.create_group("s", "g", 0)
    _, sink = await joined(driver, "a")
    assert [one.data for one in await sink.until(2)] == [b"a1", b"b1"]
    assert await driver.stream.nack("s", "g", 0, [0], 0.15, "later") == 1
    await asyncio.sleep(0.05)
    assert len(sink.records) == 2
    assert [one.data for one in await sink.until(3)][2:] == [b"a1"]
    await driver.stream.ack("s", "g", 0, [0])
    assert [one.data for one in await sink.until(4)][3:] == [b"a2"]
    assert await driver.stream.nack("s", "g", 0, [1], 0, "broken", final=True) == 1
    assert await read(driver, ReadFrom("s.dlq")) == [b"a2"]


async def test_partitions_are_shared_and_one_has_one_member(driver: SqliteDriver) -> None:
    driver.stream.configure(StreamSettings(partitions=4))
    for number in range(4):
        await driver.stream.append("s", [record(b"%d" % number)], number)
    await driver.stream.create_group("s", "g", LATEST)
    _, first = await joined(driver, "a")
    _, second = await joined(driver, "b")
    for number in range(4):
        await driver.stream.append("s", numbered(5), number)
    await first.until(10)
    await second.until(10)
    ours, theirs = ({one.partition for one in sink.records} for sink in (first, second))
    assert ours | theirs == {0, 1, 2, 3}
    assert not ours & theirs
    replaced = first
    await joined(driver, "a")
    assert replaced.ended[0] is not None
    assert replaced.ended[0].reason == "SUBSCRIBER_REPLACED"


async def test_seeking_goes_back_and_forth(driver: SqliteDriver) -> None:
    for number in range(5):
        await driver.stream.append("s", [record(b"%d" % number, at=1000 + number)])
    await driver.stream.create_group("s", "g", 0)
    _, sink = await joined(driver, "a")
    await sink.until(5)
    assert await driver.stream.seek_offset("s", "g", 0, 3) == 3
    assert offsets(await sink.until(7))[5:] == [3, 4]
    assert await driver.stream.seek_timestamp("s", "g", 1001) == 1
    assert offsets(await sink.until(11))[7:] == [1, 2, 3, 4]
    assert await driver.stream.seek_offset("s", "g", 0, 5) == 5
    assert (await failure(driver.stream.seek_offset("s", "g", 0, 6))).reason == "OFFSET_OUT_OF_RANGE"


async def test_retention_is_kept_and_holds_within_a_second(path: Path) -> None:
    clock = FakeClock()
    async with opened(path, clock) as driver:
        await driver.stream.append("s", [record(b"%d" % number, at=driver._now_ms() + number) for number in range(10)])
        await driver.stream.set_retention("s", Retention(0, 0, 4))
        assert await read(driver, ReadFrom("s")) == [b"6", b"7", b"8", b"9"]
    async with opened(path, clock) as driver:
        assert await driver.stream.get_retention("s") == Retention(0, 0, 4)
        await driver.stream.append("s", [record(b"10", at=driver._now_ms())])
        async with asyncio.timeout(1.5):
            while await read(driver, ReadFrom("s")) != [b"7", b"8", b"9", b"10"]:
                await asyncio.sleep(0.02)
        await driver.stream.set_retention("s", Retention(60, 0, 0))
        await clock.wait(120)
        async with asyncio.timeout(1.5):
            while await read(driver, ReadFrom("s")):
                await asyncio.sleep(0.02)
        assert (await driver.stream.partitions("s"))[0].records == 0
        assert await driver.stream.latest_offset("s", 0) == NONE
        assert await driver.stream.append("s", [record(b"11", at=driver._now_ms())]) == Appended(11, 11)


async def test_compaction_keeps_the_newest_of_a_key_and_all_offsets(driver: SqliteDriver) -> None:
    keys = [b"a", b"b", b"a", b"", b"a", b"b", b""]
    await driver.stream.append("s", [record(b"%d" % index, key) for index, key in enumerate(keys)])
    assert await driver.stream.compact("s", keep_latest_per_key=True) == 3
    assert await read(driver, ReadFrom("s")) == [b"3", b"4", b"5", b"6"]
    (part,) = await driver.stream.partitions("s")
    assert (part.earliest, part.latest, part.records) == (3, 6, 4)


async def test_a_duplicate_is_answered_with_its_first_offset(driver: SqliteDriver) -> None:
    twice = NewRecord(b"", StoredMessage("one", b"x", {}, 1, 0, "d"))
    assert await driver.stream.append("s", [record(b"0"), twice]) == Appended(0, 1)
    assert await driver.stream.append("s", [twice]) == Appended(1, 1)
    assert await read(driver, ReadFrom("s")) == [b"0", b"x"]


async def test_a_damaged_record_is_passed_over_and_counted(path: Path) -> None:
    async with opened(path) as driver:
        await driver.stream.append("s", [record(b"the first record"), record(b"second")])
    path.write_bytes(path.read_bytes().replace(b"the first record", b"thE first record"))
    async with opened(path) as driver:
        sink = Collected()
        await driver.stream.read(ReadFrom("s"), sink)
        assert await sink.end_of_read() == [b"second"]
        assert sink.missing == 1


async def test_readers_and_groups_outlive_a_file_that_cannot_be_read_for_a_while(
    driver: SqliteDriver, monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = driver._readers.run
    errors: list[Exception] = [overloaded(1, "reads"), sqlite3.OperationalError("disk I/O error")] * 2

    async def failing(query: Callable[[sqlite3.Connection], object]) -> object:
        if errors and getattr(query, "func", None) is log_rows.page:
            raise errors.pop()
        return await run(query)

    await driver.stream.append("s", numbered(3))
    await driver.stream.create_group("s", "g", 0)
    monkeypatch.setattr(driver._readers, "run", failing)
    sink = Collected()
    reading = await driver.stream.read(ReadFrom("s"), sink)
    _, member = await joined(driver, "a")
    assert await sink.end_of_read() == [b"0", b"1", b"2"]
    assert offsets(await member.until(3)) == [0, 1, 2]
    assert not errors
    await reading.close()
