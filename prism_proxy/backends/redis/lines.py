"""Connections that namespaces share: one set of them for all that speak to one server as one user.

It is open while a namespace uses it, so a change of the configuration that adds or removes namespaces touches no
connection of the others. What belongs to a namespace alone (its keys, bounds, errors) is not known here.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar


class Shareable(Protocol):
    def open(self) -> None: ...

    async def close(self) -> None: ...


ShareableT = TypeVar("ShareableT", bound=Shareable)


class Line(Generic[ShareableT]):
    """`make` makes what is shared, anew for each time that the first of its users comes. `number` names the line."""

    def __init__(self, number: int, make: Callable[[], ShareableT]) -> None:
        self.number = number
        self.users = 0
        self._make = make
        self._shared: ShareableT | None = None

    def join(self) -> ShareableT:
        """Use what is shared, until `leave`."""
        if self._shared is None:
            self._shared = self._make()
            self._shared.open()
        self.users += 1
        return self._shared

    async def leave(self) -> None:
        """The last one closes what was shared."""
        self.users -= 1
        if not self.users:
            shared, self._shared = self._shared, None
            assert shared is not None
            await shared.close()


class Lines:
    """The lines of one process, by what must be equal to share one."""

    def __init__(self) -> None:
        self._lines: weakref.WeakValueDictionary[Hashable, Line[Any]] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)

    def line(self, key: Hashable, plan: Callable[[], Callable[[], ShareableT]]) -> Line[ShareableT]:
        """The line of a key. A new one asks `plan` for what makes it: mistakes in its settings show there."""
        found: Line[ShareableT] | None = self._lines.get(key)
        if found is None:
            found = self._lines[key] = Line(next(self._numbers), plan())
        return found
