"""The process that has the data of a move: it copies them out, or takes them in. It decides nothing: `Moves` does.

A proxy with several workers has one carrier in each; a move concerns one partition, so one worker on each side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from prism import transfer_pb2 as pb
from prism_proxy.contracts.movable import Digest
from prism_proxy.joining.request import Ask, Request
from prism_proxy.moving.arriving import Arriving
from prism_proxy.moving.departing import Departing
from prism_proxy.moving.peer import MoveError, Target
from prism_proxy.namespaces.applier import Applier
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.telemetry import log

IDLE_SECONDS = 60.0  # after which a copy is given up whose source or whose admin has forgotten it


class Carrier:
    """Implements `moving.moves.Carriers` for a proxy of one process. `connect(move_id, address)` makes the way to a
    target, `ask` the way to whoever decides on moves of this proxy."""

    def __init__(self, applier: Applier, routes: Namespaces, connect: Callable[[str, str], Target], ask: Ask) -> None:
        self._log = log.get("prism.moving")
        self._applier = applier
        self._routes = routes
        self._connect = connect
        self._ask = ask
        self._departing: dict[str, Departing] = {}  # by move
        self._arriving: dict[str, Arriving] = {}  # by namespace
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by namespace
        self._asking: set[asyncio.Task[None]] = set()

    def steer(self, hidden: Collection[str], held: Collection[str]) -> None:
        self._routes.steer(hidden, held)
        for name in self._arriving.keys() - set(hidden):
            self._unwatch(name)
            del self._arriving[name]

    # --- the source ---------------------------------------------------------------------------------------------------

    async def copy(self, request: pb.SendRequest) -> None:
        move = self._departing[request.move_id] = Departing(
            self._connect(request.move_id, request.target_address), request.namespaces, self._applier, self._routes)
        await move.copy()

    async def catch_up(self, move_id: str, partition: int) -> None:
        await self._copied(move_id).catch_up()

    async def finish(self, move_id: str, partition: int) -> None:
        await self._copied(move_id).finish()

    def _copied(self, move_id: str) -> Departing:
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
        arriving = Arriving(request.move_id, name, self._routes)
        await arriving.begin(request.clock)
        self._arriving[name] = arriving
        self._watch(arriving)

    async def put(self, request: pb.PutRequest) -> None:
        """MoveError when that move is none of ours, or not any more."""
        arriving = self._known(request.move_id, request.namespace)
        self._watch(arriving)
        await arriving.put([(record.key, record.value if record.HasField("value") else None, record.expires)
                            for record in request.records])

    async def verify(self, request: pb.VerifyRequest) -> Digest:
        """From now on only the admin knows what becomes of the copy. MoveError as `put`."""
        arriving = self._known(request.move_id, request.namespace)
        self._unwatch(request.namespace)
        return await arriving.digest(request.horizon)

    def _known(self, move_id: str, name: str) -> Arriving:
        arriving = self._arriving.get(name)
        if arriving is None or arriving.move_id != move_id:
            raise MoveError(f"namespace {name!r} does not arrive here by move {move_id}")
        return arriving

    # --- copies that were forgotten -----------------------------------------------------------------------------------

    def _watch(self, arriving: Arriving) -> None:
        self._unwatch(arriving.name)
        self._timers[arriving.name] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._forgotten, arriving)

    def _unwatch(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _forgotten(self, arriving: Arriving) -> None:
        self._log.warning("no data of a move came for a while: it is given up", namespace=arriving.name,
                          move=arriving.move_id)
        task = asyncio.get_running_loop().create_task(self._give_up(arriving.move_id))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _give_up(self, move_id: str) -> None:
        await self._ask(Request("Abandon", pb.MoveRequest(move_id=move_id).SerializeToString()))

    async def close(self) -> None:
        for name in list(self._timers):
            self._unwatch(name)
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
