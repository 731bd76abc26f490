"""The source's end of one move: the namespaces of a partition are copied to another proxy, calls wait, both compare.

What becomes of the move afterwards is decided elsewhere (`moves`), and told by `resume` or `gone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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


class Departing:
    """`copy`, then `catch_up` at any time, then `finish`. They raise MoveError, and errors of the driver; then `resume`
    is due. They must not be cancelled: a driver would go on remembering changes."""

    def __init__(self, target: Target, namespaces: Sequence[control_plane_pb2.NamespaceAssignment],
                 applier: Applier, routes: Namespaces) -> None:
        self._log = log.get("prism.moving")
        self._target = target
        self._namespaces = namespaces
        self._applier = applier
        self._routes = routes
        self._outgoing: dict[str, Outgoing] = {}
        self._over = False
        self._ending = asyncio.Lock()

    async def copy(self) -> None:
        """Everything, and what changed meanwhile, until little is left."""
        for item in self._namespaces:
            outgoing = await self._movable(item.namespace).outgoing()
            self._outgoing[item.namespace] = outgoing
            if self._over:  # `resume` did not see this one
                await outgoing.end()
                raise MoveError("the move was abandoned")
            await self._target.open(item, outgoing.clock)
            after: bytes | None = None
            while True:
                records, after = await outgoing.page(after)
                await self._put(item.namespace, records)
                if after is None:
                    break
        await self.catch_up()

    async def finish(self) -> None:
        """Calls wait already. Afterwards the target has the same data, and this process takes no write."""
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await self._end_calls()
                for name, outgoing in self._outgoing.items():
                    while records := await outgoing.changes():
                        await self._put(name, records)
                await asyncio.gather(*(self._compare(name, found) for name, found in self._outgoing.items()))
        except KeyError as error:
            raise MoveError(f"namespace {error} is not served here any more") from error
        except TimeoutError as error:
            raise MoveError(f"calls would have to wait longer than {HOLD_SECONDS} s") from error
        if self._over:
            raise MoveError("the move was abandoned")

    async def resume(self) -> None:
        """Take writes again."""
        async with self._ending:
            if self._over:
                return
            self._over = True
            for name, outgoing in self._outgoing.items():
                try:
                    await outgoing.end()
                except Exception as error:  # noqa: BLE001 - a backend that is down must not keep calls waiting
                    self._log.warning("a store could not forget a move", namespace=name, error=str(error))
            await self._target.close()

    async def gone(self) -> None:
        """Others serve the namespaces."""
        self._over = True
        await self._target.close()

    def _movable(self, name: str) -> Movable:
        route = self._routes.current.routes.get(name)
        if route is None:
            raise MoveError(f"namespace {name!r} is not served here")
        if not hasattr(route.driver, "outgoing"):
            raise MoveError(f"backend {route.backend} of namespace {name!r} cannot hand over its data")
        found: Movable = route.driver  # type: ignore[assignment]
        return found

    async def catch_up(self) -> None:
        """Copy what changed, until little is left."""
        for name, outgoing in self._outgoing.items():
            for _ in range(MAX_ROUNDS):
                records = await outgoing.changes()
                await self._put(name, records)
                if len(records) < FEW_RECORDS:
                    break

    async def _put(self, name: str, records: Sequence[tuple[bytes, bytes | None, int]]) -> None:
        if self._over:
            raise MoveError("the move was abandoned")
        if records:
            await self._target.put(name, records)

    async def _end_calls(self) -> None:
        departures = [await self._applier.renew(name) for name in self._outgoing]
        await asyncio.gather(*(departure.wait(CALLS_SECONDS) for departure in departures))
        for outgoing in self._outgoing.values():
            if self._over:  # else what `resume` has opened would be sealed for good
                raise MoveError("the move was abandoned")
            await outgoing.seal()

    async def _compare(self, name: str, outgoing: Outgoing) -> None:
        horizon = outgoing.horizon(NEAR_SECONDS)
        ours, theirs = await asyncio.gather(outgoing.digest(horizon), self._target.digest(name, horizon))
        if ours != theirs:
            raise MoveError(f"the copy of namespace {name!r} differs: {theirs.records} records there, {ours.records} "
                            "here")
