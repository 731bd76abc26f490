"""An owner made by hand: it greets, and answers each frame of a request as a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from tests.support.h2peer import ACK, HEADERS, PREFACE, SETTINGS, frame, settings

Answer = Callable[[int, int], bytes]  # (number of the connection from 1, stream id) -> frames


def nothing(connection: int, stream: int) -> bytes:
    """Silence."""
    return b""


class RawOwner:
    """`heads` are the (connection, stream) of each request head that came."""

    def __init__(self, answer: Answer, greet: bool) -> None:
        self._answer, self._greet = answer, greet
        self._writers: list[asyncio.StreamWriter] = []
        self.heads: list[tuple[int, int]] = []
        self.opened = 0
        self.server: asyncio.Server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        number = self.opened
        self._writers.append(writer)
        if self._greet:
            writer.write(settings())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(len(PREFACE))
            while True:
                head = await reader.readexactly(9)
                length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream = int.from_bytes(head[5:], "big")
                await reader.readexactly(length)
                if kind == SETTINGS and not flags & ACK and self._greet:
                    writer.write(frame(SETTINGS, ACK, 0))
                if kind == HEADERS:
                    self.heads.append((number, stream))
                    writer.write(self._answer(number, stream))

    def end(self) -> None:
        """Let no more connections come."""
        self.server.close()

    def cut(self) -> None:
        """Close every connection at once."""
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def raw_owner(path: str, answer: Answer = nothing, *, greet: bool = True) -> AsyncIterator[RawOwner]:
    """Listens on a Unix socket until the block ends."""
    owner = RawOwner(answer, greet)
    owner.server = await asyncio.start_unix_server(owner.serve, path)
    try:
        yield owner
    finally:
        owner.end()
        owner.cut()
