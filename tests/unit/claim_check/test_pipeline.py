"""Payloads become objects and payloads again; bytes that changed on the way never come out as a payload."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc

import pytest

from prism_proxy.claim_check import encryption
from prism_proxy.claim_check.compression import decompressor
from prism_proxy.claim_check.pipeline import Digests, Packer, Unpacker, pack, unpack
from prism_proxy.errors import PrismError

MIB = 1024 * 1024
CHUNK = 16 * 1024
KEY = bytes(range(32))
BOUND = encryption.context("shop", "orders", "message-1")
TEXT = b"the quick brown fox jumps over the lazy dog. " * 5000


def unpacker(digests: Digests | None, compression: str, key: bytes | None, bound_to: bytes = BOUND) -> Unpacker:
    return Unpacker("claim", 64 * MIB, compression, key, bound_to, digests)


def unpack_into(blocks: list[bytes], stored: bytes, found: Unpacker) -> None:
    """What came out is in `blocks`, also where the rest is refused."""
    for block in found.add(stored):
        blocks.append(block)
    for block in found.finish():
        blocks.append(block)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("payload", [b"", b"x", TEXT], ids=["empty", "byte", "text"])
def test_a_payload_comes_back(payload: bytes, compression: str, key: bytes | None) -> None:
    stored, digests = pack(payload, compression, key, BOUND)
    assert digests.checksum == hashlib.sha256(payload).digest()
    assert digests.stored_checksum == hashlib.sha256(stored).digest()
    assert digests.stored_size == len(stored)
    assert unpack(stored, unpacker(digests, compression, key)) == payload
    packer = Packer(compression, key, BOUND)
    pieces = [packer.add(payload[at:at + 10_007]) for at in range(0, len(payload), 10_007)] + [packer.finish()]
    whole = b"".join(pieces)
    found = unpacker(packer.digests(), compression, key)
    blocks = [block for at in range(0, len(whole), 1013) for block in found.add(whole[at:at + 1013])]
    assert b"".join([*blocks, *found.finish()]) == payload


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_CLM_3_a_repeated_sentence_becomes_small(compression: str) -> None:
    payload = (b"The quick brown fox jumps over the lazy dog. " * 50_000)[:2 * MIB]
    stored, digests = pack(payload, compression)
    assert len(stored) < len(payload) * 0.05
    assert unpack(stored, unpacker(digests, compression, None)) == payload


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_changed_bytes_are_refused(compression: str, key: bytes | None) -> None:
    stored, digests = pack(TEXT, compression, key, BOUND)
    flipped = bytearray(stored)
    flipped[len(stored) // 2] ^= 1
    for bad in (bytes(flipped), stored[:-1], stored[:len(stored) // 2], stored + b"x", b""):
        with pytest.raises(PrismError) as caught:
            unpack(bad, unpacker(digests, compression, key))
        assert caught.value.reason == "CLAIM_CHECKSUM_MISMATCH"


def test_a_chunk_that_is_cut_off_moved_or_exchanged_is_refused_before_any_of_it_comes_out() -> None:
    first, digests = pack(TEXT, "none", KEY, BOUND)
    other, _ = pack(TEXT[::-1], "none", KEY, BOUND)
    head = len(first) - len(TEXT) - 16 * -(-len(TEXT) // CHUNK)  # what comes before the chunks
    chunks = [first[at:at + CHUNK + 16] for at in range(head, len(first), CHUNK + 16)]
    for bad in (
        first[:head] + chunks[1] + chunks[0] + b"".join(chunks[2:]),  # moved
        first[:head] + b"".join(chunks[:-1]),  # cut off
        first[:head] + b"".join(chunks[1:]),
        first[:head] + chunks[0] + other[head + CHUNK + 16:head + 2 * (CHUNK + 16)] + b"".join(chunks[2:]),  # exchanged
        other[:head] + b"".join(chunks),  # under the head of another object
    ):
        found = unpacker(digests, "none", KEY)
        blocks: list[bytes] = []
        with pytest.raises(PrismError, match="chunk"):
            unpack_into(blocks, bad, found)
        out = b"".join(blocks)
        assert out in (b"", TEXT[:CHUNK], TEXT[:CHUNK * (len(chunks) - 1)])  # what is authentic, and stands first
    for place in (("shop", "orders", "message-2"), ("shop", "order", "smessage-1"), ("shop2", "orders", "message-1")):
        elsewhere = encryption.context(*place)
        with pytest.raises(PrismError, match="chunk"):
            unpack(first, unpacker(digests, "none", KEY, elsewhere))


def test_decompression_is_capped() -> None:
    """A gigabyte in a small object is refused at the size that its claim says, without ever being in memory."""
    packer = Packer("zstd")
    bomb = b"".join([packer.add(bytes(MIB)) for _ in range(1024)]) + packer.finish()
    assert len(bomb) < 200_000
    claimed = Digests(4 * MIB, b"c" * 32, len(bomb), b"")
    for compression, data in (("zstd", bomb), ("gzip", gzip.compress(bytes(128 * MIB)))):
        tracemalloc.start()
        try:
            with pytest.raises(PrismError, match="more than"):
                unpack(data, unpacker(claimed, compression, None))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 16 * MIB


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_bytes_behind_the_end_are_refused(compression: str) -> None:
    stored, _ = pack(TEXT, compression)
    with pytest.raises(ValueError, match="behind"):
        list(decompressor(compression).blocks(stored + stored))
