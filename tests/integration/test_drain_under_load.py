"""Draining while stock clients, without retry policy, keep calling."""

import asyncio
import os
import time
from collections import Counter

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as pb_grpc
from tests.services.proxy import ProxyProcess, proxy

pytestmark = pytest.mark.serial

SOAK = os.environ.get("PRISM_SOAK") == "1"
CONNECTIONS = 1000 if SOAK else 60
RESTARTS = 50 if SOAK else 6
# Each channel has its own connection, and channels do not retry what the proxy refused.
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", "{}")]


class Load:
    """Clients that call one after the other until told to stop; `codes` counts how the calls ended."""

    def __init__(self, target: str, clients: int, *, until_failure: bool) -> None:
        self._target = target
        self._clients = clients
        self._until_failure = until_failure
        self._stop = asyncio.Event()
        self._connected = asyncio.Semaphore(0)
        self.codes: Counter[grpc.StatusCode] = Counter()
        self.details: set[str] = set()

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        for _ in self._tasks:
            await self._connected.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def finished(self) -> None:
        """Every client met its first failure."""
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        async with grpc.aio.insecure_channel(self._target, OPTIONS) as channel:
            stub = pb_grpc.KeyValueBasicInterfaceStub(channel)
            await stub.Exists(pb.ExistsRequest(key="k"))
            self._connected.release()
            while not self._stop.is_set():
                call = stub.Exists(pb.ExistsRequest(key="k"))
                code = await call.code()
                self.codes[code] += 1
                if code is not grpc.StatusCode.OK:
                    self.details.add(await call.details() or "")
                    if self._until_failure:
                        return


@pytest.mark.timeout(600 if SOAK else 60)
async def test_DRN_5_under_load_calls_fail_with_the_drain_status_alone() -> None:
    async with proxy() as process, Load(f"127.0.0.1:{process.port}", CONNECTIONS, until_failure=True) as load:
        assert await process.stop() == 0
        assert process.lines[-1]["aborted"] == 0
        await load.finished()
    assert set(load.codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}, (load.codes, load.details)
    assert load.codes[grpc.StatusCode.UNAVAILABLE] == CONNECTIONS


@pytest.mark.timeout(1200 if SOAK else 60)
async def test_rolling_restarts_of_two_proxies_fail_no_call() -> None:
    """Two processes on one port; one at a time is replaced while ten clients call without pause."""
    first = await proxy("--reuse-port").start()
    listen = ("--reuse-port", "--listen", f"127.0.0.1:{first.port}")
    pair: list[ProxyProcess] = [first, await proxy(*listen).start()]
    try:
        async with Load(f"127.0.0.1:{first.port}", 10, until_failure=False) as load:
            for number in range(RESTARTS):
                before = load.codes.total()
                fresh = await proxy(*listen).start()
                assert await pair[number % 2].stop() == 0
                pair[number % 2] = fresh
                deadline = time.monotonic() + 10
                while load.codes.total() < before + 200:
                    assert time.monotonic() < deadline, "the clients came to a standstill"
                    await asyncio.sleep(0.01)
        assert set(load.codes) == {grpc.StatusCode.OK}, (load.codes, load.details)
    finally:
        for process in pair:
            await process.__aexit__()
