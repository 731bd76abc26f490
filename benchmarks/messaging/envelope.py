"""Nanoseconds to write and to scan an envelope, beside the protobuf runtime (upb) doing the same.

`python -m benchmarks.messaging.envelope` prints a line a figure. Each is the lowest of several rounds, less an empty
call: a disturbed round costs more, never less.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

from prism.envelope.v1 import envelope_pb2 as pb
from prism_proxy._native.envelope.codec import Writer, new_message_id, now_ms, scan

CALLS, ROUNDS = 20_000, 25
SIZES = (100, 1024, 1024 * 1024)


def nanoseconds(work: Callable[[], object], size: int) -> float:
    calls = CALLS if size < 100_000 else 50
    empty = min(timeit.repeat(lambda: None, number=calls, repeat=ROUNDS))
    return max(min(timeit.repeat(work, number=calls, repeat=ROUNDS)) - empty, 0) / calls * 1e9


def by_upb(payload: bytes) -> bytes:
    """The same envelope by generated classes."""
    made = pb.PrismEnvelope(envelope_version=1)
    made.metadata.message_id = new_message_id()
    made.metadata.namespace = "payments"
    made.metadata.topic = "orders.created"
    made.metadata.published_at.FromMilliseconds(now_ms())
    made.payload.value = payload
    data: bytes = made.SerializeToString()
    return data


def read_by_upb(data: bytes) -> tuple[str, str]:
    made = pb.PrismEnvelope.FromString(data)
    return made.metadata.topic, made.metadata.message_id


def read_by_scan(data: bytes) -> tuple[str, str]:
    found = scan(data)
    return found.topic, found.message_id


def main() -> None:
    writer = Writer("payments", "orders.created")
    for size in SIZES:
        payload = bytes(size)
        data = writer.encode(payload)
        ours, theirs = nanoseconds(lambda p=payload: writer.encode(p), size), nanoseconds(
            lambda p=payload: by_upb(p), size)
        print(f"{size:>8} B write {ours:8.0f} ns, upb {theirs:8.0f} ns: {theirs / ours:5.1f}x")
        ours, theirs = nanoseconds(lambda d=data: scan(d), size), nanoseconds(
            lambda d=data: pb.PrismEnvelope.FromString(d), size)
        print(f"{size:>8} B scan  {ours:8.0f} ns, upb {theirs:8.0f} ns: {theirs / ours:5.1f}x")
        ours, theirs = nanoseconds(lambda d=data: read_by_scan(d), size), nanoseconds(
            lambda d=data: read_by_upb(d), size)
        print(f"{size:>8} B topic and id as str {ours:8.0f} ns, upb {theirs:8.0f} ns: {theirs / ours:5.1f}x")


if __name__ == "__main__":
    main()
