"""Payloads on their way into objects and out of them, each as a whole in memory: what messages carry inline."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prism_proxy.claim_check import encryption, keys
from prism_proxy.claim_check.algorithms import NONE
from prism_proxy.claim_check.claim import Claim
from prism_proxy.claim_check.errors import expired, mismatch, not_found
from prism_proxy.claim_check.pipeline import Digests, Unpacker, pack, unpack
from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError
from prism_proxy.object_stores.contract import ALL, PENDING_TAG, PutOptions
from prism_proxy.object_stores.transfer import abandon, with_ttl
from prism_proxy.steps.claim_check.budget import ByteBudget
from prism_proxy.steps.claim_check.figures import Figures
from prism_proxy.steps.claim_check.object_keys import ObjectKeys
from prism_proxy.steps.claim_check.objects import ClaimStore
from prism_proxy.steps.claim_check.options import ClaimCheckOptions

VERSION = "1"  # of what an object is and says of itself
WRITE_BYTES = 1024 * 1024
BUFFER_BYTES = 64 * 1024 * 1024  # payloads that are read for deliveries at once
CORRUPT_TRIES = 2  # bytes that a connection damaged are right at the second try


@dataclass(frozen=True, slots=True)
class Place:
    """Whose payload it is."""

    topic: str
    message_id: str


class Payloads:
    """Of one namespace. `object_keys` is set where the namespace encrypts."""

    def __init__(self, namespace: str, store: ClaimStore, options: ClaimCheckOptions, figures: Figures,
                 on_orphan: Callable[[str], None], now: Callable[[], float] = time.time) -> None:
        """`on_orphan` hears of the key of an object that may be there, and that no message refers to."""
        self.on_orphan = on_orphan
        self.namespace = namespace
        self.options = options
        self.store = store
        self.figures = figures
        self.now = now
        self.object_keys: ObjectKeys | None = None
        self.declaring: Any = None  # the step that has the schema of the namespace
        self._buffer = ByteBudget(BUFFER_BYTES)

    # --- publish ------------------------------------------------------------------------------------------------------

    async def put(self, place: Place, payload: bytes, content_type: str) -> Claim:
        """The claim on the object that has the payload now. PrismError; then there is no object."""
        began = time.monotonic()
        key, sealed, made = self.new_key(place)
        stored, digests, compression = await asyncio.to_thread(self._packed, payload, key, place)
        claim = self.claim(place, digests, compression, content_type, sealed, made)
        options = self.put_options(claim, place)
        try:
            if len(stored) > self.options.stream_threshold:
                await self._put_parts(claim.object_key, stored, options)
            else:
                await self.store.put(claim.object_key, stored, options, digests.stored_checksum)
        except BaseException as error:
            if not isinstance(error, PrismError) or error.metadata.get("outcome") != "not_executed":
                self.on_orphan(claim.object_key)
            raise
        self.count_upload(claim, began)
        return claim

    def count_upload(self, claim: Claim, began: float) -> None:
        self.figures.stored += 1
        self.figures.stored_bytes += claim.stored_size
        self.figures.upload_seconds += time.monotonic() - began

    def new_key(self, place: Place) -> tuple[bytes | None, bytes, Encryption | None]:
        """The key of a new object, its sealed form, and how it was sealed; nothing where nothing is encrypted."""
        if self.object_keys is None:
            return None, b"", None
        return self.object_keys.make(place.topic, place.message_id)

    def bound_to(self, place: Place) -> bytes:
        return encryption.context(self.namespace, place.topic, place.message_id)

    def _packed(self, payload: bytes, key: bytes | None, place: Place) -> tuple[bytes, Digests, str]:
        """What is stored: compressed where that makes it smaller."""
        bound_to = self.bound_to(place)
        if self.options.compression != NONE:
            stored, digests = pack(payload, self.options.compression, key, bound_to)
            if digests.stored_size < digests.original_size:
                return stored, digests, self.options.compression
        stored, digests = pack(payload, NONE, key, bound_to)
        return stored, digests, NONE

    def claim(
        self, place: Place, digests: Digests, compression: str, content_type: str, sealed: bytes,
        made: Encryption | None, claim_id: str = "",
    ) -> Claim:
        now = int(self.now())
        claim_id = claim_id or str(uuid.uuid4())
        return Claim(
            claim_id, self.store.bucket, keys.key(self.namespace, place.topic, claim_id), digests.original_size,
            digests.checksum, digests.stored_size, digests.stored_checksum, now, now + int(self.options.ttl.max_age),
            content_type, compression, made, sealed)

    def put_options(self, claim: Claim, place: Place) -> PutOptions:
        """What an object says of itself. It is pending until its message was acknowledged."""
        created = datetime.fromtimestamp(claim.created_at, UTC).isoformat().replace("+00:00", "Z")
        metadata = {
            "prism-namespace": keys.part(self.namespace), "prism-topic": keys.part(place.topic),
            "prism-message-id": place.message_id, "prism-created-at": created, "prism-claim-version": VERSION,
            "prism-compression": claim.compression}
        if claim.encryption is not None:
            metadata["prism-encryption"] = "cobblestone-256"
        elif claim.checksum:
            metadata["prism-checksum"] = claim.checksum.hex()
        if claim.checksum and claim.encryption is None:
            metadata["prism-original-size"] = str(claim.original_size)
        if self.declaring is not None and self.declaring.schema is not None:
            metadata |= self.declaring.schema.entries()
        return PutOptions(claim.content_type if claim.content_type.isascii() else "", "", metadata,
                          with_ttl({PENDING_TAG: "1"}, self.options.ttl.max_age))

    async def _put_parts(self, key: str, stored: bytes, options: PutOptions) -> None:
        async def write() -> None:
            for at in range(0, len(stored), WRITE_BYTES):
                await upload.write(memoryview(stored)[at:at + WRITE_BYTES])
            await upload.complete()

        upload = await self.store.begin_upload(key, options)
        try:
            await self.store.within_upload(self.store.guarded(write))
        except BaseException:
            await abandon(upload)
            raise

    # --- consume ------------------------------------------------------------------------------------------------------

    def locations(self, claim: Claim, topic: str, read_from: str) -> Sequence[str]:
        """Where the object of a claim of `topic` may be. A dead letter has a copy, also when it came back; elsewhere
        than in the usual dead letter queue it has nothing else: a message that only says that it is a dead letter gets
        at no object of another topic."""
        live = claim.expires_at == 0 or claim.expires_at > self.now()
        own, dead = claim.object_key, f"{keys.DEAD}/{claim.object_key}"
        if read_from == topic:
            return (own, dead) if live else (dead,)
        return (dead, own) if live and read_from.startswith(f"{topic}.dlq") else (dead,)

    def missing(self, claim: Claim) -> PrismError:
        """Nowhere."""
        if claim.expires_at and claim.expires_at <= self.now():
            self.figures.expired += 1
            return expired(claim.claim_id)
        self.figures.not_found += 1
        return not_found(claim.claim_id)

    async def get(self, claim: Claim, place: Place, places: Sequence[str]) -> bytes:
        """The payload, verified. PrismError."""
        began = time.monotonic()
        async with self._buffer.take(claim.original_size + claim.stored_size):
            for tried in range(1, CORRUPT_TRIES + 1):
                try:
                    payload = await self._unpacked(claim, place, places)
                    break
                except PrismError as error:
                    if error.reason not in ("CLAIM_CHECKSUM_MISMATCH", "OBJECT_CORRUPT"):
                        raise
                    if tried == CORRUPT_TRIES:
                        raise mismatch(claim.claim_id, error.message) from error
        self.figures.retrieved += 1
        self.figures.retrieved_bytes += len(payload)
        self.figures.retrieval_seconds += time.monotonic() - began
        return payload

    async def _unpacked(self, claim: Claim, place: Place, places: Sequence[str]) -> bytes:
        unpacker = await self.unpacker(claim, place)
        stored = await self._stored(claim, places)
        return await asyncio.to_thread(unpack, stored, unpacker)

    async def unpacker(self, claim: Claim, place: Place) -> Unpacker:
        """For the object of a claim. PrismError when its key cannot be had."""
        key = None
        if self.object_keys is not None:
            key = await self.object_keys.open(claim.sealed_key, claim.encryption, place.topic, place.message_id)
        return Unpacker(
            claim.claim_id, self.options.max_bytes, claim.compression, key, self.bound_to(place),
            Digests(claim.original_size, claim.checksum, claim.stored_size, claim.stored_checksum))

    async def _stored(self, claim: Claim, places: Sequence[str]) -> bytes:
        for key in places:
            try:
                return await self.store.within_retrieval(self._read(claim, key))
            except PrismError as error:
                if error.reason != "OBJECT_NOT_FOUND":
                    raise
        raise self.missing(claim)

    async def _read(self, claim: Claim, key: str) -> bytes:
        """The bytes of an object, never more than its claim says."""
        most = claim.stored_size or claim.original_size
        download = await self.store.open_download(key, ALL)
        async with download:
            if download.info.size > most or (claim.stored_size and download.info.size != claim.stored_size):
                raise mismatch(claim.claim_id, f"it has {download.info.size} bytes, not {most}")

            async def read() -> bytes:
                return b"".join([chunk async for chunk in download])

            return await self.store.guarded(read)
