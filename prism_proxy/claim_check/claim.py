"""A claim as it travels in place of a payload: protobuf, or the JSON form with the same names of older publishers.

`check` is what makes a claim of a broker harmless: the object is derived from namespace, topic and claim id, and a
claim that names another bucket or key, or sizes without bounds, is refused before anything is asked of the store.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from prism_proxy.claim_check import keys
from prism_proxy.claim_check.algorithms import COMPRESSIONS, NONE
from prism_proxy.claim_check.errors import corrupt
from prism_proxy.envelope.parts import Encryption

HEADER = "prism-claim-check"  # of a message whose payload is a claim
MAX_CLAIM_BYTES = 64 * 1024
MAX_PARTS = 10_000
DIGEST_BYTES = 32
MAX_STORED_EXCESS = 64 * 1024  # what compression and encryption may add, beside a 500th of the size
MAX_EPOCH_S = 253_402_300_799  # the year 9999


@dataclass(frozen=True, slots=True)
class Claim:
    """`checksum` is of the payload, `stored_checksum` of the object: SHA-256. Times are epoch seconds. `encryption`
    says how `sealed_key` was encrypted."""

    claim_id: str
    bucket: str
    object_key: str
    original_size: int
    checksum: bytes
    stored_size: int
    stored_checksum: bytes
    created_at: int
    expires_at: int
    content_type: str = ""
    compression: str = NONE
    encryption: Encryption | None = None
    sealed_key: bytes = b""
    part_keys: tuple[str, ...] = ()

    def encode(self) -> bytes:
        from prism.claim_check.v1 import claim_check_pb2 as pb

        made = pb.ClaimCheckMessage(
            claim_id=self.claim_id, bucket=self.bucket, object_key=self.object_key, original_size=self.original_size,
            content_type=self.content_type, checksum=self.checksum, compression=self.compression,
            expires_at=self.expires_at, stored_checksum=self.stored_checksum, stored_size=self.stored_size,
            created_at=self.created_at, sealed_key=self.sealed_key)
        if self.encryption is not None:
            made.encryption.MergeFromString(self.encryption.encode())
        if self.part_keys:
            made.multipart.part_count = len(self.part_keys)
            made.multipart.part_keys.extend(self.part_keys)
        data: bytes = made.SerializeToString(deterministic=True)
        return data

    def check(self, namespace: str, topic: str, bucket: str, max_bytes: int) -> None:
        """PrismError CLAIM_CORRUPT unless it is a claim of this topic, in this bucket, within bounds."""
        if not keys.is_claim_id(self.claim_id):
            raise corrupt("claim_id is not a UUID")
        if self.bucket != bucket:
            raise corrupt("it names a bucket that is not this namespace's")
        own = keys.key(namespace, topic, self.claim_id)
        if any(key != own for key in (self.object_key, *self.part_keys)):
            raise corrupt("it names an object that is not its own")
        if not 0 <= self.original_size <= max_bytes:
            raise corrupt(f"original_size is not between 0 and {max_bytes}")
        if not 0 <= self.stored_size <= most_stored(self.original_size):
            raise corrupt("stored_size does not fit original_size")
        if self.compression not in COMPRESSIONS:
            raise corrupt(f"compression is none of {', '.join(COMPRESSIONS)}")
        if len(self.checksum) != DIGEST_BYTES or len(self.stored_checksum) not in (0, DIGEST_BYTES):
            raise corrupt("a checksum has not the length of SHA-256")
        if not 0 <= self.expires_at <= MAX_EPOCH_S:
            raise corrupt("expires_at is no time")


def most_stored(original_size: int) -> int:
    """Bytes of an object at most, for a payload of this size."""
    return original_size + original_size // 500 + MAX_STORED_EXCESS


def decode(data: bytes) -> Claim:
    """PrismError CLAIM_CORRUPT for what is none. It still has to be checked."""
    if len(data) > MAX_CLAIM_BYTES:
        raise corrupt(f"it has more than {MAX_CLAIM_BYTES} bytes")
    if data[:1] == b"{":
        return _from_json(data)
    from google.protobuf.message import DecodeError

    from prism.claim_check.v1 import claim_check_pb2 as pb

    try:
        found = pb.ClaimCheckMessage.FromString(data)
        encryption = Encryption.decode(found.encryption.SerializeToString()) if found.HasField("encryption") else None
    except (DecodeError, ValueError):
        raise corrupt("it does not decode") from None
    if len(found.multipart.part_keys) > MAX_PARTS:
        raise corrupt(f"it lists more than {MAX_PARTS} parts")
    return Claim(
        found.claim_id, found.bucket, found.object_key, found.original_size, found.checksum, found.stored_size,
        found.stored_checksum, found.created_at, found.expires_at, found.content_type, found.compression or NONE,
        encryption, found.sealed_key, tuple(found.multipart.part_keys))


def _from_json(data: bytes) -> Claim:
    try:
        found: Any = json.loads(data)
        parts = found.get("multipart") or {}
        claim = Claim(
            _text(found, "claim_id"), _text(found, "bucket"), _text(found, "object_key"),
            _number(found, "original_size"), bytes.fromhex(_text(found, "checksum")),
            _number(found, "stored_size", 0), bytes.fromhex(_text(found, "stored_checksum", "")),
            _number(found, "created_at", 0), _number(found, "expires_at", 0), _text(found, "content_type", ""),
            _text(found, "compression", NONE), part_keys=tuple(map(str, parts.get("part_keys", ()))))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise corrupt("it does not decode") from None
    return claim


def _text(found: Any, name: str, default: str | None = None) -> str:
    value = found[name] if default is None else found.get(name, default)
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _number(found: Any, name: str, default: int | None = None) -> int:
    value = found[name] if default is None else found.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(name)
    return value
