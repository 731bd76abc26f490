"""Calls from the admin to proxies: one channel a proxy, at the address it registered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import grpc

from admin_client import Credentials
from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc, transfer_pb2, transfer_pb2_grpc
from prism_runtime import log
from prism_runtime.tasks import Tasks

ASSIGN_SECONDS = 5.0
DESCRIBE_SECONDS = 5.0
REVOKE_EXTRA_SECONDS = 5.0
DEFAULT_GRACE_SECONDS = 30
SEND_SECONDS = 3600.0
FINISH_SECONDS = 3.0
ABANDON_SECONDS = 5.0
PING_SECONDS = 15.0  # proxies take no pings closer together than 10 s
# A connection that a cut of the network has silenced is given up, so that a proxy that is back need not wait until TCP
# tries again.
_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", int(PING_SECONDS * 1000)), ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)
_log = log.get("prism.admin")


class PushError(RuntimeError):
    """A proxy could not be reached, or refused; the message says which and why."""


class RefusedError(PushError):
    """The proxy answered, and serves no namespace of this configuration; the message is its reason alone."""


class ProxyClient:
    """`credentials` prove the admin's identity; their files are read again when they change."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials()
        self._metadata = self._credentials.metadata()
        self._seen = self._credentials.fingerprint()
        self._secure = self._credentials.channel()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._retired = Tasks()

    async def assign(self, address: str, assignment: pb.NamespaceAssignment) -> None:
        """PushError unless the proxy has activated the namespace; RefusedError when it never will."""
        try:
            ack = await self._stub(address).AssignNamespace(
                assignment, timeout=ASSIGN_SECONDS, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise PushError(f"{address}: {error.code().name}: {error.details()}") from error
        if not ack.success:
            raise RefusedError(ack.message or "the proxy gave no reason")

    async def revoke(self, address: str, revocation: pb.NamespaceRevocation) -> None:
        """PushError unless the proxy has let the namespace go. Waits for its grace."""
        grace = revocation.graceful_timeout_seconds or DEFAULT_GRACE_SECONDS
        try:
            ack = await self._stub(address).RevokeNamespace(
                revocation, timeout=grace + REVOKE_EXTRA_SECONDS, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise PushError(f"{address}: {error.code().name}: {error.details()}") from error
        if not ack.success:
            raise PushError(f"{address} refused to revoke {revocation.namespace}: {ack.message}")

    async def describe(self, address: str, namespaces: Iterable[pb.NamespaceAssignment]) -> Sequence[pb.NameArea]:
        """The names that namespaces would have at their servers. PushError, also of a proxy that is too old to tell."""
        try:
            answer = await self._stub(address).DescribeNamespaces(
                pb.DescribeNamespacesRequest(namespaces=namespaces), timeout=DESCRIBE_SECONDS, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise PushError(f"{address}: {error.code().name}: {error.details()}") from error
        return list(answer.areas)

    # --- moves of data ------------------------------------------------------------------------------------------------

    async def send(self, address: str, request: transfer_pb2.SendRequest) -> None:
        """PushError unless the source has copied nearly everything. Takes as long as the data are large."""
        await self._move(address, "Send", request, SEND_SECONDS)

    async def finish(self, address: str, move_id: str) -> None:
        """PushError unless the target has the same data and the source takes no more writes; it may be so all the same
        where no answer came."""
        await self._move(address, "Finish", transfer_pb2.MoveRequest(move_id=move_id), FINISH_SECONDS)

    async def abandon(self, address: str, move_id: str) -> None:
        """PushError unless the proxy knows that the move is not made."""
        await self._move(address, "Abandon", transfer_pb2.MoveRequest(move_id=move_id), ABANDON_SECONDS)

    async def _move(self, address: str, method: str, request: Any, seconds: float) -> None:
        stub = transfer_pb2_grpc.TransferStub(self._channel(address))  # type: ignore[no-untyped-call]
        try:
            reply = await getattr(stub, method)(request, timeout=seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise PushError(f"{address}: {error.code().name}: {error.details()}") from error
        if not reply.success:
            raise PushError(f"{address}: {reply.message}")

    async def forget(self, address: str) -> None:
        """The proxy has another address now, or is gone."""
        channel = self._channels.pop(address, None)
        if channel is not None:
            await channel.close(None)

    async def close(self) -> None:
        for address in list(self._channels):
            await self.forget(address)
        await self._retired.close()

    def _stub(self, address: str) -> control_plane_pb2_grpc.ControlPlaneStub:
        return control_plane_pb2_grpc.ControlPlaneStub(self._channel(address))  # type: ignore[no-untyped-call]

    def _channel(self, address: str) -> grpc.aio.Channel:
        self._reload()
        channel = self._channels.get(address)
        if channel is None:
            channel = (grpc.aio.insecure_channel(address, options=_OPTIONS) if self._secure is None
                       else grpc.aio.secure_channel(address, self._secure, options=_OPTIONS))
            self._channels[address] = channel
        return channel

    def _reload(self) -> None:
        """Reconnect with the current certificates if they changed. Calls in progress, such as moves, keep theirs."""
        fingerprint = self._credentials.fingerprint()
        if fingerprint == self._seen:
            return
        self._seen = fingerprint
        try:
            self._credentials.validate()
            self._secure = self._credentials.channel()
        except (OSError, ValueError) as error:
            _log.error("TLS files towards proxies were not reloaded", error=str(error))
            return
        for channel in self._channels.values():
            self._retired.spawn(channel.close(SEND_SECONDS))
        self._channels.clear()
