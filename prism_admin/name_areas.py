"""Where namespaces have their names at the servers they share, over all proxies.

Where the names of one begin as another's do, it reads, lists and deletes what is not its own. Proxies refuse such
namespaces of their own; those of different proxies meet only here. The admin knows no product: proxies say what areas a
configuration has.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict, ParseDict

from prism import control_plane_pb2 as pb


class Holder(NamedTuple):
    """A namespace: of the admin, or of the file of `proxy` on `host`."""

    namespace: str
    proxy: str = ""
    host: str = ""

    def __str__(self) -> str:
        return f"namespace {self.namespace!r}" + (f" of the file of {self.proxy}" if self.proxy else "")


class _Entry(NamedTuple):
    prefix: bytes
    holder: Holder
    shared: bool
    machine: bool


class NameAreas:
    """Areas by holder, found by server and prefix. Nothing here waits."""

    def __init__(self) -> None:
        self._servers: defaultdict[str, list[_Entry]] = defaultdict(list)  # each in order
        self._held: dict[Holder, Sequence[pb.NameArea]] = {}

    def put(self, holder: Holder, areas: Sequence[pb.NameArea]) -> None:
        self.drop(holder)
        self._held[holder] = areas
        for area in areas:
            bisect.insort(self._servers[area.server], _entry(holder, area))

    def drop(self, holder: Holder) -> None:
        for area in self._held.pop(holder, ()):
            entries = self._servers[area.server]
            del entries[bisect.bisect_left(entries, _entry(holder, area))]

    def put_file(self, proxy: str, host: str, areas: Iterable[pb.NameArea]) -> list[str]:
        """What the file of a proxy has, in place of what it had; why its namespaces cannot be beside others."""
        for holder in [holder for holder in self._held if holder.proxy == proxy]:
            self.drop(holder)
        problems = []
        for namespace, its in by_namespace(areas).items():
            holder = Holder(namespace, proxy, host)
            problem = self.conflict(holder, its)
            problems += [f"{holder} {problem}"] if problem else []
            self.put(holder, its)
        return problems

    def conflict(self, holder: Holder, areas: Iterable[pb.NameArea]) -> str:
        """Why these areas cannot be the holder's, as words that follow its name; empty when they can."""
        for area in areas:
            new = _entry(holder, area)
            found = next((entry for entry in self._meeting(area) if _conflict(new, entry)), None)
            if found is not None:
                return (f"has the names that begin with {_text(area.prefix)}, and {found.holder} those that begin with "
                        f"{_text(found.prefix)} on the same server and database: one would see and delete what the "
                        "other has; give one of them another prefix or database")
        return ""

    def _meeting(self, area: pb.NameArea) -> Iterable[_Entry]:
        """Entries that cover the area, and those that it covers."""
        entries = self._servers.get(area.server, [])
        for end in range(len(area.prefix)):
            yield from _beginning(entries, area.prefix[:end], exact=True)
        yield from _beginning(entries, area.prefix)


def to_json(areas: Iterable[pb.NameArea]) -> list[dict[str, Any]]:
    """What is stored of a registration."""
    return [MessageToDict(area) for area in areas]


def from_json(stored: Iterable[dict[str, Any]]) -> list[pb.NameArea]:
    return [ParseDict(area, pb.NameArea(), ignore_unknown_fields=True) for area in stored]


def by_namespace(areas: Iterable[pb.NameArea]) -> Mapping[str, Sequence[pb.NameArea]]:
    found: dict[str, list[pb.NameArea]] = {}
    for area in areas:
        found.setdefault(area.namespace, []).append(area)
    return found


def _beginning(entries: Sequence[_Entry], prefix: bytes, *, exact: bool = False) -> Iterable[_Entry]:
    for at in range(bisect.bisect_left(entries, prefix, key=lambda entry: entry.prefix), len(entries)):
        found = entries[at].prefix
        if found != prefix if exact else not found.startswith(prefix):
            return
        yield entries[at]


def _conflict(one: _Entry, other: _Entry) -> bool:
    if one.holder.namespace == other.holder.namespace or (one.shared and other.shared):
        return False
    # An assigned namespace may come to any machine; those of files stay on theirs.
    files = one.holder.proxy and other.holder.proxy
    return not (files and one.machine and one.holder.host != other.holder.host)


def _entry(holder: Holder, area: pb.NameArea) -> _Entry:
    return _Entry(area.prefix, holder, area.shared, area.machine)


def _text(prefix: bytes) -> str:
    return repr(prefix.decode("utf-8", "replace"))
