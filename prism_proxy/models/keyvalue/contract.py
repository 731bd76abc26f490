"""The six KeyValue interfaces as a driver implements them.

Keys and values are bytes; keys arrive validated. Durations are seconds. Every method may raise the backend's own
errors, which the slot classifies, or PrismError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # errors bring grpc, which a supervisor of workers does without
    from prism_proxy.errors import PrismError

BASIC = "keyvalue_basic"
SCAN = "keyvalue_scan"
TTL = "keyvalue_ttl"
BATCH = "keyvalue_batch"
CAS = "keyvalue_cas"
TRANSACTIONAL = "keyvalue_transactional"
ALL = frozenset({BASIC, SCAN, TTL, BATCH, CAS, TRANSACTIONAL})

MAX_BATCH_BYTES = 16 * 1024 * 1024


def check_batch_bytes(values: int, size: int) -> None:
    """PrismError RESOURCE_EXHAUSTED when `values` values, `size` bytes in all, are too much for one BatchGet.

    A request that repeats one large key thousands of times would fill the memory otherwise. One value always fits.
    """
    if size > MAX_BATCH_BYTES and values > 1:
        from prism_proxy.errors import PrismError, StatusCode

        raise PrismError(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
                         f"the values of one BatchGet may have {MAX_BATCH_BYTES} bytes together: ask for fewer keys")


@dataclass(frozen=True, slots=True)
class ScanPage:
    """Some items, and where to go on: `cursor` is None at the end. A short or empty page need not be the last one.

    `after(key)` is the cursor that resumes behind an item of this page.
    """

    items: list[tuple[bytes, bytes | None]]
    cursor: bytes | None
    after: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class CasResult:
    """`actual` is the value found when the comparison failed; None = no key."""

    done: bool
    actual: bytes | None = None


class KeyValueBasic(Protocol):
    async def set(self, key: bytes, value: bytes) -> None:
        """Store a value and clear the expiry of the key."""
        ...

    async def get(self, key: bytes) -> bytes | None: ...

    async def delete(self, key: bytes) -> bool:
        """True when the key existed."""
        ...

    async def exists(self, key: bytes) -> bool: ...


class KeyValueScan(Protocol):
    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> ScanPage:
        """A page of keys with `prefix`, resumed at `cursor`. ValueError for a cursor this driver did not make."""
        ...

    async def count(self, prefix: bytes) -> int: ...


class KeyValueTTL(Protocol):
    async def expire(self, key: bytes, ttl: float) -> bool:
        """Let a key expire in `ttl` seconds, 0 = now. True when it existed."""
        ...

    async def ttl(self, key: bytes) -> float | None:
        """Seconds left; infinity without expiry; None without key."""
        ...

    async def persist(self, key: bytes) -> bool:
        """True when an expiry was removed."""
        ...


class KeyValueBatch(Protocol):
    async def batch_set(self, items: Sequence[tuple[bytes, bytes]]) -> list[PrismError | None]:
        """Store in order, not atomically; one result an item."""
        ...

    async def batch_get(self, keys: Sequence[bytes]) -> list[bytes | PrismError | None]:
        """One value a key, or the error of a key whose value alone cannot be served. `check_batch_bytes` as values are
        read, not when all of them are in memory."""
        ...

    async def batch_delete(self, keys: Sequence[bytes]) -> list[bool]: ...


class KeyValueCas(Protocol):
    async def compare_and_swap(self, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
        """Store `value` if the key holds `expected` (None: does not exist). Clears the expiry."""
        ...

    async def compare_and_delete(self, key: bytes, expected: bytes) -> CasResult: ...


class KeyValueTransactional(Protocol):
    """The primitive under transactions; handles, time limits and buffers belong to the pattern."""

    async def get_versioned(self, key: bytes) -> tuple[bytes | None, int]:
        """A value and its version, 0 for absence. Different values of a key have different versions; a driver may give
        a value that was changed and changed back its old version, for that is serializable too."""
        ...

    async def commit(self, reads: Mapping[bytes, int], writes: Mapping[bytes, bytes]) -> bool:
        """Apply all writes if every key read still has its version. False on a conflict, and nothing changed."""
        ...


class KeyValueRewriting(Protocol):
    """For commands that change how values are stored. No interface for callers, and not every driver has it."""

    async def replace(self, key: bytes, expected: bytes, value: bytes) -> bool:
        """Store `value` if the key holds `expected`. It keeps its expiry."""
        ...


class KeyValueDriver(
    KeyValueBasic, KeyValueScan, KeyValueTTL, KeyValueBatch, KeyValueCas, KeyValueTransactional, Protocol
):
    """All six. A driver that declares fewer is never called for the others."""
