"""The source's side of one move: the namespaces of a partition on their way to another proxy.

    copying --Finish--> held --the target has the same--> in doubt --a map names the target--> gone
       |                  |                                  |
       +---- anything ----+---------- the admin says so -----+--> resumed

Until it is in doubt the source may change its mind on its own. Once in doubt it takes no write, however long that
lasts: the admin alone knows whether the target does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum

from prism import control_plane_pb2
from prism_proxy.contracts.movable import Movable, Outgoing
from prism_proxy.moving.peer import MoveError, Target
from prism_proxy.namespaces.applier import Applier
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.telemetry import log

HOLD_SECONDS = 1.5  # from the first call that waits to the proof; calls wait for 2 s
CALLS_SECONDS = 0.5  # of these, for calls in progress; later their writes are refused
NEAR_SECONDS = 10.0  # what expires sooner is left out of the proof
MAX_ROUNDS = 10_000  # of changes before calls wait: who writes faster than that is not caught up with
FEW_RECORDS = 500  # that may be left to copy while calls wait


class Stage(Enum):
    COPYING = "copying"
    HELD = "held"
    IN_DOUBT = "in doubt"
    OVER = "over"


class Departing:
    """One move. `now` is a monotonic clock in seconds. Every method but `resume` and `gone` raises MoveError, after
    which `resume` is due."""

    def __init__(self, move_id: str, target: Target, namespaces: Sequence[control_plane_pb2.NamespaceAssignment],
                 applier: Applier, routes: Namespaces, now: Callable[[], float]) -> None:
        self._log = log.get("prism.moving")
        self.move_id = move_id
        self.names = tuple(item.namespace for item in namespaces)
        self.stage = Stage.COPYING
        self.held_s = 0.0
        self._target = target
        self._namespaces = namespaces
        self._applier = applier
        self._routes = routes
        self._now = now
        self._outgoing: dict[str, Outgoing] = {}
        self._ending = asyncio.Lock()

    async def copy(self) -> None:
        """Everything, and what changed meanwhile, until little is left."""
        for item in self._namespaces:
            outgoing = self._outgoing[item.namespace] = await self._movable(item.namespace).outgoing()
            await self._target.open(item, outgoing.clock)
            after: bytes | None = None
            while True:
                records, after = await outgoing.page(after)
                await self._put(item.namespace, records)
                if after is None:
                    break
        await self._catch_up()

    async def finish(self) -> None:
        """Afterwards the target has the same data, and this proxy takes no write."""
        if self.stage is not Stage.COPYING:
            raise MoveError(f"the move is {self.stage.value} already")
        await self._catch_up()
        began = self._now()
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                self.stage = Stage.HELD
                await self._hold()
                for name, outgoing in self._outgoing.items():
                    while records := await outgoing.changes():
                        await self._target.put(name, records)
                await asyncio.gather(*(self._compare(name, found) for name, found in self._outgoing.items()))
        except KeyError as error:
            raise MoveError(f"namespace {error} is not served here any more") from error
        except TimeoutError as error:
            raise MoveError(f"calls would have to wait longer than {HOLD_SECONDS} s") from error
        finally:
            self.held_s = self._now() - began
        if self.stage is not Stage.HELD:  # it was given up meanwhile
            raise MoveError("the move was abandoned")
        self.stage = Stage.IN_DOUBT

    async def resume(self) -> None:
        """Serve the namespaces here again."""
        async with self._ending:
            if self.stage is Stage.OVER:
                return
            self.stage = Stage.OVER
            for name, outgoing in self._outgoing.items():
                try:
                    await outgoing.end()
                except Exception as error:  # noqa: BLE001 - a backend that is down must not keep calls waiting
                    self._log.warning("a store could not forget a move", namespace=name, error=str(error))
            await self.gone()

    async def gone(self) -> None:
        """Others serve the namespaces, or we do again: give the calls that waited to whoever does."""
        self.stage = Stage.OVER
        for name in self.names:
            self._routes.release(name)
        await self._target.close()

    def _movable(self, name: str) -> Movable:
        route = self._routes.current.routes.get(name)
        if route is None:
            raise MoveError(f"namespace {name!r} is not served here")
        if not hasattr(route.driver, "outgoing"):
            raise MoveError(f"backend {route.backend} of namespace {name!r} cannot hand over its data")
        found: Movable = route.driver  # type: ignore[assignment]
        return found

    async def _catch_up(self) -> None:
        for name, outgoing in self._outgoing.items():
            for _ in range(MAX_ROUNDS):
                records = await outgoing.changes()
                await self._put(name, records)
                if len(records) < FEW_RECORDS:
                    break

    async def _put(self, name: str, records: Sequence[tuple[bytes, bytes | None, int]]) -> None:
        if self.stage is not Stage.COPYING:
            raise MoveError("the move was abandoned")
        if records:
            await self._target.put(name, records)

    async def _hold(self) -> None:
        departures = [await self._applier.hold(name) for name in self.names]
        await asyncio.gather(*(departure.wait(CALLS_SECONDS) for departure in departures))
        await asyncio.gather(*(outgoing.seal() for outgoing in self._outgoing.values()))

    async def _compare(self, name: str, outgoing: Outgoing) -> None:
        horizon = outgoing.horizon(NEAR_SECONDS)
        ours, theirs = await asyncio.gather(outgoing.digest(horizon), self._target.digest(name, horizon))
        if ours != theirs:
            raise MoveError(f"the copy of namespace {name!r} differs: {theirs.records} records there, {ours.records} "
                            "here")
