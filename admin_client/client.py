"""One connection to the admin, and its calls with the deadlines of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from admin_client.credentials import Credentials
from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc

REGISTER_SECONDS = 10.0
CREATE_SECONDS = 10.0
HEARTBEAT_SECONDS = 5.0
CLOSE_SECONDS = 1.0  # that calls in progress have when the certificates have changed
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
PING_SECONDS = 10.0  # with the 5 s that an answer may take, a silent admin is noticed within 15 s
# However long the admin was away, it is tried again twice a second, so that the first call after its return finds it.
_OPTIONS = (
    ("grpc.keepalive_timeout_ms", 5_000), ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)
AnswerT = TypeVar("AnswerT")


class AdminError(Exception):
    """A call failed; `code` is its gRPC status. `away` tells that the admin could not be reached, or not in time."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message

    @property
    def away(self) -> bool:
        return self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class AdminClient:
    """`endpoint` is HOST:PORT. Made within the loop that uses it; every call raises AdminError.

    `refused` gets the error of changed files that cannot be used; `ping_s` is how often an idle connection is tried.
    """

    def __init__(self, endpoint: str, credentials: Credentials | None = None,
                 refused: Callable[[Exception], None] = lambda error: None, *, ping_s: float = PING_SECONDS) -> None:
        self._options = (*_OPTIONS, ("grpc.keepalive_time_ms", int(ping_s * 1000)))
        self._credentials = credentials or Credentials()
        self._refused = refused
        self.endpoint = endpoint
        self.metadata = self._credentials.metadata()
        self._seen = self._credentials.fingerprint()
        self._connect()

    def _connect(self) -> None:
        found = self._credentials.channel()
        self.channel = (grpc.aio.insecure_channel(self.endpoint, options=self._options) if found is None
                        else grpc.aio.secure_channel(self.endpoint, found, options=self._options))
        self._stub: Any = control_plane_pb2_grpc.ControlPlaneStub(self.channel)  # type: ignore[no-untyped-call]

    async def reload(self) -> None:
        """Reconnect with the current certificates if they changed. Those that cannot be used change nothing."""
        fingerprint = self._credentials.fingerprint()
        if fingerprint == self._seen:
            return
        self._seen = fingerprint
        old = self.channel
        try:
            self._credentials.validate()
            self._connect()
        except (OSError, ValueError) as error:
            self._refused(error)
        else:
            await old.close(CLOSE_SECONDS)

    async def register(self, registration: pb.ProxyRegistration) -> pb.ProxyRegistrationAck:
        ack: pb.ProxyRegistrationAck = await _answer(
            self._stub.RegisterProxy(registration, timeout=REGISTER_SECONDS, metadata=self.metadata))
        if not ack.success:
            raise AdminError(grpc.StatusCode.FAILED_PRECONDITION, ack.message or "the admin refused the registration")
        return ack

    async def heartbeat(
        self, heartbeat: pb.ProxyHeartbeat, timeout_s: float = HEARTBEAT_SECONDS
    ) -> pb.HeartbeatAck:
        """NOT_FOUND asks for a registration."""
        return await _answer(self._stub.Heartbeat(heartbeat, timeout=timeout_s, metadata=self.metadata))

    async def create_namespace(
        self, request: pb.CreateNamespaceRequest, timeout_s: float = CREATE_SECONDS
    ) -> pb.CreateNamespaceResponse:
        return await _answer(self._stub.CreateNamespace(request, timeout=timeout_s, metadata=self.metadata))

    async def watch_partitions(self, proxy_id: str, known_revision: int = 0) -> AsyncIterator[pb.PartitionMap]:
        """The map, when it is newer than the known one, and every later one, until the connection is lost."""
        call = self._stub.WatchPartitions(
            pb.WatchPartitionsRequest(proxy_id=proxy_id, known_revision=known_revision), metadata=self.metadata)
        try:
            async for found in call:
                yield found
        except grpc.aio.AioRpcError as error:
            raise AdminError(error.code(), error.details() or "") from error
        finally:
            call.cancel()
        raise AdminError(grpc.StatusCode.UNAVAILABLE, "the admin ended the stream of partition maps")

    async def close(self) -> None:
        await self.channel.close(None)


async def _answer(call: Awaitable[AnswerT]) -> AnswerT:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise AdminError(error.code(), error.details() or "") from error
