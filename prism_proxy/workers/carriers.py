"""Moves of data, where several workers have them: the supervisor decides, and the worker of the partition carries.

    Moves (supervisor) -> FleetCarriers -- Asked --> WorkerCarrier -> Carrier (worker)
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from prism import transfer_pb2 as pb
from prism_proxy._native.crc32 import partition_of
from prism_proxy.joining.request import Reply, Request
from prism_proxy.moving.carrier import Carrier
from prism_proxy.moving.peer import OPEN_SECONDS, MoveError
from prism_proxy.namespaces.placement import worker_of
from prism_proxy.workers.errands import WorkerGoneError

if TYPE_CHECKING:
    from prism_proxy.workers.fleet import Fleet

COPY_SECONDS = 3600.0  # as long as the admin waits
STEP_SECONDS = 10.0


class FleetCarriers:
    """Implements `moving.moves.Carriers`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def steer(self, hidden: Collection[str], held: Collection[str]) -> None:
        self._fleet.steer(frozenset(hidden), frozenset(held))

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
        worker = worker_of(partition, len(self._fleet.seats))
        reply = await self._fleet.ask(worker, Request(step, request.SerializeToString()), limit_s)
        if reply.code:
            raise MoveError(reply.text)


class WorkerCarrier:
    """What a worker does that its supervisor asks for."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._steps: dict[str, Callable[[str, int], Awaitable[None]]] = {
            "catch_up": carrier.catch_up, "finish": carrier.finish, "resume": carrier.resume, "gone": carrier.gone}

    async def answer(self, request: Request) -> Reply:
        """The reply to one step, for `FleetCarriers`."""
        try:
            if request.method == "copy":
                await self._carrier.copy(pb.SendRequest.FromString(request.message))
            elif request.method == "begin":
                await self._carrier.begin(pb.OpenRequest.FromString(request.message))
            else:
                await self._steps[request.method](pb.MoveRequest.FromString(request.message).move_id, 0)
        except Exception as error:  # noqa: BLE001 - a driver may raise anything: the move fails of it, and nothing else
            return Reply(code=2, text=str(error) or type(error).__name__)
        return Reply()
