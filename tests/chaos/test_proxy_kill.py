"""A proxy that serves a SQLite file is killed under load: what clients got acknowledged is there, none of it is half.

The ledger is in the test, which outlives every proxy. Each lane writes keys of its own, one write after the other.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_rpc
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_batch_pb2_grpc as batch_rpc
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as transactional
from prism.interfaces.keyvalue import keyvalue_transactional_pb2_grpc as transactional_rpc
from tests.services.proxy import ProxyProcess, proxy
from tests.services.workers import alive

Victims = Literal["proxy", "supervisor", "everyone"]

SOAK = os.environ.get("PRISM_SOAK") == "1"
KILLS: dict[Victims, int] = (
    {"proxy": 50, "supervisor": 25, "everyone": 25} if SOAK else {"proxy": 2, "supervisor": 2, "everyone": 1})
LANES_EACH = 5
SIZE = 3000
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, so to any of the workers
METADATA = (("x-namespace", "synced"),)
PATIENCE_S = 10.0


def value(number: int) -> bytes:
    """Tells which write it is of, and whether it is whole; nothing was written by number 0."""
    return (b"%012d" % number) * (SIZE // 12) if number else b""


class Lane(ABC):
    """`acknowledged` and `begun` are the latest writes that were; what is stored is of one of those between."""

    width = 1  # keys of one write

    def __init__(self, index: int) -> None:
        self.keys = [f"{type(self).__name__}-{index}-{key}" for key in range(self.width)]
        self.acknowledged = self.begun = self.writes = 0

    @abstractmethod
    async def write(self, channel: grpc.aio.Channel, written: bytes) -> None:
        """Write it to all keys, and return when that is acknowledged."""

    async def run(self, address: str) -> None:
        """Write until the proxy is gone."""
        async with grpc.aio.insecure_channel(address, OPTIONS) as channel:
            try:
                while True:
                    self.begun += 1
                    await self.write(channel, value(self.begun))
                    self.acknowledged = self.begun
                    self.writes += 1
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise

    def check(self, stored: list[bytes]) -> None:
        for found in stored:
            number = int(found[:12] or 0)
            assert found == value(number), f"{self.keys}: a value is half one write, half another"
            assert self.acknowledged <= number <= self.begun, (
                f"{self.keys}: {number} is not in {self.acknowledged}..{self.begun}")
        self.acknowledged = min(int(found[:12] or 0) for found in stored)  # what was found once is not lost later


class Single(Lane):
    async def write(self, channel: grpc.aio.Channel, written: bytes) -> None:
        stub = basic_rpc.KeyValueBasicInterfaceStub(channel)
        reply = await stub.Set(basic.SetRequest(key=self.keys[0], value=written), metadata=METADATA, timeout=PATIENCE_S)
        assert reply.success


class Batch(Lane):
    width = 4

    async def write(self, channel: grpc.aio.Channel, written: bytes) -> None:
        stub = batch_rpc.KeyValueBatchInterfaceStub(channel)
        requests = [basic.SetRequest(key=key, value=written) for key in self.keys]
        reply = await stub.BatchSet(batch.BatchSetRequest(requests=requests), metadata=METADATA, timeout=PATIENCE_S)
        assert reply.all_success


class Transaction(Lane):
    width = 2

    async def write(self, channel: grpc.aio.Channel, written: bytes) -> None:
        stub = transactional_rpc.KeyValueTransactionalInterfaceStub(channel)
        handle = (await stub.BeginTransaction(
            transactional.BeginTransactionRequest(), metadata=METADATA, timeout=PATIENCE_S)).transaction_id
        for key in self.keys:
            await stub.SetInTransaction(
                transactional.SetInTransactionRequest(transaction_id=handle, key=key, value=written),
                metadata=METADATA, timeout=PATIENCE_S)
        reply = await stub.Commit(
            transactional.CommitRequest(transaction_id=handle), metadata=METADATA, timeout=PATIENCE_S)
        assert (reply.success, reply.applied) == (True, self.width)

    def check(self, stored: list[bytes]) -> None:
        assert len(set(stored)) == 1, f"{self.keys}: half of a transaction is there"
        super().check(stored)


async def check(address: str, lanes: list[Lane]) -> None:
    """Read everything back."""
    async with grpc.aio.insecure_channel(address, OPTIONS) as channel:
        stub = batch_rpc.KeyValueBatchInterfaceStub(channel)
        for lane in lanes:
            reply = await stub.BatchGet(
                batch.BatchGetRequest(keys=lane.keys), metadata=METADATA, timeout=PATIENCE_S)
            lane.check([found.value for found in reply.results])


def family(process: ProxyProcess) -> list[int]:
    """The process, and its workers."""
    pid = process.process.pid
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def owner_of(store: Path) -> int:
    """The process that has the file, or had it last."""
    return int(Path(f"{store}.lock").read_text())


async def restarted(arguments: list[str], store: Path) -> ProxyProcess:
    """Start on the file that workers may still have: refused while its owner lives, and only then."""
    owner = owner_of(store)
    limit = time.monotonic() + PATIENCE_S
    while True:
        was_alive = alive(owner)
        try:
            process = await proxy(*arguments).start()
        except AssertionError as refusal:
            if f"STORE_IN_USE: {store} is in use by process {owner}" not in str(refusal):
                raise
            assert was_alive, "the file is held by nobody that lives"
            assert time.monotonic() < limit, "workers outlive their supervisor"
        else:
            assert not alive(owner), "two processes had the file"
            return process


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while any(map(alive, pids)):
            await asyncio.sleep(0.01)


async def load(group: asyncio.TaskGroup, process: ProxyProcess, lanes: list[Lane], seconds: float) -> None:
    """Start the lanes; return that long after each of them wrote."""
    goals = [lane.writes + 1 for lane in lanes]
    running = [group.create_task(lane.run(process.address)) for lane in lanes]
    async with asyncio.timeout(3 * PATIENCE_S):
        while any(lane.writes < goal for lane, goal in zip(lanes, goals, strict=True)):
            await asyncio.sleep(0.01)
    await asyncio.sleep(seconds)
    assert not any(task.done() for task in running), "a call failed before the kill"


def configured(folder: Path, workers: int) -> tuple[Path, list[str]]:
    """The file of the only namespace, and the arguments that serve it."""
    store, file = folder / "store.db", folder / "prism.yaml"
    file.write_text(f"namespaces: {{synced: {{backends: {{store: {{driver: sqlite, config: {{path: {store}}}}}}}}}}}\n")
    return store, ["--config", str(file), "--workers", str(workers)]


def all_lanes() -> list[Lane]:
    return [kind(index) for kind in (Single, Batch, Transaction) for index in range(LANES_EACH)]


@pytest.mark.timeout(60 + 10 * max(KILLS.values()))
@pytest.mark.parametrize("victims", KILLS)
async def test_every_acknowledged_write_survives_a_kill_of_the_proxy(tmp_path: Path, victims: Victims) -> None:
    store, arguments = configured(tmp_path, workers=1 if victims == "proxy" else 2)
    lanes, chance = all_lanes(), random.Random(21)
    process = await proxy(*arguments).start()
    try:
        for _ in range(KILLS[victims]):
            pids = family(process)
            async with asyncio.TaskGroup() as group:
                await load(group, process, lanes, chance.uniform(0, 0.5))
                for pid in pids if victims == "everyone" else pids[:1]:
                    os.kill(pid, signal.SIGKILL)
                process = await restarted(arguments, store)
            await gone(pids)
            await check(process.address, lanes)
        assert await process.stop() == 0
    finally:
        await process.__aexit__()
    written = sum(lane.writes for lane in lanes)
    logging.getLogger(__name__).info("%d kills, %d writes acknowledged", KILLS[victims], written)
    assert written > len(lanes) * KILLS[victims], "the lanes hardly wrote"


async def test_a_worker_that_outlives_its_supervisor_keeps_the_file_to_itself(tmp_path: Path) -> None:
    store, arguments = configured(tmp_path, workers=2)
    lanes = all_lanes()
    async with proxy(*arguments) as process:
        pids, owner = family(process), owner_of(store)
        assert owner in pids[1:]
        async with asyncio.TaskGroup() as group:
            await load(group, process, lanes, 0.1)
            os.kill(owner, signal.SIGSTOP)  # it cannot notice that its supervisor ends
            try:
                process.signal(signal.SIGKILL)
                with pytest.raises(AssertionError, match=f"STORE_IN_USE: {store} is in use by process {owner}"):
                    await proxy(*arguments).start()
            finally:
                os.kill(owner, signal.SIGCONT)
        await gone(pids)
    async with proxy(*arguments) as process:
        await check(process.address, lanes)
        assert await process.stop() == 0
