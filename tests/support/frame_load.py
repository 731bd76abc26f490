"""A load of one call, again and again, from a process of its own: frames are made once and written as they are.

    python -m tests.support.frame_load HOST:PORT PATH REQUEST_HEX RATE SECONDS DEADLINE_S

It calls at `RATE` whatever becomes of the calls (0: as fast as 64 in flight go), and prints one JSON object: calls
`begun` a second; `in_time`, those a second that ended OK within their deadline; `shed`, `late` and `refused` (no
stream was left), a second each. Fast enough to bring a server to several times what it can do.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections import deque

import uvloop

from tests.support.h2peer import DATA, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, grpc_headers

CONNECTIONS, STREAMS = 16, 250
TICK_S = 0.002


class Connection(asyncio.Protocol):
    """One connection; `load` counts what arrives."""

    def __init__(self, load: Load, head: bytes, body: bytes) -> None:
        self.load, self.began, self.stream, self.buffer = load, dict[int, float](), 1, b""
        self.got_data: set[int] = set()
        self._head = struct.pack(">IBB", len(head), HEADERS, 0x4)[1:], head
        self._body = struct.pack(">IBB", len(body), DATA, END_STREAM)[1:], body
        self.out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        window = struct.pack(">IBBIHI", 6, SETTINGS, 0, 0, 4, 2**31 - 1)[1:]
        self.transport.write(PREFACE + window + struct.pack(">IBBII", 4, 8, 0, 0, 2**31 - 1 - 65535)[1:])

    def call(self, now: float) -> bool:
        if len(self.began) >= STREAMS:
            return False
        stream = struct.pack(">I", self.stream)
        self.out += (self._head[0], stream, self._head[1], self._body[0], stream, self._body[1])
        self.began[self.stream] = now
        self.stream += 2
        return True

    def flush(self) -> None:
        if self.out:
            self.transport.write(b"".join(self.out))
            self.out.clear()

    def data_received(self, data: bytes) -> None:
        data, at, now, received = self.buffer + data, 0, time.monotonic(), 0
        while len(data) - at >= 9:
            length, kind, flags = int.from_bytes(data[at:at + 3], "big"), data[at + 3], data[at + 4]
            if len(data) - at < 9 + length:
                break
            stream = int.from_bytes(data[at + 5:at + 9], "big")
            at += 9 + length
            if kind == DATA:
                received += length
                self.got_data.add(stream)
            elif kind == SETTINGS and not flags & 1:
                self.out.append(struct.pack(">IBBI", 0, SETTINGS, 1, 0)[1:])
            elif kind == PING and not flags & 1:
                self.out.append(struct.pack(">IBBI", length, PING, 1, 0)[1:] + data[at - length:at])
            elif kind == GOAWAY:
                raise AssertionError(data[at - length:at])
            if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                self.load.ended(now - self.began.pop(stream, now), stream in self.got_data)
                self.got_data.discard(stream)
        self.buffer = data[at:]
        if received:
            self.out.append(struct.pack(">IBBII", 4, 8, 0, 0, received)[1:])
        self.load.more(self, now)
        self.flush()


class Load:
    def __init__(self, rate: float, deadline_s: float) -> None:
        self.rate, self.deadline_s, self.counting = rate, deadline_s, False
        self.counts = dict.fromkeys(("begun", "in_time", "shed", "late", "refused"), 0)

    def ended(self, seconds: float, ok: bool) -> None:
        if self.counting:
            self.counts["shed" if not ok else "in_time" if seconds <= self.deadline_s else "late"] += 1

    def more(self, connection: Connection, now: float) -> None:
        while not self.rate and len(connection.began) < 64 // CONNECTIONS:
            connection.call(now)
            self.counts["begun"] += self.counting


async def run(
    address: str, path: str, request: bytes, rate: float, seconds: float, deadline_s: float
) -> dict[str, float]:
    load, loop = Load(rate, deadline_s), asyncio.get_running_loop()
    fields = grpc_headers(path, ("grpc-timeout", f"{int(deadline_s * 1000)}m"))
    head = b"".join(b"\x00" + _text(str(name)) + _text(str(value)) for name, value in fields)
    body = struct.pack(">BI", 0, len(request)) + request
    host, port = address.rsplit(":", 1)
    connections = [(await loop.create_connection(lambda: Connection(load, head, body), host, int(port)))[1]
                   for _ in range(CONNECTIONS)]
    turn = deque(connections)
    began = time.monotonic()
    warm, end, made = began + seconds / 3, began + seconds * 4 / 3, 0
    while (now := time.monotonic()) < end:
        load.counting = now >= warm
        if not rate:
            for connection in connections:
                load.more(connection, now)
        while rate and made < (now - began) * rate:
            made += 1
            turn.rotate()
            load.counts["begun"] += load.counting
            if not turn[0].call(now):
                load.counts["refused"] += load.counting
        for connection in connections:
            connection.flush()
        await asyncio.sleep(TICK_S)
    for connection in connections:
        connection.transport.abort()
    return {name: round(count / seconds, 1) for name, count in load.counts.items()}


def _text(text: str) -> bytes:
    """A string literal of HPACK, which no table is needed for."""
    length = len(text)
    if length < 127:
        return bytes([length]) + text.encode()
    return bytes([127, length - 127]) + text.encode()


if __name__ == "__main__":
    address_, path_, request_, rate_, seconds_, deadline_ = sys.argv[1:]
    print(json.dumps(uvloop.run(  # noqa: T201 - its result
        run(address_, path_, bytes.fromhex(request_), float(rate_), float(seconds_), float(deadline_)))))
