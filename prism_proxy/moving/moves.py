"""All moves of data in which this proxy takes part, and what ends them: a map, the admin's word, or a registration.

A map that names an owner is the outcome of a move for both sides; no proxy decides it. A registration tells it too,
but only of moves that were in doubt before it was sent: the admin abandons those it has not stored when one of their
proxies registers, so what it lists then is final.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Protocol

from prism import control_plane_pb2, transfer_pb2
from prism_proxy._native.crc32 import partition_of
from prism_proxy.contracts.movable import Digest
from prism_proxy.moving.arriving import Arriving
from prism_proxy.moving.departing import Departing, Stage
from prism_proxy.moving.peer import MoveError, Target
from prism_proxy.namespaces.applier import Applier
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.telemetry import log
from prism_proxy.telemetry.metrics import Metric, counters, gauges

IDLE_SECONDS = 60.0  # after which a move that its source or the admin has forgotten is given up


class Door(Protocol):
    """The member of the cluster, who puts namespaces in force; both raise ValueError with the reason."""

    async def take_in(self, item: control_plane_pb2.NamespaceAssignment) -> None:
        """Serve a namespace that is not served yet."""
        ...

    async def give_up(self, name: str) -> None: ...


class Moves:
    """`connect(move_id, address)` makes the way to a target."""

    def __init__(self, applier: Applier, routes: Namespaces, connect: Callable[[str, str], Target]) -> None:
        self._log = log.get("prism.moving")
        self._applier = applier
        self._routes = routes
        self._connect = connect
        self._departing: dict[str, Departing] = {}  # by move
        self._arriving: dict[str, Arriving] = {}  # by namespace
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._doubts_told: frozenset[str] = frozenset()
        self._counts = {"sent": 0, "received": 0, "abandoned": 0, "failed": 0}
        self._longest_hold_s = 0.0
        self.door: Door | None = None

    def arriving(self, name: str) -> bool:
        """Whether the data of a namespace are on their way here."""
        return name in self._arriving

    def involves(self, name: str) -> bool:
        """Whether the data of a namespace are on their way, from here or to here."""
        return name in self._arriving or any(name in move.names for move in self._departing.values())

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- the source ---------------------------------------------------------------------------------------------------

    async def send(self, request: transfer_pb2.SendRequest) -> None:
        """MoveError when the copy cannot be made; then all is as it was before."""
        names = [item.namespace for item in request.namespaces]
        busy = [name for name in names if self.involves(name)]
        if busy or request.move_id in self._departing:
            raise MoveError(f"another move of {', '.join(busy) or request.move_id} has not ended yet")
        move = Departing(request.move_id, self._connect(request.move_id, request.target_address), request.namespaces,
                         self._applier, self._routes, asyncio.get_running_loop().time)
        self._departing[request.move_id] = move
        self._log.info("a move began", namespaces=names, target=request.target_proxy, move=request.move_id)
        await self._or_resume(move, move.copy)
        self._watch(move.move_id)

    async def finish(self, move_id: str) -> None:
        """MoveError when the target does not have the same; then all is as it was before."""
        move = self._departing.get(move_id)
        if move is None:
            raise MoveError("there is no such move")
        self._unwatch(move_id)
        await self._or_resume(move, move.finish)
        self._longest_hold_s = max(self._longest_hold_s, move.held_s)

    async def _or_resume(self, move: Departing, step: Callable[[], Awaitable[None]]) -> None:
        """A step of the source; whatever goes wrong, the caller's leaving included, resumes."""
        try:
            await step()
        except BaseException as error:
            self._start(self._resume(move))
            if isinstance(error, Exception):
                self._counts["failed"] += 1
                self._log.warning("a move failed", namespaces=list(move.names), move=move.move_id, problem=str(error))
                raise MoveError(str(error) or type(error).__name__) from error
            raise

    async def _resume(self, move: Departing) -> None:
        self._departing.pop(move.move_id, None)
        self._unwatch(move.move_id)
        await move.resume()
        self._log.info("a move was given up: its namespaces are served here again", namespaces=list(move.names),
                       move=move.move_id, held_s=round(move.held_s, 3))

    # --- the target ---------------------------------------------------------------------------------------------------

    async def open(self, request: transfer_pb2.OpenRequest) -> None:
        """MoveError when this proxy cannot take the namespace in."""
        assert self.door is not None
        name = request.namespace.namespace
        earlier = self._arriving.get(name)
        if earlier is not None:
            await self._drop(earlier)
        if name in self._routes.current.routes or self.involves(name):
            raise MoveError(f"namespace {name!r} is served here already")
        arriving = self._arriving[name] = Arriving(request.move_id, name, self._routes)
        self._routes.hide(name)
        try:
            await self.door.take_in(request.namespace)
            await arriving.begin(request.clock)
        except Exception as error:  # a driver may raise anything: the move fails of it, and nothing else
            await self._drop(arriving)
            raise MoveError(str(error)) from error
        self._watch(request.move_id)

    async def put(self, request: transfer_pb2.PutRequest) -> None:
        arriving = self._known(request.move_id, request.namespace)
        self._watch(request.move_id)
        await arriving.put([(record.key, record.value if record.HasField("value") else None, record.expires)
                            for record in request.records])

    async def verify(self, request: transfer_pb2.VerifyRequest) -> Digest:
        """From now on only the admin knows what becomes of the copy."""
        arriving = self._known(request.move_id, request.namespace)
        self._unwatch(request.move_id)
        return await arriving.digest(request.horizon)

    def _known(self, move_id: str, name: str) -> Arriving:
        arriving = self._arriving.get(name)
        if arriving is None or arriving.move_id != move_id:
            raise MoveError(f"namespace {name!r} does not arrive here by move {move_id}")
        return arriving

    async def _drop(self, arriving: Arriving) -> None:
        """The namespace is not ours after all."""
        assert self.door is not None
        self._unwatch(arriving.move_id)
        if arriving.name in self._routes.current.routes:
            await self.door.give_up(arriving.name)
        if self._arriving.get(arriving.name) is arriving:
            del self._arriving[arriving.name]
            self._routes.show(arriving.name)

    # --- the outcome --------------------------------------------------------------------------------------------------

    async def abandon(self, move_id: str) -> None:
        """The admin says that the move is not made."""
        move = self._departing.get(move_id)
        if move is not None:
            await self._resume(move)
        for arriving in [found for found in self._arriving.values() if found.move_id == move_id]:
            await self._drop(arriving)
        self._counts["abandoned"] += 1

    def registering(self) -> None:
        """A registration is about to be sent."""
        self._doubts_told = frozenset(
            move.move_id for move in self._departing.values() if move.stage is Stage.IN_DOUBT)

    async def registered(self, owned: Collection[int]) -> None:
        """The answer to that registration says that these partitions are ours."""
        for move in [self._departing[told] for told in self._doubts_told if told in self._departing]:
            if all(partition_of(name) in owned for name in move.names):
                await self._resume(move)
        self._doubts_told = frozenset()

    def doubts(self) -> frozenset[str]:
        """Namespaces whose calls wait for a map that says who serves them."""
        return frozenset(name for move in self._departing.values() if move.stage is Stage.IN_DOUBT
                         for name in move.names)

    async def dropped(self, names: Iterable[str]) -> None:
        """These are not served here any more: whoever has them gets the calls that waited."""
        for name in names:
            arriving = self._arriving.pop(name, None)
            if arriving is not None:
                self._unwatch(arriving.move_id)
                self._routes.show(name)
            for move in [found for found in self._departing.values() if name in found.names]:
                del self._departing[move.move_id]
                self._unwatch(move.move_id)
                await move.gone()
                self._counts["sent"] += 1
                self._log.info("a move ended: another proxy serves its namespaces", namespaces=list(move.names),
                               move=move.move_id, held_s=round(move.held_s, 3))

    def owned(self, partitions: Collection[int]) -> None:
        """A map says that these partitions are ours: what has arrived there is served. Call it before that map decides
        where calls go."""
        for name in [found for found in self._arriving if partition_of(found) in partitions]:
            arriving = self._arriving.pop(name)
            self._unwatch(arriving.move_id)
            self._routes.show(name)
            self._counts["received"] += 1
            self._log.info("a namespace arrived with its data", namespace=name, move=arriving.move_id)

    # --- moves that were forgotten ------------------------------------------------------------------------------------

    def _watch(self, move_id: str) -> None:
        self._unwatch(move_id)
        self._timers[move_id] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._forgotten, move_id)

    def _unwatch(self, move_id: str) -> None:
        timer = self._timers.pop(move_id, None)
        if timer is not None:
            timer.cancel()

    def _forgotten(self, move_id: str) -> None:
        self._log.warning("nothing was heard of a move for a while: it is given up", move=move_id)
        self._start(self.abandon(move_id))

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        yield counters("prism_moves_total", "Moves of data to and from other proxies.", "event", self._counts)
        yield gauges("prism_moves_in_progress", "Moves of data in which this proxy takes part.",
                     {(): float(len(self._departing) + len(self._arriving))}, merge="max")
        yield gauges("prism_moves_longest_hold_seconds", "The longest time for which calls waited in a move.",
                     {(): self._longest_hold_s}, merge="max")
