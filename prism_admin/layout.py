"""Who owns which of the 256 partitions: pure functions from one layout to the next.

A layout is a tuple of 256 owners (proxy ids), or None where nobody does. While no namespace exists, layouts are
contiguous ranges over the proxies in order of their ids; afterwards a change moves the fewest partitions it can. A
`pinned` partition holds data that only its owner has: nothing here moves it, whether its owner lives or not.

This module knows no storage, no clock and no network.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

PARTITIONS = 256
Layout = tuple[str | None, ...]
NOBODY: Layout = (None,) * PARTITIONS


class Move(NamedTuple):
    """One partition changes hands; `source` is None when nobody had it, `target` when nobody gets it."""

    partition: int
    source: str | None
    target: str | None


class Range(NamedTuple):
    """Partitions of one owner that follow each other; both ends inclusive."""

    start: int
    end: int
    owner: str


def partition_of(namespace: str) -> int:
    """The partition of a namespace: CRC32 (IEEE) of its UTF-8 name, modulo 256."""
    return zlib.crc32(namespace.encode()) % PARTITIONS


def owner_of(layout: Layout, partition: int) -> str | None:
    """ValueError outside 0..255."""
    if not 0 <= partition < PARTITIONS:
        raise ValueError(f"partition {partition} is not within 0 to {PARTITIONS - 1}")
    return layout[partition]


def contiguous(proxies: Collection[str]) -> Layout:
    """Equal ranges in order of the ids; the first `256 mod n` proxies get one partition more. ValueError without
    proxies.

    Above 256 proxies the surplus ones own nothing.
    """
    if not proxies:
        raise ValueError("no proxies available")
    ordered = sorted(set(proxies))
    share, extra = divmod(PARTITIONS, len(ordered))
    owners: list[str | None] = []
    for position, proxy in enumerate(ordered):
        owners += [proxy] * (share + (position < extra))
    return tuple(owners)


def join(layout: Layout, proxy: str, members: Collection[str], pinned: Collection[int] = ()) -> Layout:
    """The layout after `proxy` came to the `members`: it takes its share, from the most loaded first.

    Partitions without an owner go to it at once. Only partitions of members move; what an absent owner has pinned
    stays.
    """
    owners = list(layout)
    for partition, owner in enumerate(owners):
        if owner is None:
            owners[partition] = proxy
    loads = _loads(owners, {*members, proxy})
    wanted = PARTITIONS // len(loads)
    movable = _movable(owners, set(members) - {proxy}, pinned)
    while loads[proxy] < wanted:
        giver = _most_loaded(loads, (name for name, own in movable.items() if own))
        if giver is None or loads[giver] <= loads[proxy] + 1:
            break
        owners[movable[giver].pop()] = proxy
        loads[giver] -= 1
        loads[proxy] += 1
    return tuple(owners)


def leave(layout: Layout, proxy: str, members: Collection[str], pinned: Collection[int] = ()) -> Layout:
    """The layout after `proxy` is gone: its partitions go to the least loaded of the other members, in runs.

    Without other members its partitions have no owner; those in `pinned` stay its own.
    """
    owners = list(layout)
    loads = _loads(owners, set(members) - {proxy})
    given = [partition for partition, owner in enumerate(owners) if owner == proxy and partition not in pinned]
    heirs: list[str] = []
    for _ in given if loads else ():
        heirs.append(min(loads, key=lambda name: (loads[name], name)))
        loads[heirs[-1]] += 1
    for partition, heir in zip_longest(given, sorted(heirs)):
        owners[partition] = heir
    return tuple(owners)


def moves(before: Layout, after: Layout) -> list[Move]:
    """What changes hands, in order of partitions."""
    return [Move(partition, source, target)
            for partition, (source, target) in enumerate(zip(before, after, strict=True)) if source != target]


def ranges(layout: Layout, proxy: str | None = None) -> list[Range]:
    """The layout as ranges, of one owner or of all; partitions without an owner are left out."""
    return [found for found in _runs(layout) if proxy is None or found.owner == proxy]


def from_ranges(found: Iterable[Range]) -> Layout:
    """The layout of ranges. ValueError when they overlap or leave the bounds."""
    owners: list[str | None] = list(NOBODY)
    for start, end, owner in found:
        if not 0 <= start <= end < PARTITIONS:
            raise ValueError(f"range {start} to {end} is not within 0 to {PARTITIONS - 1}")
        for partition in range(start, end + 1):
            if owners[partition] is not None:
                raise ValueError(f"partition {partition} has two owners: {owners[partition]} and {owner}")
            owners[partition] = owner
    return tuple(owners)


def _runs(layout: Sequence[str | None]) -> Iterator[Range]:
    start = 0
    for partition in range(1, PARTITIONS + 1):
        if partition == PARTITIONS or layout[partition] != layout[start]:
            owner = layout[start]
            if owner is not None:
                yield Range(start, partition - 1, owner)
            start = partition


def _loads(owners: Sequence[str | None], members: Collection[str]) -> dict[str, int]:
    counts = Counter(owner for owner in owners if owner is not None)
    return {name: counts[name] for name in members}


def _movable(owners: Sequence[str | None], members: Collection[str], pinned: Collection[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {name: [] for name in members}
    for partition, owner in enumerate(owners):
        if owner in found and partition not in pinned:
            found[owner].append(partition)
    return found


def _most_loaded(loads: dict[str, int], names: Iterable[str]) -> str | None:
    return min(names, key=lambda name: (-loads[name], name), default=None)
