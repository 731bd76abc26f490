"""prism.Transfer on the data port: for the admin and for other proxies, never for clients.

Any worker may be asked. What moves there are is known where the member of the cluster is; records go to the worker that
has the store of their namespace, by the way that workers have to each other.
"""

from __future__ import annotations

from typing import Any

from prism import transfer_pb2 as pb
from prism import transfer_pb2_grpc
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.interfaces.servicer import answers
from prism_proxy.membership.control_call import ControlCall, ControlCallHandler
from prism_proxy.membership.identity import PeerAuthenticator
from prism_proxy.membership.migration.relay import Relay
from prism_proxy.membership.migration.target_client import MoveError
from prism_proxy.membership.migration.worker import MigrationWorker


class TransferServicer(transfer_pb2_grpc.TransferServicer):
    """Thin: who calls, and what went wrong, in the wire's form."""

    def __init__(self, authenticator: PeerAuthenticator, ask: ControlCallHandler, migration_worker: MigrationWorker,
                 relay: Relay) -> None:
        self._authenticator = authenticator
        self._ask = ask
        self._migration_worker = migration_worker
        self._relay = relay

    @answers
    async def Send(self, request: pb.SendRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._pass_on("Send", request, context)

    @answers
    async def Finish(self, request: pb.MoveRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._pass_on("Finish", request, context)

    @answers
    async def Abandon(self, request: pb.MoveRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._pass_on("Abandon", request, context)

    @answers
    async def Open(self, request: pb.OpenRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        return await self._pass_on("Open", request, context)

    @answers
    async def Put(self, request: pb.PutRequest, context: Any) -> pb.MoveReply:  # noqa: N802 - the contract's name
        self._authenticator.principal(context)
        try:
            worker = self._relay.elsewhere(request.namespace)
            if worker is not None:
                return await self._relay.put(worker, request)
            return await self._migration_worker.put(request)
        except MoveError as error:
            return pb.MoveReply(success=False, message=str(error))

    @answers
    async def Verify(self, request: pb.VerifyRequest, context: Any) -> pb.VerifyReply:  # noqa: N802 - the contract's name
        self._authenticator.principal(context)
        try:
            worker = self._relay.elsewhere(request.namespace)
            if worker is not None:
                return await self._relay.verify(worker, request)
            return await self._migration_worker.verify(request)
        except MoveError as error:
            return pb.VerifyReply(success=False, message=str(error))

    async def _pass_on(self, method: str, request: Any, context: Any) -> pb.MoveReply:
        self._authenticator.principal(context)
        reply = await self._ask(ControlCall(method, request.SerializeToString()))
        if reply.code:
            raise PrismError(StatusCode.UNAVAILABLE, reply.reason, reply.text)
        return pb.MoveReply.FromString(reply.message)


def add_transfer(
    server: Any, token: str, ask: ControlCallHandler, migration_worker: MigrationWorker, relay: Relay
) -> None:
    """Register the service."""
    servicer = TransferServicer(PeerAuthenticator(token), ask, migration_worker, relay)
    transfer_pb2_grpc.add_TransferServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
