"""The second port: `/metrics`, `/health` and `/ready` over a small, hardened HTTP/1.1 server.

It serves GET and HEAD of three fixed paths and nothing else, and trusts no byte: heads are capped, every wait has an
end, connections are counted, and a request with a body is refused rather than guessed at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from prism_runtime.address import Address, bind_all

HEAD_BYTES = 8 * 1024
REQUEST_LINE_BYTES = 1024
MAX_CONNECTIONS = 64
PIECES_PER_TURN = 16  # of the metrics page, so that a large one does not hold the loop
PATHS = (b"/metrics", b"/health", b"/ready")
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
            414: "URI Too Long", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}

Reply = tuple[int, str, str]  # status, content type, body


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: from the first byte of a request to the end of its head; for writing a reply; between requests."""

    head: float = 5
    write: float = 10
    idle: float = 60


class TelemetryServer:
    """`metrics()` gives the exposition in pieces; `readiness()` whether calls can be served, and the details shown.

    `refresh` is awaited before `metrics`, where figures come from elsewhere.
    """

    def __init__(
        self, metrics: Callable[[], Iterable[str]], readiness: Callable[[], tuple[bool, dict[str, object]]],
        *, refresh: Callable[[], Awaitable[None]] | None = None, timeouts: Timeouts | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._metrics = metrics
        self._refresh = refresh
        self._readiness = readiness
        self._timeouts = timeouts or Timeouts()
        self._max_connections = max_connections
        self._servers: list[asyncio.Server] = []
        self._path: str | None = None  # of a Unix socket
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen in all families of the address; returns the port. OSError when it is taken."""
        for sock in bind_all(Address(host, port), share_port=False):
            self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=HEAD_BYTES))
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def start_on(self, sock: socket.socket) -> None:
        """Listen on a Unix socket, whose file goes when this closes."""
        self._servers.append(await asyncio.start_unix_server(self._serve, sock=sock, limit=HEAD_BYTES))
        self._path = sock.getsockname()

    async def close(self) -> None:
        """Stop listening and cut what is open."""
        for server in self._servers:
            server.close()
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        for writer in list(self._connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._max_connections:
            writer.transport.abort()
            return
        self._connections.add(writer)
        writer.transport.set_write_buffer_limits(high=0)  # drain() then waits until the peer took everything
        try:
            while await self._serve_one(reader, writer):
                pass
            writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()  # the peer went away or was too slow: nothing is owed to it
        finally:
            self._connections.discard(writer)

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection ends."""
        head_only, keep = False, False
        try:
            head = await self._read_head(reader)
            if not head:
                return False
            method, path, keep = _parse(head)
            head_only = method == b"HEAD"
            reply = await self._answer(method, path)
        except _BadRequestError as error:
            reply = error.status, "text/plain", f"{error.message}\n"
        async with asyncio.timeout(self._timeouts.write):
            await _write(writer, reply, head_only=head_only, keep=keep)
        return keep

    async def _read_head(self, reader: asyncio.StreamReader) -> bytes:
        """A request without its body; empty when the peer closed in between."""
        async with asyncio.timeout(self._timeouts.idle):
            first = await reader.read(1)
        if not first:
            return b""
        try:
            async with asyncio.timeout(self._timeouts.head):
                return first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise _BadRequestError(431, f"the request head is larger than {HEAD_BYTES} bytes") from None
        except TimeoutError:
            raise _BadRequestError(408, f"the request head took longer than {self._timeouts.head:g} s") from None

    async def _answer(self, method: bytes, path: bytes) -> Reply:
        if path not in PATHS:
            return 404, "text/plain", "try /metrics, /health or /ready\n"
        if method not in (b"GET", b"HEAD"):
            return 405, "text/plain", "only GET and HEAD\n"
        if path == b"/metrics":
            if self._refresh is not None:
                await self._refresh()
            return 200, "text/plain; version=0.0.4; charset=utf-8", await _joined(self._metrics())
        if path == b"/health":
            return 200, "application/json", json.dumps({"status": "healthy"}) + "\n"
        ready, details = self._readiness()
        body = {"status": "ready" if ready else "not ready", **details}
        return 200 if ready else 503, "application/json", json.dumps(body) + "\n"


class _BadRequestError(Exception):
    """The request is answered with `status`, and its connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def _joined(pieces: Iterable[str]) -> str:
    out: list[str] = []
    for piece in pieces:
        out.append(piece)
        if len(out) % PIECES_PER_TURN == 0:
            await asyncio.sleep(0)
    return "".join(out)


def _parse(head: bytes) -> tuple[bytes, bytes, bool]:
    """(method, path without query, whether the connection is kept)."""
    line, *fields = head[:-4].split(b"\r\n")
    if len(line) > REQUEST_LINE_BYTES:
        raise _BadRequestError(414, f"the request line is longer than {REQUEST_LINE_BYTES} bytes")
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise _BadRequestError(400, "not an HTTP/1 request")
    method, target, version = parts
    if not method.isalpha() or not target.startswith(b"/") or not _visible(target):
        raise _BadRequestError(400, "malformed request line")
    headers = _parse_fields(fields)
    if version == b"HTTP/1.1" and b"host" not in headers:
        raise _BadRequestError(400, "a request needs a Host field")
    if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        raise _BadRequestError(400, "requests with a body are not served here")
    connection = headers.get(b"connection", b"").lower()
    keep = connection != b"close" if version == b"HTTP/1.1" else connection == b"keep-alive"
    return method, target.partition(b"?")[0], keep


def _parse_fields(fields: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in fields:
        name, colon, value = line.partition(b":")
        if not colon or not name or not _visible(name) or any(byte in value for byte in b"\r\n\0"):
            raise _BadRequestError(400, "malformed header field")
        key = name.lower()
        if key in headers and key in (b"host", b"content-length"):
            raise _BadRequestError(400, "a header field came twice")
        headers[key] = value.strip(b" \t")
    return headers


def _visible(text: bytes) -> bool:
    return all(0x20 < byte < 0x7F for byte in text)


async def _write(writer: asyncio.StreamWriter, reply: Reply, *, head_only: bool, keep: bool) -> None:
    status, content_type, text = reply
    body = text.encode()
    head = (f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
            f"cache-control: no-store\r\nconnection: {'keep-alive' if keep else 'close'}\r\n")
    if status == 405:
        head += "allow: GET, HEAD\r\n"
    writer.write(head.encode() + b"\r\n" + (b"" if head_only else body))
    with contextlib.suppress(ConnectionError):
        await writer.drain()
