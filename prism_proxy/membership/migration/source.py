"""The source's end of one move: the namespaces of a partition are copied to another proxy and compared, and then, while
calls wait, what is left of them.

What becomes of the move afterwards is decided elsewhere (`moves`), and told by `resume` or `gone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prism import control_plane_pb2
from prism_proxy.contracts.movable import Movable
from prism_proxy.membership.migration.copy import Copy
from prism_proxy.membership.migration.store import movable
from prism_proxy.membership.migration.target_client import MoveError, TargetClient
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.snapshot import Namespaces
from prism_runtime import log

HOLD_SECONDS = 1.5  # from the first call that waits to the proof; calls wait for 2 s
CALLS_SECONDS = 0.5  # of these, for calls in progress; later their writes are refused


class MigrationSource:
    """`copy`, then `catch_up` at any time, then `finish`. They raise MoveError, and errors of the driver; then `resume`
    is due. They must not be cancelled: a driver would go on remembering changes."""

    def __init__(self, target: TargetClient, namespaces: Sequence[control_plane_pb2.NamespaceAssignment],
                 activator: Activator, routes: Namespaces) -> None:
        self._log = log.get("prism.migration")
        self._target = target
        self._namespaces = namespaces
        self._activator = activator
        self._routes = routes
        self._copies: dict[str, Copy] = {}  # by namespace
        self._over = False
        self._ending = asyncio.Lock()

    async def copy(self) -> None:
        """Everything, and what changed meanwhile, until little is left to copy and to compare."""
        for item in self._namespaces:
            outgoing = await self._movable(item.namespace).outgoing()
            if self._over:  # `resume` did not see this one
                await outgoing.end()
                raise MoveError("the move was abandoned")
            copy = self._copies[item.namespace] = Copy(item.namespace, outgoing, self._target)
            await self._target.open(item, outgoing.clock)
            await copy.contents()
            await copy.compare()
        await self.catch_up()

    async def finish(self) -> None:
        """Calls wait already. Afterwards the target has the same data, and this process takes no write."""
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                await self._end_calls()
                await asyncio.gather(*(copy.prove() for copy in self._copies.values()))
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
            self._stop()
            for name, copy in self._copies.items():
                try:
                    await copy.outgoing.end()
                except Exception as error:  # noqa: BLE001 - a backend that is down must not keep calls waiting
                    self._log.warning("a store could not forget a move", namespace=name, error=str(error))
            await self._target.close()

    async def gone(self) -> None:
        """Others serve the namespaces."""
        self._stop()
        await self._target.close()

    def _stop(self) -> None:
        self._over = True
        for copy in self._copies.values():
            copy.over = True

    def _movable(self, name: str) -> Movable:
        route = self._routes.current.routes.get(name)
        if route is None:
            raise MoveError(f"namespace {name!r} is not served here")
        return movable(route)

    async def catch_up(self) -> None:
        """Copy what changed, until little is left."""
        for copy in self._copies.values():
            await copy.catch_up()

    async def _end_calls(self) -> None:
        departures = [await self._activator.rotate_route(name) for name in self._copies]
        await asyncio.gather(*(drain.wait(CALLS_SECONDS) for drain in departures))
        for copy in self._copies.values():
            if self._over:  # else what `resume` has opened would be sealed for good
                raise MoveError("the move was abandoned")
            await copy.outgoing.seal()
