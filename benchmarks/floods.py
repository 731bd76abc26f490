"""What a flood does to a bystander: its p99 beside floods, against its p99 beside honest load of as many bytes.

`python -m benchmarks.floods` starts the proxy on one core and everything else on the other, and prints a line a flood.
The server ends a flooding connection at its limits, so the attacker connects again and again, within its byte budget.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import hpack

from benchmarks.machine import free_port
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc

SECONDS = 4.0
BYTES_PER_SECOND = 2_000_000  # of the attacker, and of the honest load it is compared with
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
PATH = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBBI", len(payload), kind, flags, stream)[1:] + payload


def head(encoder: hpack.Encoder) -> bytes:
    return bytes(encoder.encode([(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "bench"),
                                 ("te", "trailers"), ("content-type", "application/grpc")]))


def calls(reset: bool) -> Iterator[bytes]:
    """Honest calls one after the other, or calls that are reset at once."""
    encoder = hpack.Encoder()
    for stream in itertools.count(1, 2):
        one = frame(1, 4, stream, head(encoder))
        yield one + (frame(3, 0, stream, bytes((0, 0, 0, 8))) if reset else frame(0, 1, stream, b"\0\0\0\0\3\n\1k"))


def continuations() -> Iterator[bytes]:
    yield frame(1, 0, 1, head(hpack.Encoder()))
    yield from itertools.repeat(frame(9, 0, 1, b""))


FLOODS = {
    "honest": lambda: calls(reset=False),
    "rapid reset": lambda: calls(reset=True),
    "PING": lambda: itertools.repeat(frame(6, 0, 0, bytes(8))),
    "SETTINGS": lambda: itertools.repeat(frame(4, 0, 0, struct.pack(">HI", 3, 100))),
    "CONTINUATION": continuations,
    "WINDOW_UPDATE": lambda: itertools.repeat(frame(8, 0, 0, struct.pack(">I", 1))),
    "PRIORITY": lambda: itertools.repeat(frame(2, 0, 3, struct.pack(">IB", 0, 1))),
    "empty DATA": lambda: itertools.chain(
        [frame(1, 4, 1, head(hpack.Encoder()))], itertools.repeat(frame(0, 0, 1))),
}


def attack(kind: str, port: int) -> None:
    """Send the flood for the time of a measurement, at the byte budget, over as many connections as it takes."""
    end = time.monotonic() + SECONDS + 1
    sent, began = 0, time.monotonic()
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(0.5)
            connection.sendall(PREFACE)
            source = FLOODS[kind]()
            while time.monotonic() < end:
                piece = b"".join(itertools.islice(source, 64))
                connection.sendall(piece)
                sent += len(piece)
                with contextlib.suppress(BlockingIOError):
                    while connection.recv(1 << 20, socket.MSG_DONTWAIT):
                        pass
                time.sleep(max(0.0, sent / BYTES_PER_SECOND - (time.monotonic() - began)))


def p99(port: int) -> float:
    """The 99th percentile of a bystander's calls, in milliseconds. A call that fails is an error."""
    times = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = rpc.KeyValueBasicInterfaceStub(channel)
        stub.Set(pb.SetRequest(key="k", value=b"v"))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            began = time.perf_counter()
            stub.Get(pb.GetRequest(key="k"))
            times.append(time.perf_counter() - began)
    return sorted(times)[len(times) * 99 // 100] * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        attack(options.attack, options.port)
        return 0
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "prism_proxy", "--listen", f"127.0.0.1:{port}", "--metrics-listen",
                               "off", "--log-level", "error"], preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    os.sched_setaffinity(0, {1})
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(10)
        honest = 0.0
        for kind in FLOODS:
            attacker = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.floods", f"--attack={kind}", f"--port={port}"])
            time.sleep(0.5)
            measured = p99(port)
            attacker.wait()
            honest = honest or measured
            print(f"{kind:<14} bystander p99 {measured:6.2f} ms  {measured / honest:4.2f}x of honest load")
    finally:
        server.terminate()
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
