"""Calls at a fixed rate, whatever the answers take: latency of a server, or of Redis itself, as an application sees it.

`python -m benchmarks.load.paced grpc|redis PORT RATE CONNECTIONS SECONDS` prints one line of JSON. Both forms write
bytes made beforehand and look for the end of an answer, so that the difference between two runs is the servers'.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from typing import cast

import hpack
import uvloop

from benchmarks import workload

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Caller(asyncio.Protocol):
    """One connection with at most one call in flight; `times` are seconds, None until an answer is complete."""

    def __init__(self, times: list[float]) -> None:
        self._times = times
        self._began = 0.0
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def call(self) -> None:
        self.busy = True
        self._began = time.perf_counter()
        self._transport.write(self.request())

    def answered(self) -> None:
        if self.busy:
            self._times.append(time.perf_counter() - self._began)
            self.busy = False

    def request(self) -> bytes:
        raise NotImplementedError


class RedisCaller(Caller):
    """GET of a value that is there."""

    def request(self) -> bytes:
        name = workload.key(0).encode()
        return b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n"):
            self.answered()


class GrpcCaller(Caller):
    """Get, by frames of our own."""

    def __init__(self, times: list[float]) -> None:
        super().__init__(times)
        self._stream = -1
        self._rest = b""
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        self._head = bytes(encoder.encode([
            (":method", "POST"), (":scheme", "http"), (":path", f"/{workload.SERVICE}/Get"), (":authority", "bench"),
            ("te", "trailers"), ("content-type", "application/grpc")]))
        self._message = workload.framed(workload.message("Get"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(PREFACE + frame(8, 0, 0, struct.pack(">I", 1 << 30)))

    def request(self) -> bytes:
        self._stream += 2
        return frame(1, 4, self._stream, self._head) + frame(0, 1, self._stream, self._message)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at:at + 3])
            if len(data) - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == 4 and not flags & 1:
                self._transport.write(frame(4, 1, 0))
            elif kind == 6 and not flags & 1:
                self._transport.write(frame(6, 1, 0, data[at + 9:at + 17]))
            elif kind in (0, 1) and flags & 1:
                self.answered()
            at += 9 + length
        self._rest = data[at:]


async def run(kind: str, port: int, rate: float, connections: int, seconds: float) -> dict[str, float]:
    """Mean and percentiles in µs, and how many calls were due while every connection was busy."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    make = {"grpc": GrpcCaller, "redis": RedisCaller}[kind]
    callers = [cast(Caller, (await loop.create_connection(lambda: make(times), "127.0.0.1", port))[1])
               for _ in range(connections)]
    await asyncio.sleep(0.1)
    began, missed = loop.time(), 0
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
        free = next((caller for caller in callers[number % connections:] + callers if not caller.busy), None)
        if free is None:
            missed += 1
        else:
            free.call()
    await asyncio.sleep(0.2)
    ordered = sorted(times)
    return {"calls": len(times), "missed": missed, "mean_us": sum(times) / len(times) * 1e6,
            "p50_us": ordered[len(times) // 2] * 1e6, "p99_us": ordered[int(len(times) * 0.99)] * 1e6}


def main() -> None:
    kind, port, rate, connections, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(run(kind, int(port), float(rate), int(connections), float(seconds)))))


if __name__ == "__main__":
    main()
