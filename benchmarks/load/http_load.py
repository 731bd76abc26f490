"""Load over HTTP/1.1: `python -m benchmarks.load.http_load PORT IDS CONNECTIONS SECONDS RATE` asks for schemas by id.

RATE 0 is a closed loop: every connection asks again as soon as it is answered. Else requests leave at their time,
whatever became of the last ones, and a latency counts from that time. Prints requests, errors and percentiles as JSON.
One thread, and no library between it and the socket, so that one core of load fills one core of a server.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import uvloop

from benchmarks.statistics import percentile


class Client(asyncio.Protocol):
    """One connection. What it is asked to send while a reply is due waits here, in order."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._due: list[float] = []  # when the requests that are not answered were to leave
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, due: float) -> None:
        self._due.append(due)
        self._transport.write(self._load.request())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end].lower()
            at = head.index(b"content-length: ") + 16
            length = int(head[at:(head + b"\r").index(b"\r", at)])
            if len(data) < end + 4 + length:
                break
            self._load.done(time.perf_counter() - self._due.pop(0), head.startswith(b"http/1.1 200"))
            data = data[end + 4 + length:]
            if self._load.closed and not self._load.over:
                self.send(time.perf_counter())
        self._rest = data


class Load:
    def __init__(self, ids: int, rate: float) -> None:
        self._ids = ids
        self.closed = not rate
        self.over = False
        self.errors = 0
        self.latencies: list[float] = []

    def request(self) -> bytes:
        number = random.randint(1, self._ids)
        return b"GET /schemas/ids/%d HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\r\n" % number

    def done(self, seconds: float, well: bool) -> None:
        self.latencies.append(seconds)
        self.errors += not well


async def run(port: int, ids: int, connections: int, seconds: float, rate: float) -> None:
    load = Load(ids, rate)
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(lambda: Client(load), "127.0.0.1", port))[1] for _ in range(connections)]
    began = time.perf_counter()
    if load.closed:
        for client in clients:
            client.send(time.perf_counter())
        await asyncio.sleep(seconds)
    else:
        sent = 0
        while (now := time.perf_counter()) < began + seconds:
            while began + sent / rate <= now:
                clients[sent % connections].send(began + sent / rate)
                sent += 1
            await asyncio.sleep(0)
    load.over = True
    spent = time.perf_counter() - began
    await asyncio.sleep(0.2)
    ordered = sorted(load.latencies)
    print(json.dumps({
        "requests": len(ordered), "errors": load.errors, "seconds": spent,
        **{f"p{share}": percentile(ordered, share / 100) * 1000 for share in (50, 99)}}))


if __name__ == "__main__":
    given = sys.argv[1:]
    uvloop.run(run(int(given[0]), int(given[1]), int(given[2]), float(given[3]), float(given[4])))
