"""What the admin has assigned to this proxy: which namespaces, of which version, by which revision of the map.

Pure state: it decides what a message changes, and does nothing. Versions count the configurations of one namespace and
revisions the maps of partitions; both only grow, so a message that was overtaken on its way is known by them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.namespaces.model import NamespaceConfig

MAX_REMEMBERED = 65536  # revocations; older ones are no danger, because the map has moved on long since


@dataclass(frozen=True, slots=True)
class Assignment:
    """One namespace as assigned."""

    config: NamespaceConfig
    version: int
    revision: int


class Assignments:
    """`decide` before a change, `put` and `drop` once it is active."""

    def __init__(self) -> None:
        self._current: dict[str, Assignment] = {}
        self._revoked: dict[str, tuple[int, int]] = {}  # version and revision, by name

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, name: str) -> bool:
        return name in self._current

    def get(self, name: str) -> Assignment | None:
        return self._current.get(name)

    def configs(self) -> Iterator[NamespaceConfig]:
        return (found.config for found in self._current.values())

    # --- single messages ----------------------------------------------------------------------------------------------

    def is_newer(self, name: str, version: int, revision: int) -> bool:
        """Whether an assignment changes what is served. ValueError when it was overtaken by a revocation."""
        current = self._current.get(name)
        if current is not None:
            return version > current.version
        revoked_version, revoked_revision = self._revoked.get(name, (0, -1))
        if version <= revoked_version and revision <= revoked_revision:
            raise ValueError(f"version {version} by map {revision} was revoked by map {revoked_revision}")
        return True

    def revocable(self, name: str, revision: int) -> bool:
        """Whether a revocation takes the namespace away. ValueError when a newer assignment has overtaken it."""
        current = self._current.get(name)
        if current is not None and revision < current.revision:
            raise ValueError(f"map {revision} is older than map {current.revision}, which assigned {name!r}")
        return current is not None

    def put(self, assigned: Iterable[Assignment]) -> None:
        """These are active now."""
        for found in assigned:
            self._current[found.config.name] = found
            self._revoked.pop(found.config.name, None)

    def confirm(self, name: str, revision: int) -> None:
        """An active assignment was assigned again, by a newer map."""
        current = self._current[name]
        self._current[name] = replace(current, revision=max(current.revision, revision))

    def drop(self, names: Iterable[str], revision: int) -> None:
        """These were revoked and are not active any more."""
        for name in names:
            gone = self._current.pop(name, None)
            if gone is not None:
                self._revoked[name] = gone.version, max(revision, gone.revision)
        while len(self._revoked) > MAX_REMEMBERED:
            del self._revoked[next(iter(self._revoked))]

    # --- the map ------------------------------------------------------------------------------------------------------

    def lost(self, owned: Collection[int], revision: int) -> list[str]:
        """The namespaces that a map took from us, or never gave us although it could have.

        A hand-over assigns a namespace before its partition is ours, by the revision of the map to come.
        """
        return [name for name, found in self._current.items()
                if found.revision <= revision and partition_of(name) not in owned]

    def left_over(self, listed: Collection[str], owned: Collection[int], *, complete: bool) -> list[str]:
        """What was deleted while we were away: in our own partitions, and not listed by the admin as we register again.

        A list that is not `complete` tells of none. What went to others stays until a map says to whom: a caller would
        take a namespace that is not here, and not there, for one that does not exist.
        """
        return [name for name in self._current
                if complete and name not in listed and partition_of(name) in owned]
