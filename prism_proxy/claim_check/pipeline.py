"""Between a payload and the object that has it, piece by piece, with flat memory.

    Packer:    payload -> SHA-256 -> compress -> encrypt -> SHA-256 -> object
    Unpacker:  object  -> SHA-256 -> decrypt -> decompress, capped -> SHA-256 -> payload

Nothing here waits; callers run large pieces in a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from prism_proxy.claim_check.algorithms import NONE
from prism_proxy.claim_check.compression import compressor, decompressor
from prism_proxy.claim_check.encryption import decryptor, encryptor
from prism_proxy.claim_check.errors import mismatch
from prism_proxy.object_stores.contract import Chunk


@dataclass(frozen=True, slots=True)
class Digests:
    """Sizes and SHA-256 of a payload and of its object."""

    original_size: int
    checksum: bytes
    stored_size: int
    stored_checksum: bytes


class Packer:
    """`key` encrypts, for the place that `bound_to` names. What is stored as it is gets hashed once."""

    def __init__(self, compression: str = NONE, key: bytes | None = None, bound_to: bytes = b"") -> None:
        self._plain = compression == NONE and key is None
        self._compressor = compressor(compression)
        self._encryptor = encryptor(key, bound_to)
        self._original, self._stored = hashlib.sha256(), hashlib.sha256()
        self.original_size = self.stored_size = 0

    def add(self, data: Chunk) -> Chunk:
        """What is to be stored next; may be empty."""
        self.original_size += len(data)
        self._original.update(data)
        if self._plain:
            self.stored_size += len(data)
            return data
        return self._out(self._encryptor.update(self._compressor.compress(data)))

    def finish(self) -> bytes:
        """The last bytes."""
        if self._plain:
            return b""
        return self._out(self._encryptor.update(self._compressor.flush()) + self._encryptor.finalize())

    def digests(self) -> Digests:
        checksum = self._original.digest()
        stored = checksum if self._plain else self._stored.digest()
        return Digests(self.original_size, checksum, self.stored_size, stored)

    def _out(self, data: bytes) -> bytes:
        self.stored_size += len(data)
        self._stored.update(data)
        return data


class Unpacker:
    """`expected` is what must come out; None of it where it is not known. `max_bytes` bounds the payload in every case.
    PrismError CLAIM_CHECKSUM_MISMATCH. What was handed out before `finish` returned is not known to be all."""

    def __init__(
        self, claim_id: str, max_bytes: int, compression: str = NONE, key: bytes | None = None, bound_to: bytes = b"",
        expected: Digests | None = None,
    ) -> None:
        self._claim_id = claim_id
        self._expected = expected
        self._plain = compression == NONE and key is None
        self._most = max_bytes if expected is None else min(max_bytes, expected.original_size)
        self._encrypted = key is not None
        self._decryptor = decryptor(key, bound_to)
        self._decompressor = decompressor(compression)
        self._original, self._stored = hashlib.sha256(), hashlib.sha256()
        self._hashes_stored = not self._plain and expected is not None and bool(expected.stored_checksum)
        self.original_size = self.stored_size = 0

    def add(self, data: Chunk) -> Iterator[Chunk]:
        """The payload that these bytes of the object give, in blocks of bounded size."""
        self.stored_size += len(data)
        if self._hashes_stored:
            self._stored.update(data)
        yield from self._decompressed(self._decrypted(data))

    def finish(self) -> Iterator[Chunk]:
        """What is left; then all of it was as expected."""
        if self._encrypted:
            yield from self._decompressed(self._decrypted(None))
        try:
            self._decompressor.finish()
        except ValueError as error:
            raise mismatch(self._claim_id, f"it does not decompress: {error}") from None
        expected = self._expected
        if expected is None:
            return
        if self.original_size != expected.original_size:
            raise mismatch(self._claim_id, f"it gives {self.original_size} bytes, not {expected.original_size}")
        if self._hashes_stored and self._stored.digest() != expected.stored_checksum:
            raise mismatch(self._claim_id, "the stored bytes have another checksum")
        if self._original.digest() != expected.checksum:
            raise mismatch(self._claim_id, "the payload has another checksum")

    @property
    def checksum(self) -> bytes:
        return self._original.digest()

    def _decrypted(self, data: Chunk | None) -> Chunk:
        if not self._encrypted:
            return data or b""
        from cryptography.exceptions import InvalidTag

        try:
            return self._decryptor.finalize() if data is None else self._decryptor.update(data)
        except InvalidTag:
            raise mismatch(self._claim_id, "a chunk was changed, moved or cut off, or is another object's") from None

    def _decompressed(self, data: Chunk) -> Iterator[Chunk]:
        if not data:
            return
        blocks = self._decompressor.blocks(data)
        while True:
            try:
                block = next(blocks, None)
            except ValueError as error:
                raise mismatch(self._claim_id, f"it does not decompress: {error}") from None
            if block is None:
                return
            self.original_size += len(block)
            if self.original_size > self._most:
                raise mismatch(self._claim_id, f"it gives more than {self._most} bytes")
            self._original.update(block)
            yield block


def pack(payload: bytes, compression: str = NONE, key: bytes | None = None, bound_to: bytes = b"") -> tuple[
        bytes, Digests]:
    """The object of a payload."""
    packer = Packer(compression, key, bound_to)
    first = packer.add(payload)
    last = packer.finish()
    return (b"".join((first, last)) if last else bytes(first)), packer.digests()


def unpack(stored: bytes, unpacker: Unpacker) -> bytes:
    """The payload of an object, verified. PrismError."""
    blocks = list(unpacker.add(stored))
    blocks += unpacker.finish()
    return bytes(blocks[0]) if len(blocks) == 1 else b"".join(blocks)
