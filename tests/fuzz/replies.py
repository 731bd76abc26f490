"""Valid conversations of servers, as lists of frames: what the mutations start from."""

from __future__ import annotations

import gzip
import random
import struct

import hpack

from tests.support import h2peer as h2
from tests.support.h2peer import Header, frame, message

HEAD: list[Header] = [(":status", "200"), ("content-type", "application/grpc")]
STREAMS = (1, 3, 5)


class Replies:
    """What a server sends on one connection, whatever it was asked on its first streams."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._encoder = hpack.Encoder()

    def conversation(self) -> list[bytes]:
        rng = self.rng
        frames = [h2.settings(*rng.sample([(1, 0), (3, 100), (3, 1), (4, 0), (4, 2**31 - 1), (5, 16384), (6, 65536)],
                                          rng.randint(0, 3))), frame(h2.SETTINGS, 1, 0)]
        parts = [part for stream in rng.sample(STREAMS, rng.randint(1, 3)) for part in self._reply(stream)]
        for _ in range(rng.choice([0, 0, 1, 2])):
            parts.insert(rng.randrange(len(parts) + 1), rng.choice([
                frame(h2.PING, 0, 0, bytes(8)), frame(h2.PING, 1, 0, bytes(8)),
                frame(h2.WINDOW_UPDATE, 0, rng.choice([0, 1]), struct.pack(">I", 1000)),
                frame(h2.GOAWAY, 0, 0, struct.pack(">II", rng.choice([0, 1, 2**31 - 1]), rng.choice([0, 2, 11]))),
                h2.settings((4, rng.choice([0, 65535, 2**31 - 1])))]))
        return frames + parts

    def _headers(self, stream: int, fields: list[Header], *, end: bool) -> bytes:
        flags = h2.END_HEADERS | (h2.END_STREAM if end else 0)
        return frame(h2.HEADERS, flags, stream, self._encoder.encode(fields))

    def _reply(self, stream: int) -> list[bytes]:
        rng = self.rng
        status: list[Header] = [("grpc-status", rng.choice(["0", "0", "5", "14", "", "x", "99"]))]
        if rng.random() < 0.5:
            status += [("grpc-message", rng.choice(["text", "%zz%", "%C3%B6"])), ("some-bin", "AAE="), ("key", "value")]
        if rng.random() < 0.2:
            return [self._headers(stream, HEAD + status, end=True)]
        if rng.random() < 0.1:
            return [frame(h2.RST_STREAM, 0, stream, struct.pack(">I", rng.randrange(14)))]
        out = [self._headers(stream, [(":status", "103")], end=False)] if rng.random() < 0.1 else []
        encoding: list[Header] = [("grpc-encoding", rng.choice(["gzip", "identity", "snappy"]))]
        out.append(self._headers(stream, HEAD + (encoding if rng.random() < 0.3 else []), end=False))
        for _ in range(rng.choice([0, 1, 1, 3])):
            out += self._message(stream)
        out.append(self._headers(stream, status, end=True))
        return out

    def _message(self, stream: int) -> list[bytes]:
        rng = self.rng
        body = rng.randbytes(rng.choice([0, 1, 100, 20_000]))
        if rng.random() < 0.3:
            packed = gzip.compress(body)
            whole = b"\x01" + struct.pack(">I", len(packed)) + packed
        else:
            whole = message(body)
        size = rng.choice([1 << 14, 1 << 14, 7, 1000])
        pieces = [whole[at:at + size] for at in range(0, len(whole), size)][:200]
        return [frame(h2.DATA, 0, stream, piece) for piece in pieces]
