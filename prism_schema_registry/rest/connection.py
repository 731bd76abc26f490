"""One HTTP/1.1 connection: bytes to requests by llhttp, replies in their order, and every wait with an end.

A request that the cache can answer is answered within the read that brought it. The others run one after another in a
task. A connection that sends faster than it is answered is not read from meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, cast

import httptools

from prism_schema_registry.rest.http import Request, error_reply, wire

if TYPE_CHECKING:
    from prism_schema_registry.rest.server import HttpServer

MAX_HEAD_BYTES = 16 * 1024
MAX_WAITING = 16
_GET = b"GET"


class HttpConnection(asyncio.Protocol):
    """`deadline` is when the server may cut it off: it is silent, or slow to send or to take."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closing = self._in_request = False
        self.deadline = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request has begun that is not answered."""
        return self._in_request or self._task is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has another base
        self._reset()
        self.deadline = time.monotonic() + self._server.limits.idle
        if not self._server.admit(self):
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._writable.set()
        self._server.forget(self)

    def pause_writing(self) -> None:
        self._writable.clear()
        self.deadline = time.monotonic() + self._server.limits.write

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.refuse(400, 400, "this is no HTTP/1.1 request")

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0]:])
        if self._in_head:  # what it has of an unfinished field, the parser alone knows
            self._count_head(len(data))

    def _decline(self, rest: bytes) -> None:
        """Another protocol is offered, which is not taken: the request is read again, without the offer. The parser
        would take its body for the other protocol."""
        method = self._parser.get_method()
        if method == b"CONNECT":
            self.refuse(405, 405, "HTTP 405 Method Not Allowed")
            return
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in self._headers.items()
                          if name not in (b"upgrade", b"http2-settings", b"connection"))
        self._parser = httptools.HttpRequestParser(self)
        self._feed(method + b" " + self._target + b" HTTP/1.1\r\n" + fields + b"\r\n" + rest)

    # What the parser calls

    def on_message_begin(self) -> None:
        self._reset()
        self._in_request = self._in_head = True
        self.deadline = time.monotonic() + self._server.limits.request

    def on_url(self, part: bytes) -> None:
        self._target += part
        self._count_head(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value
        self._count_head(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._closing or self._parser.should_upgrade():
            return
        headers = self._headers
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._server.limits.body:
            self._refuse_large()
        elif headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        if self._closing:
            return
        self._body.append(part)
        self._size += len(part)
        if self._size > self._server.limits.body:
            self._refuse_large()

    def on_message_complete(self) -> None:
        self._in_request = False
        if self._closing or self._parser.should_upgrade():
            return
        self.deadline = time.monotonic() + self._server.limits.idle
        method = self._parser.get_method()
        keep = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        if method == _GET and keep and self._task is None and self._writable.is_set():
            reply = self._server.cached(self._target, self._headers)
            if reply is not None:
                self._transport.write(reply)
                return
        self._waiting.append(Request(method, self._target, self._headers, b"".join(self._body), keep))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())
        if len(self._waiting) >= MAX_WAITING:
            self._transport.pause_reading()

    # Replies

    async def _serve(self) -> None:
        try:
            while self._waiting and not self._closing:
                request = self._waiting.popleft()
                reply = await self._server.answer(request)
                close = not request.keep or self._server.draining
                await self._writable.wait()
                if self._closing:
                    return
                self._transport.write(wire(reply, close=close, head_only=request.method == b"HEAD"))
                self.deadline = time.monotonic() + self._server.limits.idle
                if close:
                    self.close()
                elif not self._transport.is_reading():
                    self._transport.resume_reading()
        finally:
            self._task = None

    def refuse(self, status: int, code: int, message: str) -> None:
        """Answer what cannot be read further, and end: where the next request begins is unknown."""
        if self._task is None:
            self._transport.write(wire(error_reply(status, code, message), close=True))
        self.close()

    def expire(self) -> None:
        """The deadline is over: cut off, unless a request runs here, which is nobody's fault but ours."""
        if self._task is None or not self._writable.is_set():
            self.abort()

    def close(self) -> None:
        """After what is written was sent."""
        self._closing = True
        self._transport.close()

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES and not self._closing:
            self.refuse(431, 431, f"the request head is larger than {MAX_HEAD_BYTES} bytes")

    def _refuse_large(self) -> None:
        self.refuse(413, 42209, f"Schema is too large: at most {self._server.limits.body} bytes are read")

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = self._head_bytes = 0
        self._in_head = False
