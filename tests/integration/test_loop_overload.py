"""More calls at once than the event loop can begin soon: the rest is shed, cheaply, and health checks are answered."""

from __future__ import annotations

import base64

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism_proxy.interfaces.catalogue import namespaced
from prism_proxy.interfaces.registration import add_interfaces
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, build
from prism_proxy.server.health import HealthServicer, add_health
from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server
from tests.support.h2peer import DATA, END_STREAM, RST_STREAM, H2Peer, frame, grpc_headers, message
from tests.support.scripted_driver import ScriptedDriver

pytestmark = pytest.mark.serial

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"
HEALTH = "/grpc.health.v1.Health/Check"
BACKLOG, BURST = 5, 40


def call(peer: H2Peer, path: str, payload: bytes) -> tuple[int, bytes]:
    stream = peer.next_stream()
    return stream, peer.head(stream, grpc_headers(path)) + frame(DATA, END_STREAM, stream, message(payload))


async def test_calls_beyond_the_backlog_are_shed_and_health_checks_are_not() -> None:
    driver, namespaces = ScriptedDriver(), Namespaces()
    namespaces.swap(build(1, [NamespaceConfig.of_store("default", "scripted", None)], lambda *_: driver))
    server = Server(Limits(servicer_backlog=BACKLOG), namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    add_health(server, HealthServicer())
    namespaces.on_swap(lambda current: server.set_routes(current.table()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with H2Peer(port) as peer:
            get = pb.GetRequest(key="k").SerializeToString()
            calls = [call(peer, GET, get) for _ in range(BURST)]
            health, check = call(peer, HEALTH, health_pb2.HealthCheckRequest().SerializeToString())
            await peer.send(*(frames for _, frames in calls), check)
            replies = [await peer.reply(stream) for stream, _ in calls]
            assert (await peer.reply(health)).status == 0
            shed = [reply for reply in replies if reply.status == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]]
            assert {reply.status for reply in replies} == {0, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]}
            assert len(driver.calls) == BURST - len(shed) >= BACKLOG
            assert server.limit_hits()["servicer_backlog"] == len(shed)
            trailers = dict(shed[0].headers)
            encoded = trailers["grpc-status-details-bin"]
            status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            assert status.details[0].Unpack(info)
            assert status.details[1].Unpack(retry)
            assert (info.reason, info.metadata["outcome"]) == ("LOAD_SHED", "not_executed")
            assert int(trailers["grpc-retry-pushback-ms"]) > 0
            assert len({dict(reply.headers)["grpc-retry-pushback-ms"] for reply in shed}) > 1, "all come back together"
            assert (await peer.unary(GET, get)).status == 0, "the backlog is gone, and was not forgotten"
    finally:
        await server.stop(0)


async def test_calls_given_up_before_they_began_leave_no_trace() -> None:
    driver, namespaces = ScriptedDriver(), Namespaces()
    namespaces.swap(build(1, [NamespaceConfig.of_store("default", "scripted", None)], lambda *_: driver))
    server = Server(Limits(servicer_backlog=BACKLOG), namespaced=namespaced)
    add_interfaces(server, namespaces.resolve)
    namespaces.on_swap(lambda current: server.set_routes(current.table()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with H2Peer(port) as peer:
            get = pb.GetRequest(key="k").SerializeToString()
            for _ in range(10):
                await peer.send(*(frames + frame(RST_STREAM, 0, stream, bytes([0, 0, 0, 8])) for stream, frames in (
                    call(peer, GET, get) for _ in range(BACKLOG))))
                await peer.ping()
            assert (await peer.unary(GET, get)).status == 0
            assert not any(server.stats()[gauge] for gauge in ("streams", "handlers_running", "bytes_held"))
    finally:
        await server.stop(0)
