"""prism.Transfer on the data port: for the admin and for other proxies, never for clients."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from prism import transfer_pb2 as pb
from prism import transfer_pb2_grpc
from prism_proxy.interfaces.base import answers
from prism_proxy.joining.identity import Gatekeeper
from prism_proxy.moving.moves import Moves
from prism_proxy.moving.peer import MoveError


class TransferServicer(transfer_pb2_grpc.TransferServicer):
    """Thin: who calls, and what went wrong, in the wire's form."""

    def __init__(self, gatekeeper: Gatekeeper, moves: Moves) -> None:
        self._gatekeeper = gatekeeper
        self._moves = moves

    @answers
    async def Send(self, request: pb.SendRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._reply(context, self._moves.send(request))

    @answers
    async def Finish(self, request: pb.MoveRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._reply(context, self._moves.finish(request.move_id))

    @answers
    async def Abandon(self, request: pb.MoveRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._reply(context, self._moves.abandon(request.move_id))

    @answers
    async def Open(self, request: pb.OpenRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._reply(context, self._moves.open(request))

    @answers
    async def Put(self, request: pb.PutRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._reply(context, self._moves.put(request))

    @answers
    async def Verify(self, request: pb.VerifyRequest, context: Any) -> pb.VerifyReply:  # noqa: N802 - the contract's name
        self._gatekeeper.principal(context)
        try:
            found = await self._moves.verify(request)
        except MoveError as error:
            return pb.VerifyReply(success=False, message=str(error))
        return pb.VerifyReply(success=True, records=found.records, sum=found.sum)

    async def _reply(self, context: Any, work: Awaitable[None]) -> pb.MoveReply:
        try:
            self._gatekeeper.principal(context)
        except BaseException:
            work.close()  # type: ignore[attr-defined]
            raise
        try:
            await work
        except MoveError as error:
            return pb.MoveReply(success=False, message=str(error))
        return pb.MoveReply(success=True)


def add_transfer(server: Any, token: str, moves: Moves) -> None:
    """Register the service."""
    servicer = TransferServicer(Gatekeeper(token), moves)
    transfer_pb2_grpc.add_TransferServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
