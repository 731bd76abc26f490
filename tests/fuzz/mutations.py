"""Ways to spoil bytes and lists of frames."""

from __future__ import annotations

import random
import struct

from tests.support import h2peer as h2
from tests.support.h2peer import frame

HEAD_BYTES = 9
EDGES = [0, 1, 2, 3, 2**7 - 1, 2**7, 2**8 - 1, 2**14, 2**14 + 1, 2**16 - 1, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1]


def spoil(rng: random.Random, data: bytes) -> bytes:
    """Bytes with a few flipped, removed, repeated or made up."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            case 2:
                del out[at:at + rng.randint(1, 8)]
            case 3:
                out[at:at] = out[at:at + rng.randint(1, 16)]
            case 4:
                out[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                del out[at:]
    return bytes(out)


def made_up(rng: random.Random) -> bytes:
    """A frame of any kind, more often than not of the right shape."""
    kind = rng.choice([*range(10), 10, 0xFF])
    payload = rng.choice([
        b"", bytes(4), bytes(5), bytes(8), struct.pack(">I", rng.choice(EDGES)),
        struct.pack(">HI", rng.randrange(8), rng.choice(EDGES)), rng.randbytes(rng.choice([1, 6, 8, 12, 100, 17_000]))])
    stream = rng.choice([0, 1, 1, 3, 5, 7, 2, 2**31 - 1])
    return frame(kind, rng.choice([0, 0, 1, 4, 5, 8, 0x20, 0xFF]), stream, payload)


def spoil_head(rng: random.Random, one: bytes) -> bytes:
    """A frame whose head says something else than before: length, type, flags or stream."""
    length, kind, flags, stream = int.from_bytes(one[:3], "big"), one[3], one[4], int.from_bytes(one[5:9], "big")
    match rng.randrange(4):
        case 0:
            length = rng.choice([max(0, length - 1), length + 1, 0, 2**14, 2**14 + 1, 2**24 - 1])
        case 1:
            kind = rng.randrange(12)
        case 2:
            flags ^= rng.choice([1, 4, 8, 0x20])
        case 3:
            stream = rng.choice([0, 1, 2, 3, 5, stream + 2, max(0, stream - 2), 2**31 - 1, stream | 2**31])
    return length.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + one[HEAD_BYTES:]


def spoil_frames(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    """A conversation with frames lost, repeated, moved, made up or spoiled; the preface mostly stays."""
    out = list(frames)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(0 if rng.random() < 0.03 else 1, len(out)) if len(out) > 1 else 0
        match rng.randrange(7):
            case 0:
                del out[at]
            case 1:
                out[at:at] = [out[at]] * rng.choice([1, 1, 20])
            case 2:
                other = rng.randrange(len(out))
                out[at], out[other] = out[other], out[at]
            case 3:
                out.insert(at, made_up(rng))
            case 4 if len(out[at]) >= HEAD_BYTES:
                out[at] = spoil_head(rng, out[at])
            case 5 if len(out[at]) > HEAD_BYTES:
                whole = rng.random() < 0.7  # the head then says the new length
                payload = spoil(rng, out[at][HEAD_BYTES:])[:2**14]
                length = len(payload).to_bytes(3, "big") if whole else out[at][:3]
                out[at] = length + out[at][3:HEAD_BYTES] + payload
            case 6:
                del out[at + 1:]
        if not out:
            return [h2.PREFACE]
    return out


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """The bytes in writes of random sizes, often in one."""
    if rng.random() < 0.5 or len(data) < 2:
        return [data]
    cuts = sorted({rng.randrange(1, len(data)) for _ in range(rng.choice([1, 3, 20]))})
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
