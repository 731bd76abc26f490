"""grpc.health.v1 and server reflection with stock clients, over our server and over grpc.aio alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from prism.common import errors_pb2  # noqa: F401 - puts the contract's files into the pool
from prism_proxy.server.health import HealthServicer, add_health
from prism_proxy.server.reflection import V1, V1ALPHA, add_reflection
from prism_proxy.server.server import Server

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
HEALTH = "grpc.health.v1.Health"
Request = reflection_pb2.ServerReflectionRequest


@pytest.fixture(params=["prism", "grpc.aio"])
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[SimpleNamespace]:
    """A running server with both services, and a channel to it."""
    server = Server() if request.param == "prism" else grpc.aio.server()
    health = HealthServicer()
    service = add_health(server, health)
    reflection = add_reflection(server, lambda: [service])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield SimpleNamespace(server=server, health=health, reflection=reflection, port=port, channel=channel,
                              stub=health_pb2_grpc.HealthStub(channel))
    await server.stop(0)


def check(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


# --- health -------------------------------------------------------------------------------------------------------


async def test_check_follows_what_is_set(peer: SimpleNamespace) -> None:
    assert (await peer.stub.Check(check())).status == SERVING
    peer.health.set("namespace/orders", False)
    assert (await peer.stub.Check(check("namespace/orders"))).status == NOT_SERVING
    peer.health.set("namespace/orders", True)
    assert (await peer.stub.Check(check("namespace/orders"))).status == SERVING


async def test_check_of_an_unknown_service_is_not_found(peer: SimpleNamespace) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await peer.stub.Check(check("namespace/none"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_list_has_every_service(peer: SimpleNamespace) -> None:
    peer.health.set("namespace/a", True)
    peer.health.set("namespace/b", False)
    statuses = (await peer.stub.List(health_pb2.HealthListRequest())).statuses
    assert {name: reply.status for name, reply in statuses.items()} == {
        "": SERVING, "namespace/a": SERVING, "namespace/b": NOT_SERVING}


async def test_watch_streams_changes_and_unknown_services_are_awaited(peer: SimpleNamespace) -> None:
    watch = peer.stub.Watch(check("namespace/late"))
    assert (await watch.read()).status == SERVICE_UNKNOWN
    peer.health.set("namespace/other", True)  # is nobody's business here
    peer.health.set("namespace/late", True)
    assert (await watch.read()).status == SERVING
    peer.health.set("namespace/late", False)
    assert (await watch.read()).status == NOT_SERVING
    peer.health.remove("namespace/late")
    assert (await watch.read()).status == SERVICE_UNKNOWN
    watch.cancel()


async def test_drain_answers_not_serving_and_ends_watches(peer: SimpleNamespace) -> None:
    peer.health.set("namespace/a", True)
    watches = [peer.stub.Watch(check(name)) for name in ("", "namespace/a")]
    for watch in watches:
        assert (await watch.read()).status == SERVING
    peer.health.drain()
    peer.health.set("namespace/a", True)  # too late
    for watch in watches:
        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await peer.stub.Check(check("namespace/a"))).status == NOT_SERVING


async def test_open_watches_and_reflection_do_not_delay_the_stop(peer: SimpleNamespace) -> None:
    watch = peer.stub.Watch(check())
    await watch.read()
    stream = peer.channel.stream_stream(f"/{V1}/ServerReflectionInfo", Request.SerializeToString,
                                        reflection_pb2.ServerReflectionResponse.FromString)()
    await stream.write(Request(list_services=""))
    await stream.read()
    peer.health.drain()
    peer.reflection.drain()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await asyncio.wait_for(peer.server.stop(50), 10)


async def test_cancelled_watches_are_forgotten(peer: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prism_proxy.server.health.MAX_WATCHERS", 2)
    for _ in range(3):
        watches = [peer.stub.Watch(check()) for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await peer.stub.Watch(check()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for watch in watches:
            watch.cancel()
        async with asyncio.timeout(5):
            while peer.health._watchers:
                await asyncio.sleep(0.001)


# --- reflection ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=[V1, V1ALPHA])
def ask(peer: SimpleNamespace, request: pytest.FixtureRequest):
    """Sends requests on one stream of the given version; returns the replies."""
    method = peer.channel.stream_stream(f"/{request.param}/ServerReflectionInfo", Request.SerializeToString,
                                        reflection_pb2.ServerReflectionResponse.FromString)

    async def run(*requests: Request) -> list[reflection_pb2.ServerReflectionResponse]:
        return [reply async for reply in method(iter(requests))]

    return run


def files(reply: reflection_pb2.ServerReflectionResponse) -> set[str]:
    return {descriptor_pb2.FileDescriptorProto.FromString(data).name
            for data in reply.file_descriptor_response.file_descriptor_proto}


async def test_services_are_listed_with_reflection_itself(ask) -> None:
    [reply] = await ask(Request(host="h", list_services="*"))
    assert [service.name for service in reply.list_services_response.service] == [HEALTH, V1, V1ALPHA]
    assert reply.valid_host == "h"
    assert reply.original_request == Request(host="h", list_services="*")


async def test_files_come_with_what_they_import(ask) -> None:
    by_name, by_service, by_method, by_message, by_field, nothing = await ask(
        Request(file_by_filename="prism/common/errors.proto"), Request(file_containing_symbol=HEALTH),
        Request(file_containing_symbol=f"{HEALTH}.Check"), Request(file_containing_symbol="prism.common.Error"),
        Request(file_containing_symbol="prism.common.Error.code"), Request(file_containing_symbol=f"{HEALTH}.Nothing"))
    assert {"prism/common/errors.proto", "google/protobuf/timestamp.proto"} <= files(by_name)
    assert files(by_message) == files(by_name)
    assert files(by_field) == files(by_name)
    assert nothing.error_response.error_code == 5
    assert len(files(by_service)) == 1
    assert files(by_method) == files(by_service)


async def test_both_versions_describe_themselves(ask) -> None:
    for service, file in ((V1, "grpc/reflection/v1/reflection.proto"),
                          (V1ALPHA, "grpc_reflection/v1alpha/reflection.proto")):
        replies = await ask(Request(file_containing_symbol=service), Request(file_by_filename=file))
        for reply in replies:
            assert files(reply) == {file}
            pool = descriptor_pool.DescriptorPool()
            pool.AddSerializedFile(reply.file_descriptor_response.file_descriptor_proto[0])
            found = pool.FindServiceByName(service).methods_by_name["ServerReflectionInfo"]
            assert found.input_type.full_name == f"{service.rpartition('.')[0]}.ServerReflectionRequest"


@pytest.fixture(scope="module")
def extensible() -> str:
    """The name of a message with two extensions, in the default pool."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/extension.proto", package="tests.extension", syntax="proto2")
    file.message_type.add(name="Base").extension_range.add(start=100, end=200)
    for name, number in (("first", 101), ("second", 150)):
        file.extension.add(name=name, number=number, extendee=".tests.extension.Base", type=9, label=1)
    descriptor_pool.Default().Add(file)
    return "tests.extension.Base"


