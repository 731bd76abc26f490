"""What a driver offers beside `Driver` so that its data can move to another process: contents, changes, proof.

The contents are read while calls go on, so a page may be older than the next one; whatever changed since `outgoing`
comes again from `changes`. Once nobody writes and `changes` is empty, who has put every record in the order it came has
the same data, and `digest` proves it. Both sides run the same driver: only it knows what an expiry's number means.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Of all records whose expiry is not near: how many, and a sum of their hashes modulo 2**64, in any order."""

    records: int
    sum: int


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
        """The driver's time `seconds` from now, for `digest`."""
        ...

    async def digest(self, horizon: int) -> Digest:
        """Of what never expires, or not before `horizon`: what does may be gone on one side already."""
        ...

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

    async def digest(self, horizon: int) -> Digest:
        """As `Outgoing.digest`, with the horizon of the source."""
        ...


class Movable(Protocol):
    async def outgoing(self) -> Outgoing:
        """Begin to remember changes. RuntimeError when a move has begun already."""
        ...

    async def incoming(self, clock: int) -> Incoming:
        """Empty the store, and take the records of a source whose clock was `clock` a moment ago."""
        ...
