"""The proxy that is fuzzed: a process of its own, so that a crash is a failure of the test and names its seed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services.proxy import ProxyProcess, proxy

GAUGES = ("connections", "streams", "handlers_running", "bytes_held")
# The address sanitizer keeps what was freed for a while.
RESIDENT_MOST = (1024 if "PRISM_SANITIZE" in os.environ else 200) * 1024 * 1024


class Target:
    """A proxy, and an honest client that calls it all the while over one connection."""

    def __init__(self, process: ProxyProcess) -> None:
        self._process = process
        self.port = process.port
        self.errors: list[dict[str, Any]] = []
        self._turn = 0

    async def follow_log(self) -> None:
        """Keep what the process says at level error, and its pipe empty."""
        assert self._process.process.stderr is not None
        while line := await self._process.process.stderr.readline():
            said = json.loads(line) if line.startswith(b"{") else {"level": "error", "event": line.decode()}
            if said["level"] == "error":
                self.errors.append(said)

    async def throw(self, data: list[bytes], patience: float) -> bytes:
        """Write the pieces on a connection of their own, listen for `patience` seconds, end it; what was answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        heard = bytearray()

        async def listen() -> None:
            with contextlib.suppress(ConnectionError):
                while more := await reader.read(65536):
                    heard.extend(more)

        listening = asyncio.ensure_future(listen())
        try:
            for piece in data:
                writer.write(piece)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                await asyncio.sleep(0)
            await asyncio.wait([listening], timeout=patience)
            with contextlib.suppress(OSError):
                writer.write_eof()
            async with asyncio.timeout(60):
                await listening
        finally:
            listening.cancel()
            writer.transport.abort()
        return bytes(heard)

    async def assert_serves(self) -> None:
        """The honest client is answered, and right."""
        assert self._process.process.returncode is None, "the proxy died"
        self._turn += 1
        value = b"%d" % self._turn
        await self._stub.Set(pb.SetRequest(key="honest", value=value), timeout=60)
        assert (await self._stub.Get(pb.GetRequest(key="honest"), timeout=60)).value == value

    async def at_rest(self) -> None:
        """Every gauge returns to zero once nobody is connected, and memory has not run away."""
        async with asyncio.timeout(60):
            while any((await self.gauges()).values()):
                await asyncio.sleep(0.02)
        assert self._process.resident_bytes() < RESIDENT_MOST

    async def gauges(self) -> dict[str, int]:
        _, text = await self._process.get("/metrics")
        return {name: int(float(found[1])) for name in GAUGES
                if (found := re.search(rf"^prism_server_{name} (\S+)$", text, re.MULTILINE))}

    @contextlib.asynccontextmanager
    async def honest_client(self) -> AsyncIterator[None]:
        async with grpc.aio.insecure_channel(self._process.address) as channel:
            self._stub = rpc.KeyValueBasicInterfaceStub(channel)
            yield


@contextlib.asynccontextmanager
async def fuzzed(*arguments: str) -> AsyncIterator[Target]:
    """A proxy that must outlive the block unharmed: still serving, at rest, no defect in its log, a clean exit."""
    async with proxy(*arguments) as process:
        target = Target(process)
        log = asyncio.ensure_future(target.follow_log())
        async with target.honest_client():
            await target.assert_serves()
            yield target
            await target.assert_serves()
        await target.at_rest()
        process.signal(signal.SIGTERM)
        assert await process.process.wait() == 0
        await log
        assert not target.errors, f"{len(target.errors)} errors were logged, the first: {target.errors[0]}"
