"""Both sides of a move of data, and what ends it: who serves at each step, and never two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from prism import control_plane_pb2, transfer_pb2
from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.contracts.movable import Digest, Record, Span
from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.membership.migration.coordinator import MigrationCoordinator
from prism_proxy.membership.migration.target_client import MESSAGE_BYTES, MoveError, in_messages
from prism_proxy.membership.migration.worker import MigrationWorker
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.standard import make_driver

NAME = "orders"
PARTITION = partition_of(NAME)
CONFIG = NamespaceConfig.of_store(NAME, "memstore", MemstoreConfig())
ITEM = control_plane_pb2.NamespaceAssignment(namespace=NAME, version=1, revision=2)


class Side:
    """A proxy without a wire; it is the member of a cluster for its own moves."""

    def __init__(self) -> None:
        self.namespaces = Namespaces()
        self.activator = Activator(self.namespaces, make_driver)
        self.migration_worker = MigrationWorker(
            self.activator, self.namespaces, lambda move_id, address: self.target, self.ask)
        self.moves = MigrationCoordinator(self.migration_worker)
        self.moves.host = self
        self.target: Way

    async def ask(self, request: ControlCall) -> ControlReply:
        return await self.moves.answer(request)

    def has(self, name: str) -> bool:
        return name in self.namespaces.current.routes

    async def take_in(self, item: control_plane_pb2.NamespaceAssignment) -> None:
        await self.activator.apply([CONFIG])

    async def give_up(self, name: str) -> None:
        await self.activator.apply([])

    @property
    def serves(self) -> bool:
        """Whether calls reach the namespace here."""
        return (NAME in self.namespaces.current.routes and NAME not in self.namespaces.unlisted
                and NAME not in self.namespaces.paused)

    async def set(self, key: bytes, value: bytes) -> None:
        await self.namespaces.current.routes[NAME].implementation("keyvalue_basic").set(key.decode(), value)

    async def get(self, key: bytes) -> bytes | None:
        found: bytes | None = await self.namespaces.current.routes[NAME].drivers[0].get(key)  # type: ignore[attr-defined]
        return found


class Way:
    """Implements `TargetClient` without a wire. `spoils` changes a record on its way, `stops` never arrives."""

    def __init__(self, move_id: str, there: Side) -> None:
        self._move = move_id
        self._there = there
        self.spoils = self.stops = False

    async def open(self, namespace: control_plane_pb2.NamespaceAssignment, clock: int) -> None:
        await self._there.moves.open(transfer_pb2.OpenRequest(move_id=self._move, namespace=namespace, clock=clock))

    async def put(self, namespace: str, records: Sequence[Record]) -> None:
        await self._there.migration_worker.put(self._put(namespace, records))

    async def put_proven(self, namespace: str, records: Sequence[Record], horizon: int) -> Digest:
        request = self._put(namespace, records)
        request.horizon = horizon
        found = await self._there.migration_worker.put(request)
        return Digest(found.records, found.sum)

    def _put(self, namespace: str, records: Sequence[Record]) -> transfer_pb2.PutRequest:
        return transfer_pb2.PutRequest(move_id=self._move, namespace=namespace, records=[
            transfer_pb2.Record(key=key, value=b"spoiled" if self.spoils else value, expires=expires)
            for key, value, expires in records])

    async def digest(self, namespace: str, span: Span, horizon: int) -> Digest:
        found = await self._there.migration_worker.verify(transfer_pb2.VerifyRequest(
            move_id=self._move, namespace=namespace, horizon=horizon, after=span.after, until=span.until, more=True))
        return Digest(found.records, found.sum)

    async def hashes(self, namespace: str, span: Span, horizon: int) -> Mapping[bytes, int]:
        found = await self._there.migration_worker.verify(transfer_pb2.VerifyRequest(
            move_id=self._move, namespace=namespace, horizon=horizon, after=span.after, until=span.until, more=True,
            each=True))
        return dict(zip(found.keys, found.hashes, strict=True))

    async def unexpected_keys(self, namespace: str, horizon: int) -> tuple[Sequence[bytes], Digest]:
        if self.stops:
            await asyncio.Event().wait()
        found = await self._there.migration_worker.verify(transfer_pb2.VerifyRequest(
            move_id=self._move, namespace=namespace, horizon=horizon, strays=True))
        return found.keys, Digest(found.records, found.sum)

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    source, target = Side(), Side()
    source.target = Way("m", target)
    await source.activator.apply([CONFIG])
    await source.set(b"key", b"value")
    yield source, target
    for side in (source, target):
        await side.moves.close()
        await side.migration_worker.close()
        await side.activator.apply([])
        await side.activator.close()


async def send(source: Side) -> None:
    await source.moves.send(transfer_pb2.SendRequest(
        move_id="m", partition_id=PARTITION, target_proxy="b", target_address="x", namespaces=[ITEM]))


async def settled(side: Side) -> None:
    while side.moves._tasks:
        await asyncio.sleep(0)


async def test_a_map_ends_the_move_on_both_sides(sides: tuple[Side, Side]) -> None:
    source, target = sides
    await send(source)
    assert source.serves, "while it is copied it is served"
    assert not target.serves
    await source.set(b"late", b"1")
    await source.moves.finish("m")
    assert not source.serves
    assert not target.serves
    target.moves.owned({PARTITION})
    assert target.serves
    assert await target.get(b"late") == b"1"
    await source.activator.apply([])
    await source.moves.dropped([NAME])
    assert not source.namespaces.paused
    assert not source.moves.involves(NAME)
    assert not target.moves.involves(NAME)


async def test_in_doubt_nobody_takes_writes_until_the_admin_speaks(sides: tuple[Side, Side]) -> None:
    source, target = sides
    await send(source)
    await source.moves.finish("m")
    with pytest.raises(Exception, match="moving"):
        await source.set(b"key", b"2")
    target.moves.owned({PARTITION + 1 if PARTITION < 255 else 0})
    assert not target.serves, "a map about others says nothing"
    await source.moves.abandon("m")
    assert source.serves
    await source.set(b"key", b"2")
    await target.moves.abandon("m")
    assert NAME not in target.namespaces.current.routes
    assert not target.namespaces.unlisted


async def test_a_registration_tells_only_of_moves_before_it(sides: tuple[Side, Side]) -> None:
    source, target = sides
    for side in sides:
        side.moves.registering()
    await send(source)
    await source.moves.finish("m")
    await source.moves.registered({PARTITION})
    await target.moves.registered(set())
    assert not source.serves, "that answer was made before the move"
    assert source.moves.in_doubt() == {NAME}
    assert target.moves.arriving(NAME)
    for side in sides:
        side.moves.registering()
    await source.moves.registered({PARTITION})
    assert source.serves
    await target.moves.registered(set())
    assert NAME not in target.namespaces.current.routes
    assert not target.moves.arriving(NAME)


async def test_a_copy_that_differs_is_refused(sides: tuple[Side, Side]) -> None:
    source, _ = sides
    source.target.spoils = True
    await send(source)
    with pytest.raises(MoveError, match="differs"):
        await source.moves.finish("m")
    await settled(source)
    assert source.serves
    await source.set(b"key", b"2")


@pytest.mark.parametrize("way", ["cancelled", "too long"])
async def test_a_source_that_is_not_in_doubt_goes_on_by_itself(
    sides: tuple[Side, Side], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prism_proxy.membership.migration.source.HOLD_SECONDS", 0.05 if way == "too long" else 10)
    source, _ = sides
    source.target.stops = True
    await send(source)
    finishing = asyncio.create_task(source.moves.finish("m"))
    if way == "cancelled":
        while NAME not in source.namespaces.paused:
            await asyncio.sleep(0)
        finishing.cancel()
    with pytest.raises((MoveError, asyncio.CancelledError)):
        await finishing
    await settled(source)
    assert source.serves
    await source.set(b"key", b"2")


async def test_a_second_try_begins_anew(sides: tuple[Side, Side]) -> None:
    source, target = sides
    await send(source)
    with pytest.raises(MoveError, match="another move"):
        await send(source)
    await source.moves.abandon("m")
    await settled(source)
    await source.set(b"key", b"2")
    source.target = Way("m", target)
    await send(source)
    await source.moves.finish("m")
    target.moves.owned({PARTITION})
    assert await target.get(b"key") == b"2"


def test_records_go_in_messages_of_a_bounded_size() -> None:
    records: list[Record] = [(b"%d" % number, b"x" * 200_000, 0) for number in range(20)]
    records.insert(3, (b"large", b"x" * 5 * MESSAGE_BYTES, 0))
    parts = list(in_messages(records))
    assert [record for part in parts for record in part] == records
    assert all(len(part) == 1 or sum(len(value or b"") for _, value, _ in part) <= MESSAGE_BYTES for part in parts)
