"""A real `prism-admin serve` process on a port of its own choice."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services.proxy import page


class AdminProcess:
    """`port`, `metrics_port` and `started_s` are known once `start` returned; `said` and `stopped_s` after `stop`."""

    def __init__(self, urn: str, *arguments: str, port: int = 0, host: str = "127.0.0.1",
                 environment: Mapping[str, str] | None = None, within: Sequence[str] = ()) -> None:
        self._command = (*within, sys.executable, "-m", "prism_admin", "serve", "--db", urn, "--listen",
                         f"{host}:{port}", "--metrics-listen", "127.0.0.1:0", *arguments)
        self.port = port
        self._environment = {**os.environ, **(environment or {})}

    async def start(self) -> AdminProcess:
        """Wait until it serves. AssertionError with what it said when it ends instead."""
        began = time.monotonic()
        await self._spawn()
        await self.serving()
        self.started_s = time.monotonic() - began
        return self

    async def spawn_until(self, said: str) -> AdminProcess:
        """Wait for a line of its log; `serving` is for later."""
        await self._spawn()
        await self._line(said.encode())
        return self

    async def serving(self, seconds: float = 60.0) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(seconds):
            line = await self._line(rb"serving on port (\d+)")
        self.port = int(line[1])
        assert self.process.stderr is not None
        self._rest = asyncio.create_task(self.process.stderr.read())

    async def _spawn(self) -> None:
        self._first = b""
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stderr=asyncio.subprocess.PIPE)

    async def _line(self, pattern: bytes) -> re.Match[bytes]:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self._first += line
            if found := re.search(pattern, line):
                shown = re.search(rb"metrics_port\D+(\d+)", line)
                self.metrics_port = int(shown[1]) if shown else 0
                return found
        raise AssertionError(f"the admin never said {pattern.decode()!r} but:\n{self._first.decode()}")

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    async def get(self, path: str) -> tuple[int, str]:
        """(status, body) of a page of the operators' port."""
        return await page(self.metrics_port, path)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        began = time.monotonic()
        self.process.send_signal(number)
        code = await self.process.wait()
        self.stopped_s = time.monotonic() - began
        self.said = (self._first + await self._rest).decode()
        return code


async def run(*arguments: str, given: bytes = b"") -> tuple[int, str, str]:
    """(exit code, output, errors) of a `prism-admin` command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prism_admin", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE)
    output, errors = await process.communicate(given)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()
