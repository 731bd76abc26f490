"""Whether namespaces would meet in the server that they share.

Where the names of one namespace's data begin as another's do, it reads, lists and deletes what is not its own. This is
known from the settings alone, before anything is opened. Two addresses of one server that look different are not
recognised here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prism_proxy.contracts.driver import Area
from prism_proxy.namespaces.model import STORE, NamespaceConfig


class Occupied(NamedTuple):
    """`order` is that of the configuration."""

    area: Area
    order: int
    namespace: str
    slot: str

    @property
    def owner(self) -> str:
        return f"namespace {self.namespace!r}" + (f", slot {self.slot}" if self.slot != STORE else "")


def overlaps(configs: Iterable[NamespaceConfig]) -> Iterator[tuple[Occupied, Occupied]]:
    """Pairs of which one covers the other, each once, in the order of the configuration."""
    covering: list[Occupied] = []
    known: set[tuple[str, str]] = set()
    for found in sorted(occupied(configs)):
        while covering and not _covers(covering[-1].area, found.area):
            covering.pop()
        outer = covering[-1] if covering else found
        if outer.owner != found.owner and not (outer.area.shared and found.area.shared):
            first, second = sorted((outer, found), key=lambda item: item.order)
            if (first.owner, second.owner) not in known:
                known.add((first.owner, second.owner))
                yield first, second
        covering.append(found)


def meetings(configs: Iterable[NamespaceConfig]) -> Iterator[tuple[str, str]]:
    """Pairs of namespaces that share names because both say so: one gets the messages of the other."""
    shared = sorted(found for found in occupied(configs) if found.area.shared)
    known: set[tuple[str, str]] = set()
    for at, outer in enumerate(shared):
        for inner in shared[at + 1:]:
            if not _covers(outer.area, inner.area):
                break
            first, second = sorted((outer, inner), key=lambda item: item.order)
            if first.namespace != second.namespace and (first.namespace, second.namespace) not in known:
                known.add((first.namespace, second.namespace))
                yield first.namespace, second.namespace


def reason(first: Occupied, second: Occupied) -> str:
    """Why the second one is refused, as words that follow its name."""
    ours, theirs = second.area.prefix.decode("utf-8", "replace"), first.area.prefix.decode("utf-8", "replace")
    return (f"has the names that begin with {ours!r}, and {first.owner} those that begin with {theirs!r} on the same "
            "server and database: one would see and delete what the other has; give one of them another prefix or "
            "database")


def occupied(configs: Iterable[NamespaceConfig]) -> Iterator[Occupied]:
    """What each namespace has at its servers."""
    for order, config in enumerate(configs):
        for slot in config.slots:
            for area in getattr(config.driver_config(slot), "areas", ()):
                yield Occupied(area, order, config.name, slot)
        for group in config.options.values():
            areas_in = getattr(group, "areas_in", None)
            if areas_in is not None:
                slot, areas = areas_in(config.name, config.slots)
                for area in areas:
                    yield Occupied(area, order, config.name, slot)


def _covers(outer: Area, inner: Area) -> bool:
    return outer.server == inner.server and inner.prefix.startswith(outer.prefix)
