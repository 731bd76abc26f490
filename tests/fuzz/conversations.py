"""Valid conversations of clients, as lists of frames: what the mutations start from."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable
from itertools import pairwise

import hpack
from grpc_health.v1 import health_pb2

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as batch
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan
from tests.support import h2peer as h2
from tests.support.h2peer import Header, frame, grpc_headers, message

PACKAGE = "/prism.interfaces.keyvalue."
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
WATCH = "/grpc.health.v1.Health/Watch"
FRAME_BYTES = 16384


class Client:
    """One connection's worth of frames. `preface` is the first of them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.frames: list[bytes] = []
        self._encoder = hpack.Encoder()
        self._next = 1

    def conversation(self) -> list[bytes]:
        self.frames.append(h2.PREFACE)
        self.frames.append(h2.settings(*self.rng.sample(
            [(1, 0), (1, 4096), (2, 0), (3, 100), (4, 0), (4, 65535), (4, 2**31 - 1), (5, 16384), (6, 65536), (99, 7)],
            self.rng.randint(0, 4))))
        for _ in range(self.rng.randint(1, 6)):
            self.rng.choice(PARTS)(self)
        return self.frames

    def open(self, path: str, *more: Header, end: bool = False) -> int:
        """A request head, whole or in CONTINUATIONs, perhaps padded or with a priority."""
        stream, self._next = self._next, self._next + 2
        block = self._encoder.encode([*grpc_headers(path), *more], huffman=self.rng.random() < 0.7)
        flags, ending = 0, h2.END_STREAM if end else 0
        if self.rng.random() < 0.1:
            flags, block = flags | 0x20, struct.pack(">IB", 0, 15) + block
        if self.rng.random() < 0.1:
            flags, block = flags | h2.PADDED, b"\x03" + block + bytes(3)
        if flags == 0 and self.rng.random() < 0.2:
            cut = self.rng.randrange(len(block))
            self.frames += [frame(h2.HEADERS, ending, stream, block[:cut]),
                            frame(h2.CONTINUATION, h2.END_HEADERS, stream, block[cut:])]
        else:
            self.frames.append(frame(h2.HEADERS, flags | ending | h2.END_HEADERS, stream, block))
        return stream

    def data(self, stream: int, payload: bytes, *, end: bool) -> None:
        """DATA frames, cut anywhere, some padded."""
        cuts = sorted(self.rng.randrange(len(payload) + 1) for _ in range(self.rng.choice([0, 0, 1, 4])))
        cuts += range(FRAME_BYTES - 10, len(payload), FRAME_BYTES - 10)
        bounds = [0, *sorted(set(cuts)), len(payload)]
        for start, stop in pairwise(bounds):
            piece, flags = payload[start:stop], h2.END_STREAM if end and stop == len(payload) else 0
            if self.rng.random() < 0.1:
                flags, piece = flags | h2.PADDED, b"\x05" + piece + bytes(5)
            self.frames.append(frame(h2.DATA, flags, stream, piece))

    def call(self) -> None:
        """One unary call, sometimes compressed, with metadata, a deadline or trailers."""
        path, payload = self.rng.choice(self.requests())
        more: list[Header] = self.rng.sample(
            [("grpc-timeout", "5S"), ("grpc-timeout", "1m"), ("x-namespace", "default"), ("x-namespace", "nowhere"),
             ("x-request-id", "fuzz"), ("x-data-bin", "AAEC"),
             ("traceparent", "00-" + "1" * 32 + "-" + "2" * 16 + "-01"), ("user-agent", "fuzz/1"),
             ("x-long", "y" * 300)], self.rng.randint(0, 3))
        flag = 0
        if self.rng.random() < 0.2:
            payload, flag = gzip.compress(payload), 1
            more.append(("grpc-encoding", "gzip"))
        trailers = self.rng.random() < 0.05
        stream = self.open(path, *more)
        self.data(stream, message(payload, flag=flag), end=not trailers)
        if trailers:
            self.frames.append(frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream,
                                     self._encoder.encode([("x-trailer", "1")])))

    def requests(self) -> list[tuple[str, bytes]]:
        key = self.rng.choice(["k", "key-2", "ключ", "k" * 300])
        value = self.rng.randbytes(self.rng.choice([0, 1, 100, 100, 20_000]))
        messages = {
            "KeyValueBasicInterface/Get": basic.GetRequest(key=key),
            "KeyValueBasicInterface/Set": basic.SetRequest(key=key, value=value),
            "KeyValueBasicInterface/Delete": basic.DeleteRequest(key=key),
            "KeyValueBasicInterface/Exists": basic.ExistsRequest(key=key),
            "KeyValueScanInterface/Scan": scan.ScanRequest(prefix="k"),
            "KeyValueBatchInterface/BatchGet": batch.BatchGetRequest(keys=[key, "k"]),
        }
        return [(PACKAGE + name, made.SerializeToString()) for name, made in messages.items()]

    def stream(self) -> None:
        """A call that stays open, and may be cancelled: a health watch, or reflection with a few questions."""
        if self.rng.random() < 0.5:
            stream = self.open(WATCH)
            self.data(stream, message(health_pb2.HealthCheckRequest().SerializeToString()), end=True)
        else:
            stream = self.open(REFLECTION)
            asked = b"".join(message(b"\x3a\x00") for _ in range(self.rng.randint(0, 5)))
            self.data(stream, asked, end=self.rng.random() < 0.5)
        if self.rng.random() < 0.5:
            self.frames.append(frame(h2.RST_STREAM, 0, stream, struct.pack(">I", self.rng.choice([0, 2, 8]))))

    def control(self) -> None:
        self.frames.append(self.rng.choice([
            frame(h2.PING, 0, 0, bytes(8)), frame(h2.PING, h2.ACK, 0, bytes(8)), frame(h2.SETTINGS, h2.ACK, 0),
            frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 65535)), h2.settings((4, 100)), h2.settings((4, 1_000_000)),
            h2.settings((1, 100)), h2.settings((5, 20_000)), frame(h2.PRIORITY, 0, 3, struct.pack(">IB", 0, 1)),
            frame(h2.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1000)), frame(0x77, 0, 0, b"an extension")]))

    def goodbye(self) -> None:
        if self.rng.random() < 0.2:
            self.frames.append(frame(h2.GOAWAY, 0, 0, struct.pack(">II", 0, 0) + b"bye"))


PARTS: tuple[Callable[[Client], None], ...] = (
    Client.call, Client.call, Client.call, Client.stream, Client.control, Client.goodbye)
