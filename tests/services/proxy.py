"""A real `prism-proxy` process on ports of its own choice, for tests of the whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

UNREAD_BYTES = 64 * 1024 * 1024  # of a test's log that nobody reads; beyond it the process would block at its next line


class ProxyProcess:
    """`lines` are the log lines so far; `port` and `metrics_port` are known once `start` returned."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None,
                 program: tuple[str, ...] = ("-m", "prism_proxy"), folder: Path | None = None,
                 within: Sequence[str] = (), python: Path | str = sys.executable) -> None:
        self._command = (*within, str(python), *program, *arguments)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PRISM_")}
        self._environment = inherited | dict(environment or {})
        if folder is not None:
            more = self._environment.get("PYTHONPATH")
            self._environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), *([more] if more else [])])
        self._folder = folder
        self.lines: list[dict[str, Any]] = []

    async def start(self) -> ProxyProcess:
        """Wait until it serves. AssertionError with what it said when it ends instead."""
        await self.spawn()
        serving = await self.line("serving")
        self.ports: list[int] = serving["ports"]
        self.port, self.metrics_port = self.ports[0], serving["metrics_port"]
        return self

    async def spawn(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, cwd=self._folder, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=UNREAD_BYTES)

    async def line(self, event: str) -> dict[str, Any]:
        """The next log line about `event`."""
        assert self.process.stderr is not None
        said = []
        while raw := await self.process.stderr.readline():
            said.append(raw.decode())
            if raw.startswith(b"{"):
                self.lines.append(json.loads(raw))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"the process never said {event!r} but:\n{''.join(said)}")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def resident_bytes(self) -> int:
        """Resident memory of the process."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """The exit code; what was left to say is appended to `lines`."""
        _, errors = await self.process.communicate()
        self.lines.extend(json.loads(line) for line in errors.splitlines() if line.startswith(b"{"))
        return int(self.process.returncode or 0)

    async def stop(self) -> int:
        """Drain and wait."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def get(self, path: str) -> tuple[int, str]:
        """(status, body) of a page of the operators' port."""
        return await page(self.metrics_port, path)

    async def __aenter__(self) -> ProxyProcess:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def page(port: int, path: str, connected: socket.socket | None = None) -> tuple[int, str]:
    """(status, body) of a page of the operators' port of a process, which `connected` may be a way to."""
    reader, writer = await (asyncio.open_connection("127.0.0.1", port) if connected is None
                            else asyncio.open_connection(sock=connected))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


def proxy(
    *arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None,
    within: Sequence[str] = (),
) -> ProxyProcess:
    """On free ports of the loopback, unless the arguments say otherwise; run in `folder`, by the command `within`."""
    own = [] if "--listen" in arguments or "PRISM_LISTEN" in (environment or {}) else ["--listen", "127.0.0.1:0"]
    own += [] if "--metrics-listen" in arguments else ["--metrics-listen", "127.0.0.1:0"]
    return ProxyProcess(*own, *arguments, environment=environment, folder=folder, within=within)
