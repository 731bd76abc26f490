"""The gRPC interoperability cases against our server.

Left out, with the reason: the cloud-credential cases (compute_engine_creds, service_account_creds, jwt_token_creds,
per_rpc_creds, oauth2_auth_token, google_default_credentials, compute_engine_channel_credentials) need an identity of a
cloud; orca_* needs a load-reporting service that is no part of gRPC's core; cacheable_unary needs an HTTP cache in
between.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism_proxy._native.grpc.routing import NativeRoute, RouteTable
from prism_proxy.forwarding.peer import Peer
from prism_proxy.server.server import Server
from prism_runtime.tls import TlsConfig
from tests.conformance.interop_service import add_to_server, stubs
from tests.services.certificates import Authority

GO_CASES = (
    "empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
    "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
    "special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service",
    "rpc_soak", "channel_soak",
)
CASE_SECONDS = 30
# The Go client sends the end of its request although it has cancelled, and takes an answer that is there before it
# looks at the cancellation: about one run in a thousand, grpc-go's own server no less.
CLIENT_RACES = {"cancel_after_begin": "CloseAndRecv() got error code 0, want 1"}
ATTEMPTS = 3


@pytest.fixture(params=["cleartext", "tls", "forwarded"])
async def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[int, Path | None]]:
    """(port, CA file or None) of a server with the interop service, or of one that forwards to it over TLS."""
    server = Server()
    add_to_server(server)
    authority = Authority(tmp_path)
    if request.param == "forwarded":
        certificate, key = authority.issue("server", "owner")
        owner_port = server.add_secure_port("127.0.0.1:0", TlsConfig(certificate, key))
        await server.start()
        async with forwarding_to(owner_port, authority) as port:
            yield port, None
        await server.stop(0)
        assert server.stats()["streams"] == 0
        return
    if request.param == "tls":
        certificate, key = authority.issue("server", "foo.test.google.fr")
        port = server.add_secure_port("127.0.0.1:0", TlsConfig(certificate, key))
        ca: Path | None = authority.ca_file
    else:
        port, ca = server.add_insecure_port("127.0.0.1:0"), None
    await server.start()
    yield port, ca
    await server.stop(0)
    assert server.stats()["streams"] == 0


@contextlib.asynccontextmanager
async def forwarding_to(owner_port: int, authority: Authority) -> AsyncIterator[int]:
    """The port of a server that passes every call on to the owner."""
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.set_alpn_protocols(["h2"])
    peer = Peer(f"127.0.0.1:{owner_port}", tls=lambda: context)
    front = Server(namespaced=lambda path: True)
    add_to_server(front)    # the methods are known here, and served there
    front.set_routes(RouteTable(1, [NativeRoute(None, "default", None, forward=peer.handler)], "default"))
    port = front.add_insecure_port("127.0.0.1:0")
    await front.start()
    try:
        yield port
        assert peer.stats()["calls"] == 0
    finally:
        await front.stop(0)
        await peer.close()


@pytest.mark.parametrize("case", GO_CASES)
async def test_go_client(
        case: str, endpoint: tuple[int, Path | None], tool: Callable[[str], Path]) -> None:
    port, ca = endpoint
    command = [str(tool("interop-client")), "-server_host=127.0.0.1", f"-server_port={port}", f"-test_case={case}",
               "-soak_iterations=20", "-soak_overall_timeout_seconds=20"]
    if ca is not None:
        command += ["-use_tls=true", "-use_test_ca=true", f"-ca_file={ca}",
                    "-server_host_override=foo.test.google.fr"]
    code, output = await run(command)
    for _ in range(ATTEMPTS - 1):
        if code != 0 and case in CLIENT_RACES and CLIENT_RACES[case] in output:
            code, output = await run(command)
    assert code == 0, output[-2000:]


async def run(command: list[str]) -> tuple[int | None, str]:
    """(exit code, output) of a command."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), CASE_SECONDS)
    except TimeoutError:
        process.kill()
        raise
    return process.returncode, output.decode()


# The Go client lacks the compressed cases, so grpcio's core does them.


@pytest.fixture
async def stub(endpoint: tuple[int, Path | None]) -> AsyncIterator[Any]:
    port, ca = endpoint
    _, services = stubs()
    if ca is None:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    else:
        channel = grpc.aio.secure_channel(
            f"127.0.0.1:{port}", grpc.ssl_channel_credentials(ca.read_bytes()),
            options=[("grpc.ssl_target_name_override", "foo.test.google.fr")])
    async with channel:
        yield services.TestServiceStub(channel)


async def test_client_compressed_unary(stub: Any) -> None:
    pb, _ = stubs()
    request = pb.SimpleRequest(expect_compressed=pb.BoolValue(value=True), response_size=314159,
                               payload=pb.Payload(body=bytes(271828)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.UnaryCall(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    compressed = await stub.UnaryCall(request, compression=grpc.Compression.Gzip)
    assert len(compressed.payload.body) == 314159
    request.expect_compressed.value = False
    assert len((await stub.UnaryCall(request)).payload.body) == 314159


async def test_server_compressed_unary(stub: Any) -> None:
    pb, _ = stubs()
    for compressed in (True, False):
        request = pb.SimpleRequest(response_compressed=pb.BoolValue(value=compressed), response_size=314159,
                                   payload=pb.Payload(body=bytes(271828)))
        call = stub.UnaryCall(request)
        assert len((await call).payload.body) == 314159
        assert ("grpc-encoding", "gzip") not in tuple(await call.initial_metadata())  # consumed by the core


async def test_client_compressed_streaming(stub: Any) -> None:
    pb, _ = stubs()

    async def messages(compressed: bool) -> AsyncIterator[Any]:
        yield pb.StreamingInputCallRequest(
            expect_compressed=pb.BoolValue(value=compressed), payload=pb.Payload(body=bytes(27182)))
        yield pb.StreamingInputCallRequest(
            expect_compressed=pb.BoolValue(value=compressed), payload=pb.Payload(body=bytes(45904)))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.StreamingInputCall(messages(True))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    reply = await stub.StreamingInputCall(messages(True), compression=grpc.Compression.Gzip)
    assert reply.aggregated_payload_size == 73086


async def test_server_compressed_streaming(stub: Any) -> None:
    pb, _ = stubs()
    request = pb.StreamingOutputCallRequest(response_parameters=[
        pb.ResponseParameters(compressed=pb.BoolValue(value=True), size=31415),
        pb.ResponseParameters(compressed=pb.BoolValue(value=False), size=92653)])
    sizes = [len(reply.payload.body) async for reply in stub.StreamingOutputCall(request)]
    assert sizes == [31415, 92653]
