"""A process with few file descriptors: it takes what it can, refuses the rest at once, and can be watched and drained.
And memory after many connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as stubs
from prism_proxy.server.server import Server
from tests.services.proxy import ProxyProcess, proxy
from tests.support.echo import FRESH, UNARY, Echo
from tests.support.h2peer import PREFACE, settings

SOFT, HARD = 100, 240
MOST = HARD - HARD // 4


@contextlib.asynccontextmanager
async def idle(port: int, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many connections that say hello and no more; their readers, once each was answered or closed."""
    opened = []
    try:
        for _ in range(0, count, 100):
            opened += await asyncio.gather(*(
                asyncio.open_connection("127.0.0.1", port) for _ in range(min(100, count - len(opened)))))
        for _, writer in opened:
            writer.write(PREFACE + settings())
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def answered(reader: asyncio.StreamReader) -> bool:
    """Whether the server took the connection; it must say so, or close, within a second of being asked."""
    try:
        return bool(await asyncio.wait_for(reader.read(9), 1))
    except ConnectionError:
        return False


async def serves(process: ProxyProcess) -> bytes:
    async with grpc.aio.insecure_channel(process.address, options=FRESH) as channel:
        store = stubs.KeyValueBasicInterfaceStub(channel)
        await store.Set(kv.SetRequest(key="a", value=b"1"), timeout=5, wait_for_ready=True)
        return bytes((await store.Get(kv.GetRequest(key="a"))).value)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_connections_stop_below_the_limit_of_descriptors(workers: str) -> None:
    few = ("/bin/sh", "-c", f'ulimit -Sn {SOFT} && ulimit -Hn {HARD} && exec "$@"', "sh")
    async with proxy("--workers", workers, within=few) as process:
        told = [line for line in process.lines if line["event"].startswith("fewer connections than configured")]
        assert [(line["connections"], line["configured"], line["descriptors"]) for line in told] == [
            (MOST, 20_000, HARD)] * int(workers)
        most = MOST * int(workers)
        async with idle(process.port, most + 300) as readers:
            taken = await asyncio.gather(*map(answered, readers))
            assert MOST - 2 <= sum(taken) <= most
            assert (await process.get("/health"))[0] == 200
            metrics = (await process.get("/metrics"))[1]
            assert 'prism_limit_hits_total{limit="connections"} 0' not in metrics
        assert await serves(process) == b"1"
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
        refused = [line for line in process.lines if line["event"] == "connections are refused"]
        assert 1 <= len(refused) <= 2 * int(workers)
        assert all(line["limit"] == MOST for line in refused)


@contextlib.contextmanager
def no_descriptor_left(*, but: int) -> Iterator[None]:
    """Within it this process can open so many files more, and no other."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        lowest = os.dup(0)
        taken.append(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 20, before[1]))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(but):
            os.close(taken.pop())
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_who_comes_when_no_descriptor_is_left_is_refused_at_once() -> None:
    """However many descriptors others took: the server keeps one to say no with."""
    server = Server()
    server.add_generic_rpc_handlers([Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _, writer = await asyncio.open_connection("127.0.0.1", port)  # ours, so that the limit is the server's
    with no_descriptor_left(but=1):
        late, later = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 5)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(late.read(1), 1) == b""
        later.transport.abort()
        assert server.limit_hits()["connections"] >= 1
    writer.transport.abort()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=FRESH) as channel:
        assert await channel.unary_unary(UNARY)(b"again", timeout=5, wait_for_ready=True) == b"again"
    await server.stop(0)


async def test_memory_of_idle_connections_comes_back() -> None:
    count, most_left = 3_000, 12 * 1024 * 1024  # 50 MB while they are open
    async with proxy() as process:
        assert await serves(process) == b"1"
        before = process.resident_bytes()
        async with idle(process.port, count) as readers:
            assert sum(await asyncio.gather(*map(answered, readers))) == count
            assert process.resident_bytes() - before > 2 * most_left
        async with asyncio.timeout(20):
            while process.resident_bytes() - before > most_left:
                await asyncio.sleep(0.2)
