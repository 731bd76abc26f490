"""A real proxy whose admin has more namespaces for it than one answer holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism import control_plane_pb2 as pb
from prism import control_plane_pb2_grpc
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc
from tests.services.proxy import proxy

MEMSTORE = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="memstore")})
QUICK = ("--admin-heartbeat-s", "0.2", "--admin-reconnect-s", "0.3")


class SlowAdmin(control_plane_pb2_grpc.ControlPlaneServicer):
    """Gives every partition to each proxy that registers, and says that more namespaces follow."""

    async def RegisterProxy(self, request: pb.ProxyRegistration, context: Any) -> pb.ProxyRegistrationAck:
        return pb.ProxyRegistrationAck(
            success=True, partition_ranges=[pb.PartitionRange(start=0, end=255)], map_revision=1, more_namespaces=True)

    async def Heartbeat(self, request: pb.ProxyHeartbeat, context: Any) -> pb.HeartbeatAck:
        return pb.HeartbeatAck(success=True, map_revision=1)

    async def WatchPartitions(
        self, request: pb.WatchPartitionsRequest, context: Any
    ) -> AsyncIterator[pb.PartitionMap]:
        yield pb.PartitionMap(revision=1, owners=[pb.PartitionOwner(
            start=0, end=255, proxy_id="proxy-01", address="127.0.0.1:1")])
        await asyncio.Event().wait()


@asynccontextmanager
async def slow_admin() -> AsyncIterator[int]:
    server = grpc.aio.server()
    control_plane_pb2_grpc.add_ControlPlaneServicer_to_server(  # type: ignore[no-untyped-call]
        SlowAdmin(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_namespace_that_was_not_told_of_yet_is_unavailable_and_in_the_end_not_found(workers: str) -> None:
    async with slow_admin() as port, proxy(
        "--admin-endpoint", f"127.0.0.1:{port}", "--proxy-id", "proxy-01", "--workers", workers, *QUICK
    ) as process, grpc.aio.insecure_channel(process.address) as channel:
        control: Any = control_plane_pb2_grpc.ControlPlaneStub(channel)  # type: ignore[no-untyped-call]
        store: Any = keyvalue_basic_pb2_grpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]

        async def ask(name: str) -> grpc.aio.AioRpcError | None:
            try:
                await store.Get(kv.GetRequest(key="a"), metadata=(("x-namespace", name),))
            except grpc.aio.AioRpcError as error:
                return error
            return None

        refused = await ask("orders")
        assert refused is not None
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        details = {detail.TypeName(): detail for detail in rpc_status.from_call(refused).details}  # type: ignore[arg-type]
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert details["google.rpc.ErrorInfo"].Unpack(info)
        assert details["google.rpc.RetryInfo"].Unpack(retry)
        assert (info.reason, info.metadata["outcome"]) == ("NAMESPACE_ARRIVING", "not_executed")
        assert retry.retry_delay.ToMilliseconds() > 0
        assert (await control.AssignNamespace(pb.NamespaceAssignment(
            namespace="orders", partition_id=238, config=MEMSTORE, version=1, revision=1))).success
        assert await ask("orders") is None
        async with asyncio.timeout(30):
            while True:
                missing = await ask("unknown")
                assert missing is not None
                if missing.code() is grpc.StatusCode.NOT_FOUND:
                    break
                assert missing.code() is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.05)
        assert not json.loads((await process.get("/ready"))[1])["admin"]["more_expected"]
