"""The control channel: typed messages over an inherited socket pair, each behind its length (4 bytes, big-endian).

Nothing else goes between supervisor and worker: configurations hold secrets, which arguments and the environment would
show to everyone on the machine.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from prism_proxy.processes import codec

MAX_MESSAGE_BYTES = 256 * 1024 * 1024


class Channel:
    """One end. Messages arrive in the order they were sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, sock: socket.socket) -> Channel:
        """Take over a connected socket."""
        sock.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Any) -> None:
        """Queue a message; one to a peer that is gone is dropped, `receive` tells of that."""
        if not self._writer.is_closing():
            data = codec.dumps(message)
            self._writer.write(len(data).to_bytes(4, "big") + data)

    async def flush(self) -> None:
        """Wait until the peer has taken most of what is queued."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return  # as in send()

    async def receive(self) -> Any:
        """The next message; None when the peer is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(4), "big")
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"a control message of {length} bytes")
            return codec.loads(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        self._writer.close()
