"""A process with a queue, a stream and a topic in a SQLite file is killed under load: nothing acknowledged is
lost, what was settled does not come again, and order holds.

The ledger is a pipe, as in `test_sqlite_kill`: a line for each acknowledged send, and for settlements before and after.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.models.messages import StoredMessage
from prism_proxy.models.pubsub.contract import DurableSubscription, PubSubSettings
from prism_proxy.models.queue.contract import Outcome, QueueItem, Settlement
from prism_proxy.models.stream.contract import Membership, NewRecord, ReadFrom
from tests.chaos.test_sqlite_kill import SIZE
from tests.unit.test_sqlite_streams import Collected
from tests.unit.test_sqlite_topics import Inbox

KILLS = 50 if os.environ.get("PRISM_SOAK") else 5
LANES = 8
KEPT = PubSubSettings(log_max_age_s=0)
DONE = Settlement(Outcome.DONE)


def message(lane: int, number: int) -> StoredMessage:
    text = b"%d %d " % (lane, number)
    return StoredMessage(str(uuid.uuid4()), text + bytes(SIZE // 10), {"lane": str(lane)}, 1000)


def numbers(data: bytes) -> tuple[int, int]:
    lane, number = data.split(b" ")[:2]
    assert data[len(lane) + len(number) + 2:] == bytes(SIZE // 10), "a message is not whole"
    return int(lane), int(number)


def note(kind: str, *values: int) -> None:
    os.write(1, f"{' '.join([kind, *map(str, values)])}\n".encode())


async def send(driver: SqliteDriver, lane: int, number: int) -> None:
    while True:
        batch = range(number, number + 1 + number % 3)
        number = batch[-1] + 1
        await driver.queue.enqueue("q", [QueueItem(message(lane, one)) for one in batch])
        for one in batch:
            note("queue", lane, one)
        await driver.stream.append("s", [NewRecord(b"key %d" % lane, message(lane, one)) for one in batch])
        for one in batch:
            note("stream", lane, one)
        await driver.pubsub.publish_persistent("t", message(lane, batch[0]))
        note("topic", lane, batch[0])


async def consume(driver: SqliteDriver) -> None:
    while True:
        leased = await driver.queue.lease("q", 20, 30, 1)
        kept = leased[:15]  # the rest is still leased when the process dies
        for one in kept:
            note("settling", *numbers(one.data))
        results = await driver.queue.settle("q", [one.receipt for one in kept], DONE)
        for one, result in zip(kept, results, strict=True):
            if result is None:
                note("settled", *numbers(one.data))


async def follow(driver: SqliteDriver) -> None:
    sink = Collected(100)
    await driver.stream.join(Membership("s", "g", "member", 100), sink)
    while True:
        await asyncio.sleep(0.01)
        records = sink.take()
        for one in records:
            note("acking", one.offset)
        if records and await driver.stream.ack("s", "g", 0, [one.offset for one in records]) == len(records):
            for one in records:
                note("acked", one.offset)


async def work(path: str, start: int) -> None:
    driver = SqliteDriver(SqliteConfig(path))
    driver.pubsub.configure(KEPT)
    await driver.open()
    if not start:
        await driver.stream.create_group("s", "g", 0)
        await driver.pubsub.subscribe_durable(DurableSubscription("t", "d"), Inbox())
    note("ready")
    await asyncio.gather(consume(driver), follow(driver), *(send(driver, lane, start) for lane in range(LANES)))


class Ledger:
    def __init__(self) -> None:
        self.seen: defaultdict[str, set[Any]] = defaultdict(set)
        self.highest = 0

    def read(self, lines: bytes) -> None:
        for line in lines.splitlines(keepends=True):
            kind, *values = line.split()
            if not line.endswith(b"\n"):
                continue
            if kind in (b"acked", b"acking"):
                self.seen[kind.decode()].add(int(values[0]))
            elif kind != b"ready":
                lane, number = map(int, values)
                self.seen[kind.decode()].add((lane, number))
                self.highest = max(self.highest, number)


async def run_and_kill(path: Path, start: int, seconds: float) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"import asyncio\nfrom {__name__} import work\nasyncio.run(work({str(path)!r}, {start}))",
        stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    reading = asyncio.ensure_future(process.stdout.read())
    await asyncio.sleep(seconds)
    assert process.returncode is None, "the process ended by itself"
    process.kill()
    await process.wait()
    return await reading


@pytest.mark.timeout(60 + 5 * KILLS)
async def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    ledger, chance = Ledger(), random.Random(14)
    for _ in range(KILLS):
        ledger.read(await run_and_kill(path, ledger.highest + 10 if ledger.highest else 0, chance.uniform(0.2, 0.8)))
    driver = SqliteDriver(SqliteConfig(str(path)), lambda: 10**18 * 4)  # all leases are over
    driver.pubsub.configure(KEPT)
    await driver.open()
    try:
        await check_queue(driver, ledger)
        await check_stream(driver, ledger)
        await check_topic(driver, ledger)
    finally:
        await driver.close()
    assert min(len(ledger.seen[kind]) for kind in ("queue", "stream", "topic", "settled", "acked")) > 20 * KILLS


async def check_queue(driver: SqliteDriver, ledger: Ledger) -> None:
    left = []
    while taken := await driver.queue.take("q", 500, 1):
        left += [numbers(one.data) for one in taken]
    assert len(left) == len(set(left))
    settled = ledger.seen["settled"]
    assert not settled & set(left), "what was settled came again"
    unknown = ledger.seen["settling"] - settled
    assert len(unknown) <= 15 * KILLS
    assert ledger.seen["queue"] <= settled | set(left) | unknown, "an acknowledged message is gone"


async def check_stream(driver: SqliteDriver, ledger: Ledger) -> None:
    sink = Collected(10**6)
    await driver.stream.read(ReadFrom("s"), sink)
    await sink.end_of_read()
    found = [numbers(one.data) for one in sink.records]
    assert ledger.seen["stream"] <= set(found)
    assert len(found) == len(set(found))
    for lane in range(LANES):
        sent = [number for of, number in found if of == lane]
        assert sent == sorted(sent), "records of one key are out of order"
    member = Collected(10**6)
    await driver.stream.join(Membership("s", "g", "member", 10**6), member)
    expected = {one.offset for one in sink.records} - ledger.seen["acking"]
    async with asyncio.timeout(20):
        while not expected <= (again := offsets_by_key(member)) and await settle_all(driver, member):
            pass
    assert expected <= again, "what was not acknowledged did not come again"
    assert not again & ledger.seen["acked"], "what was acknowledged came again"


def offsets_by_key(member: Collected) -> set[int]:
    return {one.offset for one in member.records}


async def settle_all(driver: SqliteDriver, member: Collected) -> bool:
    """Of each key the next record comes when the one before is acknowledged."""
    await driver.stream.ack("s", "g", 0, sorted(offsets_by_key(member)))
    await asyncio.sleep(0.002)
    return True


async def check_topic(driver: SqliteDriver, ledger: Ledger) -> None:
    inbox = Inbox(10**6)
    await driver.pubsub.subscribe_durable(DurableSubscription("t", "d"), inbox)
    expected = ledger.seen["topic"]
    async with asyncio.timeout(20):
        while len(inbox.got) < len(expected) or not expected <= {numbers(one.data) for one in inbox.got}:
            await asyncio.sleep(0.05)
