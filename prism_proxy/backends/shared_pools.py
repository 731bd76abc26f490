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


class SharedPool(Generic[ShareableT]):
    """`make` makes what is shared, each time a first user joins. `number` names the pool."""

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


class SharedPools:
    """The pools of one process, by what must be equal to share one."""

    def __init__(self) -> None:
        self._pools: weakref.WeakValueDictionary[Hashable, SharedPool[Any]] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)

    def pool(self, key: Hashable, plan: Callable[[], Callable[[], ShareableT]]) -> SharedPool[ShareableT]:
        """The pool of a key. A new one asks `plan` for what makes it: mistakes in its settings show there."""
        found: SharedPool[ShareableT] | None = self._pools.get(key)
        if found is None:
            found = self._pools[key] = SharedPool(next(self._numbers), plan())
        return found
