"""Which partitions are to go where, until they have arrived or are given up.

Nothing of it is stored: an admin that starts again leaves partitions where the map has them, and the operator who
wanted them elsewhere asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prism_admin.layout import Move
from prism_admin.placement import Map


class DesiredPlacement(Mapping[int, str]):
    """The target of each partition that has not arrived there yet."""

    def __init__(self) -> None:
        self._targets: dict[int, str] = {}

    def __getitem__(self, partition: int) -> str:
        return self._targets[partition]

    def __iter__(self) -> Iterator[int]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def want(self, moves: Iterable[Move]) -> list[int]:
        """The partitions of these moves that have a target; a newer wish for a partition replaces an older one."""
        wanted = {move.partition: move.target for move in moves if move.target is not None}
        self._targets.update(wanted)
        return list(wanted)

    def still(self, partition: int, target: str) -> bool:
        """Whether no newer wish has replaced this one, and nobody gave it up."""
        return self._targets.get(partition) == target

    def end(self, partition: int, target: str) -> None:
        """This one is done, or given up; a newer one stays."""
        if self.still(partition, target):
            del self._targets[partition]

    def arrived(self, current: Map) -> None:
        """End what the map says already."""
        self._targets = {partition: target for partition, target in self._targets.items()
                         if current.owner(partition) != target}

    def forget(self, *, proxy: str = "", partition: int = -1) -> None:
        """Give up what would go to that proxy, or that partition."""
        self._targets = {found: target for found, target in self._targets.items()
                         if found != partition and target != proxy}
