"""All moves of data in which this proxy takes part, and what ends them: a map, the admin's word, or a registration.

    source:  copying --Finish--> paused --the target has the same--> in doubt --a map names the target--> over
                |                  |                                  |
                +---- anything ----+---------- the admin says so -----+--> resumed
    target:  opened --records--> complete --a map says that the partition is ours--> shown
                +-------------------+------- abandoned, or not ours after all -----> dropped

A map that names an owner is the outcome of a move for both sides; no proxy decides it. Until it is in doubt the source
may change its mind on its own. Once in doubt it takes no write, however long that lasts: the admin alone knows whether
the target does. A registration tells the outcome too, but only of moves that were known before it was sent: the admin
abandons those it has not stored when one of their proxies registers, so what it lists then is final.

This stands where the member of the cluster is. What may serve and what must not is told to all processes of the proxy
(`MigrationWorkers.set_overrides`), those that start later too, so that none of them has to live as long as a move.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from prism import control_plane_pb2, transfer_pb2
from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.membership.migration.target_client import MoveError
from prism_proxy.telemetry.metrics import Metric, counters, gauges
from prism_runtime import log
from prism_runtime.tasks import Tasks

IDLE_SECONDS = 60.0  # after which a copy is given up that the admin has forgotten
METHODS = frozenset({"Send", "Finish", "Abandon", "Open"})  # of prism.Transfer, for `MigrationCoordinator.answer`


class Host(Protocol):
    """The member of the cluster, who activates namespaces; it raises ValueError with the reason when it cannot."""

    def has(self, name: str) -> bool: ...

    async def take_in(self, item: control_plane_pb2.NamespaceAssignment) -> None:
        """Serve a namespace that is not served yet."""
        ...

    async def give_up(self, name: str) -> None: ...


class MigrationWorkers(Protocol):
    """The processes of this proxy; those of a partition's data are found by the partition. `copy`, `catch_up`, `finish`
    and `begin` raise any error, and may have failed for good where `resume` succeeds."""

    def set_overrides(self, unlisted: Collection[str], paused: Collection[str]) -> None:
        """In every process: these namespaces get no call, and calls of those wait."""
        ...

    async def copy(self, request: transfer_pb2.SendRequest) -> None: ...

    async def catch_up(self, move_id: str, partition: int) -> None: ...

    async def finish(self, move_id: str, partition: int) -> None:
        """Copy the rest and compare; the driver takes no write afterwards."""
        ...

    async def resume(self, move_id: str, partition: int) -> None:
        """Take writes again. Does nothing where the process that knew the move has ended."""
        ...

    async def gone(self, move_id: str, partition: int) -> None: ...

    async def begin(self, request: transfer_pb2.OpenRequest) -> None: ...


class Stage(Enum):
    COPYING = "copying"
    HELD = "paused"
    IN_DOUBT = "in doubt"
    OVER = "over"


@dataclass(eq=False)
class _SourceMove:
    move_id: str
    partition: int
    names: tuple[str, ...]
    stage: Stage = Stage.COPYING
    step: asyncio.Task[None] | None = None  # what migration_workers do for it
    held_s: float = 0.0


class MigrationCoordinator:
    """`host` must be set before the first call."""

    def __init__(self, migration_workers: MigrationWorkers) -> None:
        self._log = log.get("prism.migration")
        self._migration_workers = migration_workers
        self._departing: dict[str, _SourceMove] = {}  # by move
        self._arriving: dict[str, str] = {}  # namespace -> move
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks = Tasks()
        self._told: frozenset[str] = frozenset()
        self._counts = {"sent": 0, "received": 0, "abandoned": 0, "failed": 0}
        self._longest_hold_s = 0.0
        self.host: Host | None = None

    def arriving(self, name: str) -> bool:
        """Whether the data of a namespace are on their way here."""
        return name in self._arriving

    def involves(self, name: str) -> bool:
        """Whether the data of a namespace are on their way, from here or to here."""
        return name in self._arriving or any(name in move.names for move in self._departing.values())

    async def answer(self, request: ControlCall) -> ControlReply:
        """The reply to one of `METHODS`, whose caller is known."""
        try:
            match request.method:
                case "Send":
                    await self.send(transfer_pb2.SendRequest.FromString(request.message))
                case "Open":
                    await self.open(transfer_pb2.OpenRequest.FromString(request.message))
                case "Finish":
                    await self.finish(transfer_pb2.MoveRequest.FromString(request.message).move_id)
                case "Abandon":
                    await self.abandon(transfer_pb2.MoveRequest.FromString(request.message).move_id)
        except MoveError as error:
            return ControlReply(transfer_pb2.MoveReply(success=False, message=str(error)).SerializeToString())
        return ControlReply(transfer_pb2.MoveReply(success=True, compares_parts=True).SerializeToString())

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        await self._tasks.close()

    def _set_overrides(self) -> None:
        self._migration_workers.set_overrides(frozenset(self._arriving), frozenset(
            name for move in self._departing.values() if move.stage in (Stage.HELD, Stage.IN_DOUBT)
            for name in move.names))

    # --- the source ---------------------------------------------------------------------------------------------------

    async def send(self, request: transfer_pb2.SendRequest) -> None:
        """MoveError when the copy cannot be made; then all is as it was before."""
        names = tuple(item.namespace for item in request.namespaces)
        busy = [name for name in names if self.involves(name)]
        if busy or request.move_id in self._departing:
            raise MoveError(f"another move of {', '.join(busy) or request.move_id} has not ended yet")
        move = self._departing[request.move_id] = _SourceMove(request.move_id, request.partition_id, names)
        self._log.info("a move began", namespaces=list(names), target=request.target_proxy, move=request.move_id)
        await self._or_resume(move, self._migration_workers.copy(request))
        self._watch(move.move_id)

    async def finish(self, move_id: str) -> None:
        """MoveError when the target does not have the same; then all is as it was before."""
        move = self._departing.get(move_id)
        if move is None or move.stage is not Stage.COPYING:
            raise MoveError(f"the move is {move.stage.value} already" if move is not None else "there is no such move")
        self._unwatch(move_id)
        await self._or_resume(move, self._prove(move))
        self._longest_hold_s = max(self._longest_hold_s, move.held_s)

    async def _prove(self, move: _SourceMove) -> None:
        await self._migration_workers.catch_up(move.move_id, move.partition)
        began = asyncio.get_running_loop().time()
        try:
            if move.stage is Stage.COPYING:
                move.stage = Stage.HELD
                self._set_overrides()
                await self._migration_workers.finish(move.move_id, move.partition)
        finally:
            move.held_s = asyncio.get_running_loop().time() - began
        if move.stage is not Stage.HELD:
            raise MoveError("the move was abandoned")
        move.stage = Stage.IN_DOUBT

    async def _or_resume(self, move: _SourceMove, step: Coroutine[Any, Any, None]) -> None:
        """A step of the source, which goes to its end whatever becomes of the caller; a failure, or the caller's
        leaving, resumes."""
        try:
            move.step = self._tasks.spawn(step)
            await asyncio.shield(move.step)
        except BaseException as error:
            self._tasks.spawn(self._resume(move))
            if isinstance(error, Exception):
                self._counts["failed"] += 1
                self._log.warning("a move failed", namespaces=list(move.names), move=move.move_id, problem=str(error))
                raise MoveError(str(error) or type(error).__name__) from error
            raise

    async def _resume(self, move: _SourceMove) -> None:
        """Serve the namespaces here again."""
        if move.stage is Stage.OVER:
            return
        move.stage = Stage.OVER
        self._unwatch(move.move_id)
        try:
            await self._migration_workers.resume(move.move_id, move.partition)
        finally:
            self._set_overrides()
            self._tasks.spawn(self._finish_move(move))
        self._log.info("a move was given up: its namespaces are served here again", namespaces=list(move.names),
                       move=move.move_id, held_s=round(move.held_s, 3))

    async def _finish_move(self, move: _SourceMove) -> None:
        """No other move of these namespaces begins before the last step has ended, and what it began too."""
        if move.step is not None and not move.step.done():
            await asyncio.wait([move.step])
            await self._migration_workers.resume(move.move_id, move.partition)
        self._departing.pop(move.move_id, None)

    # --- the target ---------------------------------------------------------------------------------------------------

    async def open(self, request: transfer_pb2.OpenRequest) -> None:
        """MoveError when this proxy cannot take the namespace in."""
        assert self.host is not None
        name = request.namespace.namespace
        if name in self._arriving:
            await self._drop(name, self._arriving[name])
        if self.involves(name) or self.host.has(name):
            raise MoveError(f"namespace {name!r} is served here already")
        self._arriving[name] = request.move_id
        try:
            self._set_overrides()
            await self.host.take_in(request.namespace)
            await self._migration_workers.begin(request)
        except Exception as error:  # a driver may raise anything: the move fails of it, and nothing else
            await self._drop(name, request.move_id)
            raise MoveError(str(error)) from error

    async def _drop(self, name: str, move_id: str) -> None:
        """The namespace is not ours after all."""
        assert self.host is not None
        if self._arriving.get(name) == move_id:
            await self.host.give_up(name)
        if self._arriving.get(name) == move_id:
            del self._arriving[name]
            self._set_overrides()

    # --- the outcome --------------------------------------------------------------------------------------------------

    async def abandon(self, move_id: str) -> None:
        """The admin says that the move is not made."""
        move = self._departing.get(move_id)
        if move is not None:
            await self._resume(move)
        for name in [found for found, of in self._arriving.items() if of == move_id]:
            await self._drop(name, move_id)
        self._counts["abandoned"] += 1

    def registering(self) -> None:
        """A registration is about to be sent."""
        self._told = frozenset((*self._departing, *self._arriving.values()))

    async def registered(self, owned: Collection[int]) -> None:
        """The answer to that registration says that these partitions are ours."""
        for move in [self._departing[told] for told in self._told if told in self._departing]:
            if move.partition in owned:
                await self._resume(move)
        for name, move_id in list(self._arriving.items()):
            if move_id in self._told and partition_of(name) not in owned:
                await self._drop(name, move_id)
        self._told = frozenset()

    def in_doubt(self) -> frozenset[str]:
        """Namespaces whose calls wait for a map that says who serves them."""
        return frozenset(name for move in self._departing.values() if move.stage is Stage.IN_DOUBT
                         for name in move.names)

    async def dropped(self, names: Iterable[str]) -> None:
        """These are not served here any more: their new owner gets the calls that waited."""
        gone = set(names)
        over = [move for move in self._departing.values() if gone.intersection(move.names)]
        if not over and not gone & self._arriving.keys():
            return
        for name in gone & self._arriving.keys():
            del self._arriving[name]
        for move in over:
            del self._departing[move.move_id]
            move.stage = Stage.OVER
            self._unwatch(move.move_id)
            self._counts["sent"] += 1
        self._set_overrides()
        for move in over:
            await self._migration_workers.gone(move.move_id, move.partition)
            self._log.info("a move ended: another proxy serves its namespaces", namespaces=list(move.names),
                           move=move.move_id, held_s=round(move.held_s, 3))

    def owned(self, partitions: Collection[int]) -> None:
        """A map says that these partitions are ours: what has arrived there is served. Call it before that map decides
        where calls go."""
        arrived = [name for name in self._arriving if partition_of(name) in partitions]
        for name in arrived:
            self._log.info("a namespace arrived with its data", namespace=name, move=self._arriving.pop(name))
            self._counts["received"] += 1
        if arrived:
            self._set_overrides()

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
        self._tasks.spawn(self.abandon(move_id))

    # --- what is shown ------------------------------------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        yield counters("prism_moves_total", "Moves of data to and from other proxies.", "event", self._counts)
        yield gauges("prism_moves_in_progress", "Moves of data in which this proxy takes part.",
                     {(): float(len(self._departing) + len(self._arriving))}, merge="max")
        yield gauges("prism_moves_longest_hold_seconds", "The longest time for which calls waited in a move.",
                     {(): self._longest_hold_s}, merge="max")
