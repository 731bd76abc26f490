"""Payloads that are too large for memory: streamed into objects, and out of them, piece by piece.

    PayloadWriter: pieces -> packed -> multipart upload -> the claim, which then passes the chain as any message does
    PayloadReader: object or a range of it -> unpacked -> pieces

A writer that does not finish leaves nothing; a reader that does not end well has not verified what it gave.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from prism_proxy._native.envelope.codec import new_message_id
from prism_proxy.claim_check import keys
from prism_proxy.claim_check.algorithms import COMPRESSIONS, NONE
from prism_proxy.claim_check.claim import Claim, decode
from prism_proxy.claim_check.errors import corrupt, mismatch, not_found
from prism_proxy.claim_check.pipeline import Digests, Packer, Unpacker
from prism_proxy.contracts.steps import Offloaded
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.object_stores.contract import ALL, ByteRange, Chunk, Download, Upload
from prism_proxy.object_stores.transfer import abandon
from prism_proxy.steps.claim_check.payloads import Payloads, Place

PIECE_BYTES = 512 * 1024  # what is packed at once
LARGE_PIECE = 128 * 1024  # this is not gathered with others, which would copy it
THREAD_BYTES = 64 * 1024  # compressing or encrypting more than this does not hold up the loop
MAX_NAME = 4096


class PayloadWriter:
    """One payload of a topic. `expected` is what the publisher says of it, where it does."""

    def __init__(self, payloads: Payloads, topic: str, content_type: str, *, size: int | None, checksum: bytes | None
                 ) -> None:
        self._payloads = payloads
        self.place = Place(topic, new_message_id())
        self._content_type = content_type
        self._size, self._checksum = size, checksum
        self._claim_id = str(uuid.uuid4())
        key, self._sealed, self._encryption = payloads.new_key(self.place)
        self._plain = key is None and payloads.options.compression == NONE
        self._packer = Packer(payloads.options.compression, key, payloads.bound_to(self.place))
        self._waiting: list[Chunk] = []
        self._waiting_bytes = 0
        self._upload: Upload | None = None
        self._began = time.monotonic()

    @property
    def key(self) -> str:
        return keys.key(self._payloads.namespace, self.place.topic, self._claim_id)

    async def add(self, piece: Chunk) -> None:
        """Waits while the store is slower than the publisher. PrismError."""
        if self._waiting and len(piece) >= LARGE_PIECE:
            await self._flush()
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= PIECE_BYTES or len(piece) >= LARGE_PIECE:
            await self._flush()

    async def _flush(self) -> None:
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        if self._packer.original_size + len(data) > self._payloads.options.max_bytes:
            raise _too_large(self._payloads.options.max_bytes)
        if self._plain:
            await self._write(self._packer.add(data))
        else:
            await self._write(await asyncio.to_thread(self._packer.add, data))

    async def _write(self, data: Chunk) -> None:
        if not data:
            return
        upload = await self._open()
        await self._payloads.store.guarded(lambda: upload.write(data))

    async def _open(self) -> Upload:
        if self._upload is None:
            said = Digests(self._size or 0, (self._checksum if self._size is not None else None) or b"", 0, b"")
            options = self._payloads.put_options(self._made(said), self.place)
            self._upload = await self._payloads.store.begin_upload(self.key, options)
        return self._upload

    def _made(self, digests: Digests) -> Claim:
        return self._payloads.claim(
            self.place, digests, self._payloads.options.compression, self._content_type, self._sealed,
            self._encryption, self._claim_id)

    async def finish(self) -> tuple[Offloaded, Digests]:
        """The object is there; its claim goes where the payload would go. PrismError when the payload is not what its
        publisher said."""
        await self._flush()
        await self._write(self._packer.finish())
        digests = self._packer.digests()
        self._check(digests)
        upload = await self._open()
        await self._payloads.store.guarded(upload.complete)
        self._upload = None
        claim = self._made(digests)
        self._payloads.count_upload(claim, self._began)
        token = f"{keys.part(self.place.topic)}/{claim.claim_id}"
        return Offloaded(claim.encode(), self.place.message_id, token), digests

    def _check(self, digests: Digests) -> None:
        if self._size is not None and digests.original_size != self._size:
            raise invalid("size", f"{digests.original_size} bytes came, and the head says {self._size}",
                          reason="PAYLOAD_MISMATCH", value=str(self._size))
        if self._checksum is not None and digests.checksum != self._checksum:
            raise invalid("checksum", "the bytes have another checksum than the head says: send them again",
                          reason="PAYLOAD_MISMATCH")

    async def abort(self) -> None:
        """Nothing stays."""
        if self._upload is not None:
            await abandon(self._upload)
            self._upload = None


@dataclass(frozen=True, slots=True)
class Head:
    """What is known before the first byte."""

    size: int | None
    content_type: str
    checksum: bytes
    offset: int
    read_from_start: bool


class PayloadReader:
    """A payload by topic and claim id, from `offset` on, `limit` bytes or all. Use it as a context manager.

    The claim that a subscriber got says what the payload must be. Without it, that is what its object says of itself,
    and an encrypted one cannot be read.
    """

    def __init__(self, payloads: Payloads, topic: str, claim_id: str, claim: bytes, offset: int, limit: int) -> None:
        self._payloads = payloads
        self._topic, self._claim_id = topic, claim_id
        self._offset, self._limit = offset, limit
        if not keys.is_claim_id(claim_id):
            raise invalid("claim_id", "claim_id is a UUID: send prism-claim-id of the message's metadata")
        if not topic or len(topic) > MAX_NAME:
            raise invalid("topic", "topic is missing: send prism-claim-topic of the message's metadata")
        if offset < 0 or limit < 0:
            raise invalid("offset" if offset < 0 else "limit", "it must not be negative")
        self._claim = self._checked(claim) if claim else None
        self._download: Download | None = None
        self._whole = True
        self._finished = False
        self._began = time.monotonic()

    def _checked(self, data: bytes) -> Claim:
        claim = decode(data)
        payloads = self._payloads
        claim.check(payloads.namespace, self._topic, payloads.store.bucket, payloads.options.max_bytes)
        if claim.claim_id != self._claim_id:
            raise corrupt("it is another one's than claim_id says")
        return claim

    async def open(self) -> Head:
        """PrismError when there is no such payload, or not from `offset` on."""
        claim = self._claim
        if claim is None and self._payloads.object_keys is not None:
            raise invalid("claim", "this namespace encrypts payloads: send the payload of the message as `claim`")
        part = ByteRange(self._offset, self._limit or None) if self._offset or self._limit else ALL
        as_published = claim is not None and claim.compression == NONE and claim.encryption is None
        download = await self._opened(part if as_published else ALL)
        said = download.info.metadata
        if claim is None and said.get("prism-compression", NONE) == NONE:
            as_published = True
            if part is not ALL:
                await download.aclose()
                download = await self._opened(part)
        self._download = download
        self._claim = claim = claim or self._of_object(download)
        self._place = Place(self._topic, said.get("prism-message-id", ""))
        self._whole = not as_published or (download.start == 0 and download.end == download.info.size)
        known = claim.original_size >= 0
        if known and self._offset > claim.original_size:
            raise _beyond(self._offset, claim.original_size)
        return Head(claim.original_size if known else None, claim.content_type, claim.checksum, self._offset,
                    not as_published)

    async def _opened(self, byte_range: ByteRange) -> Download:
        own = keys.key(self._payloads.namespace, self._topic, self._claim_id)
        for key in (own, f"{keys.DEAD}/{own}"):
            try:
                return await self._payloads.store.open_download(key, byte_range)
            except PrismError as error:
                if error.reason == "INVALID_RANGE":
                    return await self._at_end(key)
                if error.reason != "OBJECT_NOT_FOUND":
                    raise
        if self._claim is not None:
            raise self._payloads.missing(self._claim)
        raise not_found(self._claim_id)

    async def _at_end(self, key: str) -> Download:
        """A fetch that broke behind the last byte goes on there, and has nothing to get any more."""
        download = await self._payloads.store.open_download(key, ALL)
        if download.info.size != self._offset:
            await download.aclose()
            raise _beyond(self._offset, download.info.size)
        self._finished = True
        return download

    def _of_object(self, download: Download) -> Claim:
        """A claim made of what the object says of itself; sizes and checksums that it does not say are -1 and empty."""
        info, said = download.info, download.info.metadata
        compression = said.get("prism-compression", NONE)
        size, text = said.get("prism-original-size", ""), said.get("prism-checksum", "")
        try:
            checksum = bytes.fromhex(text)
        except ValueError:
            checksum = b""
        if compression not in COMPRESSIONS:
            raise corrupt("its object is compressed in a way that is not known")
        original = int(size) if size.isdigit() and len(size) < 19 else info.size if compression == NONE else -1
        return Claim(self._claim_id, "", info.key, original, checksum if len(checksum) == 32 else b"", info.size, b"",
                     0, 0, info.content_type, compression)

    async def pieces(self) -> AsyncIterator[Chunk]:
        """The bytes, in blocks of at most a MiB. PrismError CLAIM_CHECKSUM_MISMATCH at the end, when they were not
        those that were published: then nothing of it counts."""
        claim, download = self._claim, self._download
        assert claim is not None
        assert download is not None
        if self._finished:
            return
        if not self._whole:
            async for piece in self._part(download):
                yield piece
        else:
            async for piece in self._verified(claim, download):
                yield piece
        self._payloads.figures.retrieved += 1
        self._payloads.figures.retrieval_seconds += time.monotonic() - self._began

    async def _part(self, download: Download) -> AsyncIterator[Chunk]:
        """A range of an object that is stored as it was published."""
        async for chunk in self._chunks(download):
            self._payloads.figures.retrieved_bytes += len(chunk)
            yield chunk

    async def _verified(self, claim: Claim, download: Download) -> AsyncIterator[Chunk]:
        if claim.stored_size and download.info.size != claim.stored_size:
            raise mismatch(claim.claim_id, f"it has {download.info.size} bytes, not {claim.stored_size}")
        unpacker = await self._unpacker(claim)
        skip, left = self._offset, self._limit or 2**63
        plain = claim.compression == NONE and claim.encryption is None
        async for chunk in self._chunks(download):
            in_thread = not plain and len(chunk) > THREAD_BYTES
            blocks = await asyncio.to_thread(list, unpacker.add(chunk)) if in_thread else list(unpacker.add(chunk))
            for block in blocks:
                wanted = block[skip:skip + left] if skip or len(block) > left else block
                skip = max(0, skip - len(block))
                left -= len(wanted)
                if wanted:
                    self._payloads.figures.retrieved_bytes += len(wanted)
                    yield wanted
            if not left:  # a part cannot be verified, so nobody waits for the rest
                return
        for block in unpacker.finish():
            wanted = block[skip:skip + left]
            skip, left = max(0, skip - len(block)), left - len(wanted)
            if wanted:
                yield wanted

    async def _unpacker(self, claim: Claim) -> Unpacker:
        if claim.original_size >= 0 and claim.checksum:
            return await self._payloads.unpacker(claim, self._place)
        return Unpacker(claim.claim_id, self._payloads.options.max_bytes, claim.compression)

    async def _chunks(self, download: Download) -> AsyncIterator[Chunk]:
        chunks = aiter(download)

        async def following() -> Chunk:
            return await anext(chunks, b"")

        while chunk := await self._payloads.store.guarded(following):
            yield chunk

    async def close(self) -> None:
        if self._download is not None:
            await self._download.aclose()
            self._download = None


class PayloadStreams:
    """What a namespace's step offers to who streams."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads

    @property
    def inline_bytes(self) -> int:
        """Payloads up to this size travel within their messages."""
        return self._payloads.options.threshold

    def writer(self, topic: str, content_type: str, *, size: int | None, checksum: bytes | None) -> PayloadWriter:
        if size is not None and size > self._payloads.options.max_bytes:
            raise _too_large(self._payloads.options.max_bytes)
        return PayloadWriter(self._payloads, topic, content_type, size=size, checksum=checksum)

    def reader(self, topic: str, claim_id: str, claim: bytes, offset: int, limit: int) -> PayloadReader:
        return PayloadReader(self._payloads, topic, claim_id, claim, offset, limit)

    def discard(self, made: Offloaded) -> None:
        """The object of a claim that passed no chain."""
        self._payloads.on_orphan(keys.prefix(self._payloads.namespace) + made.token)


def _too_large(most: int) -> PrismError:
    return PrismError(
        StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
        f"the payload has more than claim_check.max_bytes, {most}: raise it, or publish in parts",
        {"outcome": "not_executed"}, field_name="payload")


def _beyond(offset: int, size: int) -> PrismError:
    return PrismError(StatusCode.OUT_OF_RANGE, "OFFSET_OUT_OF_RANGE",
                      f"the payload has {size} bytes, and offset is {offset}", field_name="offset")
