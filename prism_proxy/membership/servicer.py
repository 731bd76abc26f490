"""prism.ControlPlane as a proxy serves it: the admin's Assign, Revoke and Describe, and CreateNamespace for clients.

Any worker may be asked; the member of the cluster is one per proxy, so requests are passed on to it as bytes.
"""

from __future__ import annotations

from typing import Any, TypeVar

from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.interfaces.servicer import answers
from prism_proxy.membership.control_call import ControlCall, ControlCallHandler
from prism_proxy.membership.identity import PeerAuthenticator

SERVICE = "prism.ControlPlane"
AnswerT = TypeVar("AnswerT", pb.NamespaceAssignmentAck, pb.NamespaceRevocationAck, pb.CreateNamespaceResponse,
                  pb.DescribeNamespacesResponse)


class ControlPlaneServicer(control_plane_pb2_grpc.ControlPlaneServicer):
    """`ask` is the member's door."""

    def __init__(self, authenticator: PeerAuthenticator, ask: ControlCallHandler) -> None:
        self._authenticator = authenticator
        self._ask = ask

    @answers
    async def AssignNamespace(  # noqa: N802 - the contract's name
        self, request: pb.NamespaceAssignment, context: Any
    ) -> pb.NamespaceAssignmentAck:
        return await self._pass_on("AssignNamespace", request, context, pb.NamespaceAssignmentAck())

    @answers
    async def RevokeNamespace(  # noqa: N802 - the contract's name
        self, request: pb.NamespaceRevocation, context: Any
    ) -> pb.NamespaceRevocationAck:
        return await self._pass_on("RevokeNamespace", request, context, pb.NamespaceRevocationAck())

    @answers
    async def CreateNamespace(  # noqa: N802 - the contract's name
        self, request: pb.CreateNamespaceRequest, context: Any
    ) -> pb.CreateNamespaceResponse:
        return await self._pass_on("CreateNamespace", request, context, pb.CreateNamespaceResponse())

    @answers
    async def DescribeNamespaces(  # noqa: N802 - the contract's name
        self, request: pb.DescribeNamespacesRequest, context: Any
    ) -> pb.DescribeNamespacesResponse:
        return await self._pass_on("DescribeNamespaces", request, context, pb.DescribeNamespacesResponse())

    async def _pass_on(self, method: str, request: Any, context: Any, answer: AnswerT) -> AnswerT:
        principal = self._authenticator.principal(context, getattr(request, "principal", ""))
        if isinstance(request, pb.CreateNamespaceRequest):
            request.principal = principal
        reply = await self._ask(ControlCall(method, request.SerializeToString()))
        if reply.code:
            raise PrismError(_status(reply.code), reply.reason, reply.text)
        answer.ParseFromString(reply.message)
        return answer


def add_control_plane(server: Any, token: str, ask: ControlCallHandler) -> str:
    """Register the service; its full name."""
    servicer = ControlPlaneServicer(PeerAuthenticator(token), ask)
    control_plane_pb2_grpc.add_ControlPlaneServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    return SERVICE


def _status(code: int) -> StatusCode:
    return next((found for found in StatusCode if found.value[0] == code), StatusCode.UNKNOWN)
