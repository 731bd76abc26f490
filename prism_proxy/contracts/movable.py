"""What a driver offers beside `Driver` so that its data can move to another process: contents, changes, proof.

The contents are read while calls go on, so a page may be older than the next one; whatever changed since `outgoing`
comes again from `changes`. Once nobody writes and `changes` is empty, who has put every record in the order it came has
the same data. Both sides run the same driver: only it knows what an expiry's number means.

The proof goes on while calls do, so that its end does not depend on the size of a store. Keys are the same on both
sides when the digests or hashes are, at the moments they were made. From then on each side remembers what changes: the
source tells it by `changes`, the target by `unexpected_keys`, except for what it put and read again (`put_proven`).
When nobody writes, both sides have nothing more to tell, and all that they told was the same, everything is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prism_proxy.errors import PrismError

NEVER = 0

# A key, its value (None: there is no such key), and the moment of its expiry on the clock of the source (NEVER: none).
Record = tuple[bytes, bytes | None, int]


class TooManyChangesError(RuntimeError):
    """More keys changed than can be remembered, or the memory of them was lost: the move must start again."""


def sealed() -> PrismError:
    """What a write gets that comes after `Outgoing.seal`."""
    from prism_proxy.errors import PrismError, StatusCode

    return PrismError(StatusCode.UNAVAILABLE, "MOVING", "the data of this namespace are moving to another proxy",
                      {"outcome": "not_executed"}, retry_after=1.0)


@dataclass(frozen=True, slots=True)
class Digest:
    """Of records whose expiry is not near: how many, and a sum of their hashes modulo 2**64, in any order."""

    records: int
    sum: int


@dataclass(frozen=True, slots=True)
class Span:
    """Keys behind `after` (None: from the first) up to and with `until` (None: to the last)."""

    after: bytes | None = None
    until: bytes | None = None


class Outgoing(Protocol):
    """The source's end of a move; changes are remembered until `end`. Errors are those of the driver's reads."""

    @property
    def clock(self) -> int:
        """The driver's time when the move began, for `Movable.incoming`."""
        ...

    async def page(self, after: bytes | None) -> tuple[Sequence[Record], bytes | None]:
        """About 1 MiB of records behind the key `after`, and the key to go on after; None at the end."""
        ...

    async def changes(self) -> Sequence[Record]:
        """Some keys that changed since they were told last, as they are now; empty when there are none.
        TooManyChangesError."""
        ...

    def horizon(self, seconds: float) -> int:
        """The driver's time `seconds` from now. Digests are of what never expires, or not before the horizon: what does
        may be gone on one side already."""
        ...

    async def digest(self, span: Span, horizon: int) -> tuple[Digest, bytes | None]:
        """Of the first records in a span, about as many as in a page, and the key up to which they go: `span.until`
        where these were all."""
        ...

    async def hashes(self, span: Span, horizon: int) -> Mapping[bytes, int]:
        """What digests of the span are the sum of, by key."""
        ...

    async def digest_of(self, keys: Sequence[bytes], horizon: int) -> Digest: ...

    async def seal(self) -> None:
        """Refuse writes from now on, UNAVAILABLE and not executed; returns when those taken before are done."""
        ...

    async def end(self) -> None:
        """Take writes again, and remember changes no longer. May be called twice."""
        ...


class Incoming(Protocol):
    """The target's end. Nobody else uses the driver meanwhile."""

    async def put(self, records: Sequence[Record]) -> None:
        """In the order they came. When it returns they are as durable as the driver's writes."""
        ...

    async def put_proven(self, records: Sequence[Record], horizon: int) -> Digest:
        """As `put`; the digest of these keys, read again afterwards. They are no strays by that."""
        ...

    async def digest(self, span: Span, horizon: int) -> Digest:
        """Of a whole span, with the horizon of the source. The first one begins to remember changes, until `end`."""
        ...

    async def hashes(self, span: Span, horizon: int) -> Mapping[bytes, int]:
        """As `Outgoing.hashes`, after a `digest`."""
        ...

    async def unexpected_keys(self, horizon: int) -> tuple[Sequence[bytes], Digest]:
        """Some keys that changed since the first `digest`, but by `put_proven`, and the digest of these keys. Each is
        told once; none when there are no more. TooManyChangesError."""
        ...

    async def end(self) -> None:
        """Remember changes no longer. May be called twice."""
        ...


class Movable(Protocol):
    async def outgoing(self) -> Outgoing:
        """Begin to remember changes. RuntimeError when a move has begun already."""
        ...

    async def incoming(self, clock: int) -> Incoming:
        """Empty the store, and take the records of a source whose clock was `clock` a moment ago."""
        ...
