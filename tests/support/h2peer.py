"""A raw HTTP/2 client: every frame is built by hand, so that it can be wrong in any way a test wants.

It opens its windows wide and acknowledges SETTINGS and PINGs unless told not to, and records what the server says. It
must not share code with the server: header blocks are made and read by `hpack`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from urllib.parse import unquote

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(5, 10)
ENHANCE_YOUR_CALM = 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_SETTING = 4
Header = tuple[str | bytes, str | bytes]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return struct.pack(">IBBI", len(payload), kind, flags, stream)[1:] + payload


def settings(*entries: tuple[int, int]) -> bytes:
    """The bytes of a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in entries))


def message(payload: bytes, *, flag: int = 0) -> bytes:
    """A length-prefixed gRPC message."""
    return struct.pack(">BI", flag, len(payload)) + payload


def grpc_headers(path: str, *more: Header, **changed: str | None) -> list[Header]:
    """The head of a gRPC request; `changed` replaces or (None) leaves out pseudo headers, te and content_type."""
    fields = {"method": "POST", "scheme": "http", "path": path, "authority": "test", "te": "trailers",
              "content_type": "application/grpc"} | changed
    names = {"te": "te", "content_type": "content-type"}
    return [(names.get(name, f":{name}"), value) for name, value in fields.items() if value is not None] + list(more)


@dataclass
class Reply:
    """What arrived on one stream. `reset` is an error code of RST_STREAM; `ended` is set by END_STREAM or a reset."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    reset: int | None = None
    ended: bool = False

    @property
    def http_status(self) -> str | None:
        return dict(self.headers).get(":status")

    @property
    def status(self) -> int | None:
        """grpc-status, None when there is none."""
        value = dict(self.headers + self.trailers).get("grpc-status")
        return None if value is None else int(value)

    @property
    def text(self) -> str:
        """grpc-message, decoded."""
        return unquote(dict(self.headers + self.trailers).get("grpc-message", ""))

    def messages(self) -> list[bytes]:
        out, at = [], 0
        while at < len(self.body):
            length = int.from_bytes(self.body[at + 1:at + 5], "big")
            out.append(self.body[at + 5:at + 5 + length])
            at += 5 + length
        return out


class H2Peer:
    """`async with H2Peer(port) as peer`. Streams are numbered by `next_stream`. A `silent` peer only listens."""

    def __init__(self, port: int = 0, *, host: str = "127.0.0.1", path: str | None = None,
                 tls: ssl.SSLContext | None = None, silent: bool = False, acknowledge: bool = True,
                 initial: Sequence[tuple[int, int]] = ((WINDOW_SETTING, 2**31 - 1),)) -> None:
        self._target = (host, port, path, tls)
        self._initial = initial
        self._silent = silent
        self._acknowledge = acknowledge and not silent
        self._stream = -1
        self._changed = asyncio.Condition()
        self.encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self.replies: dict[int, Reply] = {}
        self.goaways: list[tuple[int, int, bytes]] = []  # last stream id, code, reason
        self.pongs: list[bytes] = []
        self.settings: dict[int, int] = {}
        self.settings_acks = 0
        self.window_updates: dict[int, int] = {}
        self.closed = False

    async def __aenter__(self) -> H2Peer:
        host, port, path, tls = self._target
        if path is not None:
            self._reader, self.writer = await asyncio.open_unix_connection(path)
        else:
            self._reader, self.writer = await asyncio.open_connection(
                host, port, ssl=tls, server_hostname="localhost" if tls else None)
        self._task = asyncio.ensure_future(self._read())
        if not self._silent:
            await self.send(PREFACE + settings(*self._initial), frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30)))
            await self.until(lambda: bool(self.settings))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        self._task.cancel()
        self.writer.transport.abort()

    # --- out --------------------------------------------------------------------------------------------------------

    async def send(self, *frames: bytes) -> None:
        """Write, unless the server has closed already: then what it said before counts."""
        if not self.closed:
            self.writer.write(b"".join(frames))
            with contextlib.suppress(ConnectionError):
                await self.writer.drain()

    def next_stream(self) -> int:
        self._stream += 2
        return self._stream

    def head(self, stream: int, headers: Iterable[Header], *, end: bool = False) -> bytes:
        """A HEADERS frame with the whole block."""
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.encoder.encode(list(headers)))

    async def start(self, path: str, *more: Header, **changed: str | None) -> int:
        """Open a stream by a request head; the stream id."""
        stream = self.next_stream()
        await self.send(self.head(stream, grpc_headers(path, *more, **changed)))
        return stream

    async def unary(self, path: str, payload: bytes, *more: Header, flag: int = 0) -> Reply:
        """A whole unary call."""
        stream = self.next_stream()
        await self.send(self.head(stream, grpc_headers(path, *more)),
                        frame(DATA, END_STREAM, stream, message(payload, flag=flag)))
        return await self.reply(stream)

    # --- in ---------------------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for what arrives to make `condition` true; TimeoutError, or AssertionError when the server closes."""
        async with asyncio.timeout(seconds), self._changed:
            while not condition():
                assert not self.closed, f"the server closed: {self.goaways}"
                await self._changed.wait()

    async def reply(self, stream: int, seconds: float = 10) -> Reply:
        """The reply of a stream once it is complete."""
        await self.until(lambda: stream in self.replies and self.replies[stream].ended, seconds)
        return self.replies[stream]

    async def lost(self, seconds: float = 10) -> int | None:
        """Wait for the server to close the connection; the code of its last GOAWAY, None without one."""
        async with asyncio.timeout(seconds):
            await asyncio.wait([self._task])
        return self.goaways[-1][1] if self.goaways else None

    async def ping(self, payload: bytes = b"roundtri") -> None:
        """One round trip: what was sent before has been processed."""
        seen = len(self.pongs)
        await self.send(frame(PING, 0, 0, payload))
        await self.until(lambda: len(self.pongs) > seen)

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                await self._take(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)
                async with self._changed:
                    self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self.closed = True
            async with self._changed:
                self._changed.notify_all()

    async def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS:
            await self._take_settings(flags, payload)
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
            elif self._acknowledge:
                await self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            self.goaways.append((last, code, payload[8:]))
        elif kind == WINDOW_UPDATE:
            self.window_updates[stream] = self.window_updates.get(stream, 0) + int.from_bytes(payload, "big")
        else:
            self._take_reply(self.replies.setdefault(stream, Reply()), kind, flags, payload)

    async def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            self.settings_acks += 1
            return
        self.settings |= dict(struct.iter_unpack(">HI", payload))
        if self._acknowledge:
            await self.send(frame(SETTINGS, ACK, 0))

    def _take_reply(self, reply: Reply, kind: int, flags: int, payload: bytes) -> None:
        if kind == HEADERS:
            assert flags & END_HEADERS, "replies with CONTINUATION are not expected"
            fields = [(str(name), str(value)) for name, value in self._decoder.decode(payload)]
            if reply.headers:
                reply.trailers = fields
            else:
                reply.headers = fields
        elif kind == DATA:
            reply.body += payload
        elif kind == RST_STREAM:
            reply.reset = int.from_bytes(payload, "big")
        reply.ended = reply.ended or kind == RST_STREAM or bool(kind in (DATA, HEADERS) and flags & END_STREAM)