async def test_extensions_are_found(ask, extensible: str) -> None:
    base = extensible
    wanted = reflection_pb2.ExtensionRequest(containing_type=base, extension_number=150)
    missing = reflection_pb2.ExtensionRequest(containing_type=base, extension_number=199)
    strange = reflection_pb2.ExtensionRequest(containing_type=base, extension_number=-1)
    numbers, found, not_found, negative, no_message = await ask(
        Request(all_extension_numbers_of_type=base), Request(file_containing_extension=wanted),
        Request(file_containing_extension=missing), Request(file_containing_extension=strange),
        Request(all_extension_numbers_of_type="tests.Nothing"))
    assert numbers.all_extension_numbers_response.base_type_name == base
    assert list(numbers.all_extension_numbers_response.extension_number) == [101, 150]
    assert files(found) == {"tests/extension.proto"}
    for reply in (not_found, negative, no_message):
        assert reply.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_what_is_unknown_is_an_error_on_a_stream_that_lives_on(ask) -> None:
    *errors, alive = await ask(
        Request(file_by_filename="none.proto"), Request(file_containing_symbol="no.Such"),
        Request(file_containing_symbol="nul\0byte"), Request(file_by_filename=""), Request(),
        Request(list_services="x"))
    codes = [reply.error_response.error_code for reply in errors]
    assert codes == [5, 5, 5, 5, 3]
    assert all(reply.error_response.error_message for reply in errors)
    assert alive.HasField("list_services_response")


async def test_the_stock_reflection_client_builds_a_working_pool(peer: SimpleNamespace) -> None:
    """The client of grpcio-reflection is synchronous, hence the thread."""

    def look_up() -> str:
        with grpc.insecure_channel(f"127.0.0.1:{peer.port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = descriptor_pool.DescriptorPool(database)
            return str(pool.FindServiceByName(HEALTH).methods_by_name["Check"].output_type.full_name)

    assert await asyncio.to_thread(look_up) == "grpc.health.v1.HealthCheckResponse"


@pytest.mark.parametrize(("arguments", "expected"), [
    (["list"], f"{HEALTH}\n{V1}\n{V1ALPHA}\n"),
    (["describe", f"{HEALTH}.Check"], "rpc Check ( .grpc.health.v1.HealthCheckRequest )"),
    (["describe", V1], "rpc ServerReflectionInfo ( stream .grpc.reflection.v1.ServerReflectionRequest )"),
    ([f"{HEALTH}/Check"], '"status": "SERVING"'),
])
async def test_grpcurl_lists_describes_and_calls(
        peer: SimpleNamespace, arguments: list[str], expected: str, tool: Callable[[str], Path]) -> None:
    process = await asyncio.create_subprocess_exec(
        tool("grpcurl"), "-plaintext", f"127.0.0.1:{peer.port}", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, errors = await process.communicate()
    assert process.returncode == 0, errors
    assert expected in out.decode()
