"""The data of a store move to another one while clients write to it, and arrive complete."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.contracts.movable import Digest, Incoming, Outgoing, Record, Span, TooManyChangesError
from prism_proxy.errors import PrismError
from tests.support.expiring import set_expiring

Store = MemstoreDriver | SqliteDriver
SECOND = 1_000_000_000
KEYS = [b"key:%03d" % number for number in range(200)]
OTHER_CLOCK = 77 * SECOND  # how far the clock of a memstore's target is ahead


@dataclass
class Clock:
    now: int = 1_000 * SECOND

    def nanoseconds(self) -> int:
        return self.now

    def elsewhere(self) -> int:
        return self.now + OTHER_CLOCK


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memstore", "memstore that evicts", "sqlite"])
def make(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Callable[[str], Store]:
    def one(name: str) -> Store:
        if request.param == "sqlite":
            return SqliteDriver(SqliteConfig(str(tmp_path / name)), clock.nanoseconds)
        time = clock.nanoseconds if name == "source" else clock.elsewhere
        if request.param == "memstore":
            return MemstoreDriver(MemstoreConfig(), time)
        return MemstoreDriver(MemstoreConfig(max_keys=150 if name == "source" else 200, evict=True), time)
    return one


@asynccontextmanager
async def both(make: Callable[[str], Store]) -> AsyncIterator[tuple[Store, Store]]:
    source, target = make("source"), make("target")
    await source.open()
    await target.open()
    try:
        yield source, target
    finally:
        await source.close()
        await target.close()


async def write(driver: Store, chance: random.Random, clock: Clock) -> None:
    """One write of any kind."""
    key, value = chance.choice(KEYS), chance.randbytes(chance.choice((0, 1, 40, 3000)))
    some: Sequence[bytes] = chance.sample(KEYS, 5)
    found, version = await driver.get_versioned(key)
    ttl = chance.choice((1, 20, 1000))
    kinds: list[Callable[[], Any]] = [
        lambda: driver.set(key, value), lambda: set_expiring(driver, key, value, ttl),
        lambda: driver.delete(key), lambda: driver.expire(key, chance.choice((0, ttl))), lambda: driver.persist(key),
        lambda: driver.batch_set([(one, value) for one in some]), lambda: driver.batch_delete(some),
        lambda: driver.compare_and_swap(key, found, value), lambda: driver.compare_and_delete(key, found or b""),
        lambda: driver.commit({key: version}, dict.fromkeys(some, value)),
    ]
    await chance.choice(kinds)()
    if chance.random() < 0.01:
        clock.now += chance.randrange(2 * SECOND)


async def contents(driver: Store) -> dict[bytes, tuple[bytes | None, float | None]]:
    return {key: (await driver.get(key), await driver.ttl(key)) for key in KEYS}


async def move_tail(outgoing: Outgoing, incoming: Incoming) -> None:
    while records := await outgoing.changes():
        await incoming.put(records)


async def move_contents(outgoing: Outgoing, incoming: Incoming) -> int:
    after: bytes | None = None
    pages = 0
    while True:
        records, after = await outgoing.page(after)
        await asyncio.sleep(0)  # a page is older than what is written while it is on its way
        await incoming.put(records)
        pages += 1
        if after is None:
            return pages


@pytest.mark.parametrize("seed", range(4))
async def test_writes_during_a_move_all_arrive(make: Callable[[str], Store], clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    async with both(make) as (source, target):
        await target.set(b"left over", b"from another move")
        for _ in range(300):
            await write(source, chance, clock)
        outgoing = await source.outgoing()
        incoming = await target.incoming(outgoing.clock)

        async def busy() -> None:
            for _ in range(600):
                await write(source, chance, clock)
                await asyncio.sleep(0)

        writer = asyncio.create_task(busy())
        await move_contents(outgoing, incoming)
        while not writer.done():
            await move_tail(outgoing, incoming)
            await asyncio.sleep(0)
        await writer
        await move_tail(outgoing, incoming)
        horizon = outgoing.horizon(5)
        there, until = await outgoing.digest(Span(), horizon)
        assert until is None
        assert there == await incoming.digest(Span(), horizon)
        assert there.records > 20
        assert await contents(source) == await contents(target)
        assert await target.get(b"left over") is None
        clock.now += 30 * SECOND
        assert await contents(source) == await contents(target)


async def test_what_is_large_comes_in_pages(make: Callable[[str], Store]) -> None:
    async with both(make) as (source, target):
        for key in KEYS[:100]:
            await source.set(key, random.randbytes(50_000))
        outgoing = await source.outgoing()
        incoming = await target.incoming(outgoing.clock)
        assert await move_contents(outgoing, incoming) >= 5
        assert await contents(source) == await contents(target)


@pytest.mark.parametrize("spoil", ["value", "expiry", "missing", "more"])
async def test_a_digest_sees_any_difference(make: Callable[[str], Store], spoil: str) -> None:
    async with both(make) as (source, target):
        for key in KEYS[:50]:
            await set_expiring(source, key, b"value of " + key, 100)
        outgoing = await source.outgoing()
        incoming = await target.incoming(outgoing.clock)
        await move_contents(outgoing, incoming)
        horizon = outgoing.horizon(5)
        good, _ = await outgoing.digest(Span(), horizon)
        assert await incoming.digest(Span(), horizon) == good
        assert await outgoing.digest_of(KEYS[:50], horizon) == good
        record: Record = (KEYS[7], b"value of " + KEYS[7], 0)
        await {
            "value": lambda: target.set(KEYS[7], b"value of key:008"), "expiry": lambda: incoming.put([record]),
            "missing": lambda: target.delete(KEYS[7]), "more": lambda: target.set(b"another", b""),
        }[spoil]()
        assert await incoming.digest(Span(), horizon) != good
        strays, digest = await incoming.unexpected_keys(horizon)
        assert strays == [b"another" if spoil == "more" else KEYS[7]]
        assert digest != await outgoing.digest_of(strays, horizon)
        assert await incoming.unexpected_keys(horizon) == ([], Digest(0, 0))


async def test_digests_of_parts_make_up_that_of_all(make: Callable[[str], Store]) -> None:
    """A part begins where the one before it ended, and both ends are those of the key space."""
    async with both(make) as (source, target):
        for key in KEYS:
            await source.set(key, random.randbytes(20_000))
        outgoing = await source.outgoing()
        incoming = await target.incoming(outgoing.clock)
        await move_contents(outgoing, incoming)
        horizon = outgoing.horizon(5)
        for span in (Span(), Span(b"key:010"), Span(None, b"key:140"), Span(b"key:010", b"key:140x")):
            parts, after = [], span.after
            while True:
                digest, until = await outgoing.digest(Span(after, span.until), horizon)
                assert await incoming.digest(Span(after, until), horizon) == digest
                parts.append(digest)
                if until == span.until:
                    break
                after = until
            assert len(parts) > 1
            whole = await incoming.digest(span, horizon)
            assert (whole.records, whole.sum) == (sum(part.records for part in parts),
                                                  sum(part.sum for part in parts) % 2**64)


async def test_what_is_put_and_read_again_is_no_stray(make: Callable[[str], Store]) -> None:
    async with both(make) as (source, target):
        outgoing = await source.outgoing()
        incoming = await target.incoming(outgoing.clock)
        horizon = outgoing.horizon(5)
        await incoming.digest(Span(), horizon)
        await source.set(b"a", b"1")
        await source.delete(b"b")
        await set_expiring(source, b"c", b"3", 4)
        assert await incoming.put_proven(await outgoing.changes(), horizon) == await outgoing.digest_of(
            [b"a", b"b", b"c"], horizon)
        assert await incoming.unexpected_keys(horizon) == ([], Digest(0, 0))
        await target.set(b"a", b"1")
        assert (await incoming.unexpected_keys(horizon))[0] == [b"a"]
        await incoming.end()
        await incoming.end()
        await (await target.outgoing()).end()


async def test_only_one_move_at_a_time_and_writes_cost_nothing_after_it(make: Callable[[str], Store]) -> None:
    async with both(make) as (source, _):
        first = await source.outgoing()
        with pytest.raises(RuntimeError):
            await source.outgoing()
        await source.set(b"a", b"1")
        await first.end()
        await first.end()
        with pytest.raises(TooManyChangesError):
            await first.changes()
        second = await source.outgoing()
        assert not await second.changes(), "changes of an earlier move are of no interest"
        await source.set(b"b", b"2")
        assert await second.changes() == [(b"b", b"2", 0)]
        assert not await second.changes()
        await second.end()


async def test_too_many_changes_of_a_memory_store_end_the_move_not_the_store() -> None:
    driver = MemstoreDriver(MemstoreConfig(max_bytes=2**30))
    outgoing = await driver.outgoing()
    for number in range(1200):
        await driver.set(b"%060000d" % number, b"")
    with pytest.raises(TooManyChangesError):
        await outgoing.changes()
    await outgoing.end()
    assert await driver.get(b"%060000d" % 5) == b""
    await driver.close()


async def test_a_reopened_file_ends_the_move_not_the_store(tmp_path: Path) -> None:
    driver = SqliteDriver(SqliteConfig(str(tmp_path / "store.db")))
    await driver.open()
    try:
        outgoing = await driver.outgoing()
        await driver.set(b"a", b"1")

        def lose_connection(session: Any) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

        with pytest.raises(PrismError):
            await driver._writer.submit(lose_connection, 0)
        while driver._writer.committer.outage.reason is not None:
            await asyncio.sleep(0.01)
        with pytest.raises(TooManyChangesError):
            await outgoing.changes()
        assert await driver.get(b"a") == b"1"
    finally:
        await driver.close()
