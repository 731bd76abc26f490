"""Which proxy serves which partition of the namespaces, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

PARTITIONS = 256


@dataclass(frozen=True, slots=True)
class Owner:
    """A proxy, and HOST:PORT where it is reached; empty while nobody knows."""

    proxy_id: str
    address: str


@dataclass(frozen=True, slots=True)
class PartitionMap:
    """The owner of each partition; None where there is none.

    `arriving`: in the partitions of this proxy are namespaces that it does not know yet. `unsettled` are
    partitions of this proxy of which a namespace was just revoked, or could not be activated.
    """

    revision: int
    owners: tuple[Owner | None, ...]
    arriving: bool = False
    unsettled: frozenset[int] = frozenset()
