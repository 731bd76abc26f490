"""A copy is proven while its source is used: whatever differs at the target ends the move, wherever it is and whenever
that came about; what is only changed or expired meanwhile does not.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from prism import control_plane_pb2
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.driver import SqliteDriver
from prism_proxy.contracts.movable import Digest, Incoming, Record, Span
from prism_proxy.membership.migration.copy import Copy
from prism_proxy.membership.migration.target_client import MoveError
from tests.contracts.test_migration import SECOND, Clock, Store, both, contents, write
from tests.support.expiring import set_expiring

KEYS = [b"user:%05d" % number for number in range(5000)]  # several parts of both drivers
VALUE = b"value of a user"


class Here:
    """Implements `TargetClient` over the driver itself. `spoils` changes what is put again; `parts` are those compared,
    `differing` those looked at key by key, `records` how many records digests were made of."""

    def __init__(self) -> None:
        self.incoming: Incoming
        self.parts: list[Span] = []
        self.differing: list[Span] = []
        self.records = 0
        self.spoils: Callable[[Record], Sequence[Record]] = lambda record: [record]

    async def open(self, namespace: control_plane_pb2.NamespaceAssignment, clock: int) -> None:
        raise AssertionError("a copy opens nothing")

    async def put(self, namespace: str, records: Sequence[Record]) -> None:
        await self.incoming.put(records)

    async def put_proven(self, namespace: str, records: Sequence[Record], horizon: int) -> Digest:
        return self._noted(await self.incoming.put_proven(
            [spoiled for record in records for spoiled in self.spoils(record)], horizon))

    async def digest(self, namespace: str, span: Span, horizon: int) -> Digest:
        self.parts.append(span)
        return self._noted(await self.incoming.digest(span, horizon))

    async def hashes(self, namespace: str, span: Span, horizon: int) -> Mapping[bytes, int]:
        self.differing.append(span)
        return await self.incoming.hashes(span, horizon)

    async def unexpected_keys(self, namespace: str, horizon: int) -> tuple[Sequence[bytes], Digest]:
        keys, digest = await self.incoming.unexpected_keys(horizon)
        return keys, self._noted(digest)

    def _noted(self, digest: Digest) -> Digest:
        self.records += digest.records
        return digest

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memstore", "sqlite"])
def make(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Callable[[str], Store]:
    def one(name: str) -> Store:
        if request.param == "sqlite":
            return SqliteDriver(SqliteConfig(str(tmp_path / name), "checkpointed"), clock.nanoseconds)
        return MemstoreDriver(MemstoreConfig(), clock.nanoseconds if name == "source" else clock.elsewhere)
    return one


async def fill(store: Store, keys: Sequence[bytes] = KEYS) -> None:
    for at in range(0, len(keys), 500):
        await store.batch_set([(key, VALUE) for key in keys[at:at + 500]])
    for key in keys[::100]:
        await set_expiring(store, key, VALUE, 1000)


async def begin(source: Store, target: Store) -> tuple[Copy, Here]:
    outgoing, there = await source.outgoing(), Here()
    there.incoming = await target.incoming(outgoing.clock)
    return Copy("orders", outgoing, there), there


async def prove(copy: Copy) -> None:
    await copy.catch_up()
    await copy.outgoing.seal()
    await copy.prove()


SPOILS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "dropped": lambda store: store.delete(KEYS[3]),
    "altered": lambda store: store.compare_and_swap(KEYS[3], VALUE, VALUE[::-1]),
    "added": lambda store: store.set(KEYS[3] + b"x", VALUE),
    "added before the first": lambda store: store.set(b"\x00", b""),
    "added behind the last": lambda store: store.set(b"\xff" * 20, VALUE),
    "with an expiry": lambda store: store.expire(KEYS[3], 1000),
    "with another expiry": lambda store: store.expire(KEYS[100], 1001),
    "without its expiry": lambda store: store.persist(KEYS[100]),
    "dropped at the end": lambda store: store.delete(KEYS[-1]),
}


@pytest.mark.parametrize("moment", ["copied", "compared", "calls wait"])
@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_record_that_differs_at_the_target_ends_the_move(
    make: Callable[[str], Store], moment: str, spoil: str
) -> None:
    async with both(make) as (source, target):
        await fill(source)
        copy, _ = await begin(source, target)
        await copy.contents()
        if moment == "copied":
            await SPOILS[spoil](target)
        await copy.compare()
        await source.set(KEYS[-2], b"a change")
        if moment == "compared":
            await SPOILS[spoil](target)
        await copy.catch_up()
        await copy.outgoing.seal()
        if moment == "calls wait":
            await SPOILS[spoil](target)
        with pytest.raises(MoveError, match="differs"):
            await copy.prove()


@pytest.mark.parametrize("spoil", ["dropped", "altered", "expiring", "more"])
async def test_a_change_that_does_not_arrive_as_it_was_ends_the_move(make: Callable[[str], Store], spoil: str) -> None:
    async with both(make) as (source, target):
        await fill(source)
        copy, there = await begin(source, target)
        await copy.contents()
        await copy.compare()
        there.spoils = {
            "dropped": lambda record: [], "altered": lambda record: [(record[0], b"spoiled", record[2])],
            "expiring": lambda record: [(record[0], record[1], there_clock)],
            "more": lambda record: [record, (b"another", b"", 0)],
        }[spoil]
        there_clock = copy.outgoing.horizon(100)
        await source.set(KEYS[7], b"a change")
        with pytest.raises(MoveError, match="differs"):
            await prove(copy)


async def test_a_file_that_was_changed_behind_the_driver_ends_the_move(tmp_path: Path, clock: Clock) -> None:
    def make(name: str) -> Store:
        return SqliteDriver(SqliteConfig(str(tmp_path / name), "checkpointed"), clock.nanoseconds)

    async with both(make) as (source, target):
        await fill(source)
        copy, _ = await begin(source, target)
        await copy.contents()
        file = sqlite3.connect(tmp_path / "target", isolation_level=None)
        file.execute("UPDATE kv SET value = x'00' WHERE key = ?", (KEYS[2345],))
        file.close()
        await copy.compare()
        with pytest.raises(MoveError, match="differs in 1 keys"):
            await prove(copy)


async def test_parts_cover_all_keys_and_the_hold_is_as_short_for_many(make: Callable[[str], Store]) -> None:
    async with both(make) as (source, target):
        await fill(source)
        copy, there = await begin(source, target)
        await copy.contents()
        await copy.compare()
        assert len(there.parts) > 2
        assert there.records == len(KEYS)
        assert there.parts[0].after is None
        assert [part.after for part in there.parts[1:]] == [part.until for part in there.parts[:-1]]
        assert there.parts[-1].until is None
        await source.batch_set([(key, b"changed") for key in KEYS[::100]])
        before = there.records
        await prove(copy)
        assert there.records == before + len(KEYS[::100]), "only what changed is compared again"


async def test_what_changes_during_the_comparison_is_compared_when_put_again(make: Callable[[str], Store]) -> None:
    """Each part differs: here a key is new, another one was deleted, a third is another one than it was."""
    async with both(make) as (source, target):
        await fill(source)
        copy, there = await begin(source, target)
        await copy.contents()
        digest, changed = copy.outgoing.digest, []

        async def changing(span: Span, horizon: int) -> tuple[Digest, bytes | None]:
            after = span.after or KEYS[0]
            at = KEYS.index(after) + 1 if after in KEYS[:-3] else 0
            await source.set(KEYS[at] + b"0", b"")
            await source.delete(KEYS[at + 1])
            await source.set(KEYS[at + 2], b"another")
            changed.extend([KEYS[at] + b"0", KEYS[at + 1], KEYS[at + 2]])
            return await digest(span, horizon)

        copy.outgoing.digest = changing  # type: ignore[method-assign]
        await copy.compare()
        assert len(there.parts) == len(changed) / 3 > 2
        assert len(there.differing) > 2
        there.parts.clear()
        await prove(copy)
        assert not there.parts
        for key in changed:
            assert await target.get(key) == await source.get(key)


@pytest.mark.parametrize("seed", range(3))
async def test_a_store_that_is_written_to_all_the_time_is_proven(
    make: Callable[[str], Store], clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    async with both(make) as (source, target):
        await fill(source)
        for _ in range(200):
            await write(source, chance, clock)
        copy, _ = await begin(source, target)
        ending = False

        async def busy() -> None:
            while not ending:
                await write(source, chance, clock)
                await asyncio.sleep(0)

        writer = asyncio.create_task(busy())
        await copy.contents()
        await copy.compare()
        ending = True
        await writer
        await prove(copy)
        assert await contents(source) == await contents(target)


async def test_what_expires_meanwhile_is_no_difference(make: Callable[[str], Store], clock: Clock) -> None:
    """At the target first, at the source first, and near its end when it was compared."""
    async with both(make) as (source, target):
        await fill(source)
        await set_expiring(source, b"near", b"", 5)
        copy, _ = await begin(source, target)
        await copy.contents()
        await copy.compare()
        clock.now += 2000 * SECOND
        assert [await target.get(key) for key in KEYS[:2000:100]] == [None] * 20
        assert [await source.get(key) for key in KEYS[1000:3000:100]] == [None] * 20
        await source.set(KEYS[0], b"written again")
        await prove(copy)
        assert await target.get(KEYS[0]) == b"written again"
        assert await target.get(b"near") is None


async def test_a_move_that_was_given_up_puts_nothing_more(make: Callable[[str], Store]) -> None:
    async with both(make) as (source, target):
        await fill(source, KEYS[:10])
        copy, _ = await begin(source, target)
        await copy.contents()
        copy.over = True
        await source.set(KEYS[0], b"later")
        with pytest.raises(MoveError, match="abandoned"):
            await copy.catch_up()
        assert await target.get(KEYS[0]) == VALUE
