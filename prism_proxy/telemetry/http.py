"""The second port: `/metrics`, `/health` and `/ready` over a small, hardened HTTP/1.1 server.

It serves GET and HEAD of three fixed paths and nothing else, so every limit is tight: 8 KiB of request head within 5 s,
10 s for the reply, 60 s between requests, 64 connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

HEAD_BYTES = 8 * 1024
HEAD_SECONDS = 5.0
WRITE_SECONDS = 10.0
IDLE_SECONDS = 60.0
MAX_CONNECTIONS = 64
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
            431: "Request Header Fields Too Large", 503: "Service Unavailable"}

Reply = tuple[int, str, str]  # status, content type, body


class TelemetryServer:
    """`metrics()` gives the exposition; `readiness()` whether calls can be served, and the details shown."""

    def __init__(self, metrics: Callable[[], str], readiness: Callable[[], tuple[bool, dict[str, object]]]) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._connections):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections.add(writer)
        try:
            wait = HEAD_SECONDS
            while await self._serve_one(reader, writer, wait):
                wait = IDLE_SECONDS
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the peer went away or was too slow: nothing is owed to it
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: float) -> bool:
        """Answer one request; False when the connection ends."""
        try:
            async with asyncio.timeout(wait):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            await _write(writer, (431, "text/plain", "the request head is larger than 8 KiB\n"), head_only=False, keep=False)
            return False
        request_line, _, fields = head.partition(b"\r\n")
        parts = request_line.split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            await _write(writer, (400, "text/plain", "not an HTTP/1 request\n"), head_only=False, keep=False)
            return False
        method, target, version = parts
        # A request body is never read, so a request that announces one ends the connection.
        lowered = fields.lower()
        keep = version == b"HTTP/1.1" and b"connection: close" not in lowered and not (
            b"content-length:" in lowered or b"transfer-encoding:" in lowered)
        reply = self._answer(method, target.split(b"?")[0])
        await _write(writer, reply, head_only=method == b"HEAD", keep=keep)
        return keep

    def _answer(self, method: bytes, path: bytes) -> Reply:
        if path not in (b"/metrics", b"/health", b"/ready"):
            return 404, "text/plain", "try /metrics, /health or /ready\n"
        if method not in (b"GET", b"HEAD"):
            return 405, "text/plain", "only GET and HEAD\n"
        if path == b"/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics()
        if path == b"/health":
            return 200, "application/json", json.dumps({"status": "healthy"}) + "\n"
        ready, details = self._readiness()
        body = {"status": "ready" if ready else "not ready", **details}
        return 200 if ready else 503, "application/json", json.dumps(body) + "\n"


async def _write(writer: asyncio.StreamWriter, reply: Reply, *, head_only: bool, keep: bool) -> None:
    status, content_type, text = reply
    body = text.encode()
    head = (f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
            f"connection: {'keep-alive' if keep else 'close'}\r\n")
    if status == 405:
        head += "allow: GET, HEAD\r\n"
    writer.write(head.encode() + b"\r\n" + (b"" if head_only else body))
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(WRITE_SECONDS):
            await writer.drain()
