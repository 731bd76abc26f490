"""Copies the data of a move out of this process, or takes them in. `MigrationCoordinator` makes all decisions.

A proxy with several workers has a MigrationWorker in each. A move concerns one partition, so one worker on each side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from prism import transfer_pb2 as pb
from prism_proxy.contracts.movable import Span, TooManyChangesError
from prism_proxy.membership.control_call import ControlCall, ControlCallHandler
from prism_proxy.membership.migration.source import MigrationSource
from prism_proxy.membership.migration.target import MigrationTarget
from prism_proxy.membership.migration.target_client import MoveError, TargetClient
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.snapshot import Namespaces
from prism_runtime import log
from prism_runtime.tasks import Tasks

IDLE_SECONDS = 60.0  # after which a copy is given up whose source or whose admin has forgotten it


class MigrationWorker:
    """Implements `coordinator.MigrationWorkers` for a proxy of one process. `connect(move_id, address)` opens the
    client of a target; `ask` sends a control call to the coordinator of this proxy."""

    def __init__(self, activator: Activator, routes: Namespaces, connect: Callable[[str, str], TargetClient],
                 ask: ControlCallHandler) -> None:
        self._log = log.get("prism.migration")
        self._activator = activator
        self._routes = routes
        self._connect = connect
        self._ask = ask
        self._departing: dict[str, MigrationSource] = {}  # by move
        self._arriving: dict[str, MigrationTarget] = {}  # by namespace
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by namespace
        self._tasks = Tasks()

    def set_overrides(self, unlisted: Collection[str], paused: Collection[str]) -> None:
        self._routes.set_overrides(unlisted, paused)
        for name in self._arriving.keys() - set(unlisted):
            self._unwatch(name)
            self._tasks.spawn(self._end(self._arriving.pop(name)))

    # --- the source ---------------------------------------------------------------------------------------------------

    async def copy(self, request: pb.SendRequest) -> None:
        move = self._departing[request.move_id] = MigrationSource(
            self._connect(request.move_id, request.target_address), request.namespaces, self._activator, self._routes)
        await move.copy()

    async def catch_up(self, move_id: str, partition: int) -> None:
        await self._copied(move_id).catch_up()

    async def finish(self, move_id: str, partition: int) -> None:
        await self._copied(move_id).finish()

    def _copied(self, move_id: str) -> MigrationSource:
        move = self._departing.get(move_id)
        if move is None:
            raise MoveError("the process that made the copy has ended")
        return move

    async def resume(self, move_id: str, partition: int) -> None:
        move = self._departing.pop(move_id, None)
        if move is not None:
            await move.resume()

    async def gone(self, move_id: str, partition: int) -> None:
        move = self._departing.pop(move_id, None)
        if move is not None:
            await move.gone()

    # --- the target ---------------------------------------------------------------------------------------------------

    async def begin(self, request: pb.OpenRequest) -> None:
        name = request.namespace.namespace
        arriving = MigrationTarget(request.move_id, name, self._routes)
        await arriving.begin(request.clock)
        self._arriving[name] = arriving
        self._watch(arriving)

    async def put(self, request: pb.PutRequest) -> pb.MoveReply:
        """MoveError when that move is none of ours, or not any more."""
        arriving = self._known(request.move_id, request.namespace)
        self._watch(arriving)
        records = [(record.key, record.value if record.HasField("value") else None, record.expires)
                   for record in request.records]
        if not request.HasField("horizon"):
            await arriving.put(records)
            return pb.MoveReply(success=True)
        found = await arriving.put_proven(records, request.horizon)
        return pb.MoveReply(success=True, records=found.records, sum=found.sum)

    async def verify(self, request: pb.VerifyRequest) -> pb.VerifyReply:
        """MoveError as `put`. After the last one only the admin knows what becomes of the copy."""
        arriving = self._known(request.move_id, request.namespace)
        if request.more:
            self._watch(arriving)
        else:
            self._unwatch(request.namespace)
        span = Span(request.after if request.HasField("after") else None,
                    request.until if request.HasField("until") else None)
        if request.each:
            hashes = await arriving.hashes(span, request.horizon)
            return pb.VerifyReply(success=True, keys=hashes.keys(), hashes=hashes.values())
        keys: Sequence[bytes] = ()
        if request.strays:
            try:
                keys, found = await arriving.unexpected_keys(request.horizon)
            except TooManyChangesError as error:
                raise MoveError(str(error)) from error
        else:
            found = await arriving.digest(span, request.horizon)
        return pb.VerifyReply(success=True, records=found.records, sum=found.sum, keys=keys)

    async def _end(self, arriving: MigrationTarget) -> None:
        try:
            await arriving.end()
        except Exception as error:  # noqa: BLE001 - a store that is closed or down: the move is over all the same
            self._log.warning("a store could not forget a move", namespace=arriving.name, error=str(error))

    def _known(self, move_id: str, name: str) -> MigrationTarget:
        arriving = self._arriving.get(name)
        if arriving is None or arriving.move_id != move_id:
            raise MoveError(f"namespace {name!r} does not arrive here by move {move_id}")
        return arriving

    # --- copies that were forgotten -----------------------------------------------------------------------------------

    def _watch(self, arriving: MigrationTarget) -> None:
        self._unwatch(arriving.name)
        self._timers[arriving.name] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._forgotten, arriving)

    def _unwatch(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _forgotten(self, arriving: MigrationTarget) -> None:
        self._log.warning("no data of a move came for a while: it is given up", namespace=arriving.name,
                          move=arriving.move_id)
        self._tasks.spawn(self._give_up(arriving.move_id))

    async def _give_up(self, move_id: str) -> None:
        await self._ask(ControlCall("Abandon", pb.MoveRequest(move_id=move_id).SerializeToString()))

    async def close(self) -> None:
        for name in list(self._timers):
            self._unwatch(name)
        await self._tasks.close()
