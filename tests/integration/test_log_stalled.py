"""Nobody reads the log of a proxy: it serves as before, counts what it drops, and says so once it is read again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as pb_grpc
from tests.services.proxy import ProxyProcess

OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
CALLS = 900
REQUEST_ID = "r" * 3500  # stands in every line: so many calls are more than the pipe and the queues of two workers hold
MODES = pytest.mark.parametrize("mode", [(), ("--workers", "2")], ids=["alone", "workers"])


class Unread(ProxyProcess):
    """A proxy whose log is read line by line, when the test says so."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--log-calls", "all", *arguments)

    async def spawn(self) -> None:
        reading, writing = os.pipe()
        self.log = os.fdopen(reading, "rb")
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stdout=asyncio.subprocess.DEVNULL, stderr=writing)
        os.close(writing)

    async def line(self, event: str) -> dict[str, Any]:
        while raw := await asyncio.to_thread(self.log.readline):
            self.lines.append(json.loads(raw))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"the process never said {event!r}")

    async def flood(self) -> None:
        """Calls over connections to every worker; all of them must succeed."""
        async def call(number: int) -> None:
            async with grpc.aio.insecure_channel(self.address, OPTIONS) as channel:
                stub = pb_grpc.KeyValueBasicInterfaceStub(channel)
                for _ in range(CALLS // 20):
                    await stub.Exists(pb.ExistsRequest(key="k"), metadata=(("x-request-id", REQUEST_ID),), timeout=10)

        await asyncio.gather(*(call(number) for number in range(20)))

    async def dropped(self) -> float:
        _, text = await self.get("/metrics")
        return next(float(line.split()[1]) for line in text.splitlines()
                    if line.startswith("prism_log_lines_dropped_total "))


@MODES
async def test_a_log_that_nobody_reads_stops_nothing(mode: tuple[str, ...]) -> None:
    async with Unread(*mode) as process:
        await process.flood()
        dropped = await process.dropped()
        assert dropped > 0
        told = 0
        while told < dropped:
            told += (await process.line("lines of this log were dropped because nobody read them"))["lines"]
        process.signal(signal.SIGTERM)
        process.lines.extend(map(json.loads, (await asyncio.to_thread(process.log.read)).splitlines()))
        assert await process.process.wait() == 0
        assert process.lines[-1]["event"] == "stopped"
        kept = [line for line in process.lines if line["event"] == "a call ended"]
        assert (told, len(kept)) == (dropped, CALLS - dropped)


@MODES
async def test_a_proxy_whose_log_nobody_reads_ends_in_time(mode: tuple[str, ...]) -> None:
    async with Unread(*mode) as process:
        await process.flood()
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        assert await process.process.wait() == 0
        assert time.monotonic() - began < 10
