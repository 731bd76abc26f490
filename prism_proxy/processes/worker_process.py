"""One worker process as its supervisor sees it: started by exec, told and heard over its channel, watched to its end.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from prism_proxy.processes.channel import Channel
from prism_proxy.processes.messages import Start

Handler = Callable[["WorkerProcess", Any], None]


class WorkerProcess:
    """One epoch of one worker. `on_message` gets what it says, in order, until `watch` returns."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel, start: Start,
                 on_message: Handler) -> None:
        self._process = process
        self._channel = channel
        self._on_message = on_message
        self.worker = start.worker
        self.epoch = start.epoch
        self.ready = False
        self.drained = asyncio.Event()

    @classmethod
    async def start(cls, start: Start, on_message: Handler) -> WorkerProcess:
        """Exec the worker, with its sockets, and tell it who it is. OSError when no process can be made."""
        ours, theirs = socket.socketpair()
        inherited = (theirs.fileno(), start.internal_socket, start.quotas, *start.sockets)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *_as_here(), "-m", "prism_proxy.processes", str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=inherited)
        channel = await Channel.open(ours)
        channel.send(start)
        return cls(process, channel, start, on_message)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def send(self, message: Any) -> None:
        self._channel.send(message)

    async def watch(self) -> int:
        """Hand over messages until the process has ended; its exit code, negative for a signal."""
        while (message := await self._channel.receive()) is not None:
            self._on_message(self, message)
        # A worker ends when its channel does; only one that hangs would have to be killed, by who wants that.
        code = await self._process.wait()
        self.drained.set()
        self._channel.close()
        return code

    def kill(self) -> None:
        if self.alive:
            self._process.kill()


def _as_here() -> tuple[str, ...]:
    """So that the worker is the same program: modules are found in the working directory only if they are here."""
    return () if sys.path[0] == os.getcwd() else ("-P",)
