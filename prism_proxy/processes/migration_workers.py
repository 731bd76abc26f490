"""Moves of data, where several workers have them: the supervisor decides, and the worker of the partition carries.

    MigrationCoordinator (supervisor) -> FleetMigrationWorkers -- Asked --> WorkerMigration -> MigrationWorker (worker)
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from prism import transfer_pb2 as pb
from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.membership.migration.target_client import OPEN_SECONDS, MoveError
from prism_proxy.membership.migration.worker import MigrationWorker
from prism_proxy.namespaces.placement import worker_of
from prism_proxy.processes.rpc import WorkerGoneError

if TYPE_CHECKING:
    from prism_proxy.processes.fleet import Fleet

COPY_SECONDS = 3600.0  # as long as the admin waits
STEP_SECONDS = 10.0


class FleetMigrationWorkers:
    """Implements `migration.coordinator.MigrationWorkers`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def set_overrides(self, unlisted: Collection[str], paused: Collection[str]) -> None:
        self._fleet.set_overrides(frozenset(unlisted), frozenset(paused))

    async def copy(self, request: pb.SendRequest) -> None:
        await self._ask(request.partition_id, "copy", request, COPY_SECONDS)

    async def catch_up(self, move_id: str, partition: int) -> None:
        await self._ask(partition, "catch_up", pb.MoveRequest(move_id=move_id))

    async def finish(self, move_id: str, partition: int) -> None:
        await self._ask(partition, "finish", pb.MoveRequest(move_id=move_id))

    async def resume(self, move_id: str, partition: int) -> None:
        with contextlib.suppress(WorkerGoneError, TimeoutError):  # it will hear, or the next one knows of no move
            await self._ask(partition, "resume", pb.MoveRequest(move_id=move_id))

    async def gone(self, move_id: str, partition: int) -> None:
        with contextlib.suppress(WorkerGoneError, TimeoutError):
            await self._ask(partition, "gone", pb.MoveRequest(move_id=move_id))

    async def begin(self, request: pb.OpenRequest) -> None:
        await self._ask(partition_of(request.namespace.namespace), "begin", request, OPEN_SECONDS)

    async def _ask(self, partition: int, step: str, request: Any, limit_s: float = STEP_SECONDS) -> None:
        worker = worker_of(partition, len(self._fleet.worker_slots))
        reply = await self._fleet.ask(worker, ControlCall(step, request.SerializeToString()), limit_s)
        if reply.code:
            raise MoveError(reply.text)


class WorkerMigration:
    """What a worker does that its supervisor asks for."""

    def __init__(self, migration_worker: MigrationWorker) -> None:
        self._migration_worker = migration_worker
        self._steps: dict[str, Callable[[str, int], Awaitable[None]]] = {
            "catch_up": migration_worker.catch_up, "finish": migration_worker.finish,
            "resume": migration_worker.resume, "gone": migration_worker.gone}

    async def answer(self, request: ControlCall) -> ControlReply:
        """The reply to one step, for `FleetMigrationWorkers`."""
        try:
            if request.method == "copy":
                await self._migration_worker.copy(pb.SendRequest.FromString(request.message))
            elif request.method == "begin":
                await self._migration_worker.begin(pb.OpenRequest.FromString(request.message))
            else:
                await self._steps[request.method](pb.MoveRequest.FromString(request.message).move_id, 0)
        except Exception as error:  # noqa: BLE001 - a driver may raise anything: the move fails of it, and nothing else
            return ControlReply(code=2, text=str(error) or type(error).__name__)
        return ControlReply()
