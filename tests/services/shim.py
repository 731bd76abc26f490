"""A TCP proxy between a client and a server, which a test makes fail in the ways networks do."""

from __future__ import annotations

import asyncio
import contextlib
import re
from enum import Enum, auto


class Fault(Enum):
    """What happens to bytes on their way back to the client; `REFUSE` ends connections, new ones too."""

    NONE = auto()
    STALL = auto()  # nothing comes back, and nothing gets through
    GARBAGE = auto()  # other bytes come back
    LENGTH = auto()  # what comes back says of its first string that it has two thousand million bytes
    SHORTER = auto()  # an HTTP answer says of its body that it is shorter than it is
    LONGER = auto()  # as SHORTER, the other way
    CUT = auto()  # half of what comes back, then the end
    SLOW = auto()  # late, and in pieces
    REFUSE = auto()


class Shim:
    """Listens on a port of its own; `fault` may change at any time, also for open connections."""

    SLOW_S = 0.05
    PIECE_BYTES = 7

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._free: list[asyncio.Event] = []  # one for each connection
        self._held_by: bytes | None = None
        self._held_after = 0
        self.fault = Fault.NONE
        self.connections = 0

    async def __aenter__(self) -> Shim:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.end_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def end_all(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def hold(self) -> None:
        """What present connections send waits here until `release`, also when its sender is gone by then."""
        for free in self._free:
            free.clear()

    def hold_at(self, word: bytes) -> None:
        """The next connection on which these bytes come waits with them, and with what follows, until `release`."""
        self._held_by = word

    def hold_after(self, size: int) -> None:
        """The connection on which so many bytes have passed waits with what follows, until `release`."""
        self._held_after = size

    @property
    def holding(self) -> bool:
        """Whether a connection waits."""
        return not all(free.is_set() for free in self._free)

    def release(self) -> None:
        self._held_by = None
        for free in self._free:
            free.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.fault is Fault.REFUSE:
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        free = asyncio.Event()
        free.set()
        self._free.append(free)
        for task in (self._forward(reader, there_writer, free), self._back(there_reader, writer)):
            running = asyncio.get_running_loop().create_task(task)
            self._tasks.add(running)
            running.add_done_callback(self._tasks.discard)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, free: asyncio.Event
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._stalled()
                if self._held_by is not None and self._held_by in data:
                    self._held_by = None
                    free.clear()
                passed += len(data)
                if 0 < self._held_after <= passed:
                    self._held_after = 0
                    free.clear()
                await free.wait()
                writer.write(data)
                await writer.drain()
            writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._stalled()
                if self.fault is Fault.GARBAGE:
                    data = bytes(byte ^ 0x55 for byte in data)
                elif self.fault is Fault.LENGTH:
                    data = re.sub(rb"\$\d+\r\n", b"$2000000000\r\n", data, count=1)
                elif self.fault in (Fault.SHORTER, Fault.LONGER):
                    data = re.sub(rb"(?<=Content-Length: )\d+", self._lie, data, count=1)
                elif self.fault is Fault.CUT:
                    writer.write(data[:len(data) // 2])
                    await writer.drain()
                    break
                elif self.fault is Fault.SLOW:
                    await self._slowly(data, writer)
                    continue
                writer.write(data)
                await writer.drain()
        writer.close()

    def _lie(self, length: re.Match[bytes]) -> bytes:
        told = int(length[0])
        return b"%d" % (told // 2 if self.fault is Fault.SHORTER else told * 2)

    async def _stalled(self) -> None:
        while self.fault is Fault.STALL:
            await asyncio.sleep(0.01)

    async def _slowly(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.SLOW_S)
        for start in range(0, min(len(data), 10 * self.PIECE_BYTES), self.PIECE_BYTES):
            writer.write(data[start:start + self.PIECE_BYTES])
            await asyncio.sleep(0)
        writer.write(data[10 * self.PIECE_BYTES:])
        await writer.drain()
