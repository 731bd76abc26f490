"""Generic handlers decide call by call, under our server as under grpc.aio's: before a stock client, over both."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from prism_proxy._native.grpc.metrics import MethodStats
from prism_proxy.server.server import Server
from tests.integration.test_differential import each
from tests.support.echo import FRESH
from tests.support.scripted import KINDS

PATH = "/test.Versions/Which"


class Versions(grpc.GenericRpcHandler):
    """Answers with the version that the caller asks for, and refuses who asks for none: as one that authorises."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        version = dict(details.invocation_metadata or ()).get("x-version")
        if version is None:
            return None

        async def which(request: bytes, context: Any) -> bytes:
            return str(version).encode()

        async def twice(request: bytes, context: Any) -> Any:
            yield str(version).encode()
            yield str(version).encode()

        if details.method == PATH + "es":
            return grpc.unary_stream_rpc_method_handler(twice)
        return grpc.unary_unary_rpc_method_handler(which)


async def test_each_call_gets_the_handler_that_its_own_metadata_choose() -> None:
    async with each(Versions()) as channels:
        for channel in channels:
            call = channel.unary_unary(PATH)
            seen = [await call(b"", metadata=(("x-version", version),)) for version in "1213"]
            assert seen == [b"1", b"2", b"1", b"3"]
            assert await call(b"").code() is grpc.StatusCode.UNIMPLEMENTED, "not by an earlier permission"
            assert await call(b"", metadata=(("x-version", "4"),)) == b"4"


async def test_streams_are_chosen_by_call_too() -> None:
    async with each(Versions()) as channels:
        for channel in channels:
            call = channel.unary_stream(PATH + "es")
            for version in "12":
                assert [item async for item in call(b"", metadata=(("x-version", version),))] == [version.encode()] * 2


async def test_paths_that_only_a_generic_handler_knows_are_not_kept() -> None:
    made = []

    def stats_for(namespace: str | None, path: str, backend: str) -> MethodStats:
        made.append(path)
        return MethodStats(namespace or "", "", path, backend)

    server = Server(stats_for=stats_for)
    server.add_generic_rpc_handlers([Versions()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=FRESH) as channel:
            for number in range(300):
                call = channel.unary_unary(f"/test.Versions/Path{number}")
                assert await call(b"", metadata=(("x-version", str(number)),)) == str(number).encode()
        assert made == ["/_generic/_generic"]
    finally:
        await server.stop(0)


class Broken(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        raise KeyError("token")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_generic_handler_that_raises_fails_its_call_alone(kind: str) -> None:
    async with each(Broken()) as channels:
        for channel in channels:
            for _ in range(2):
                request: Any = iter([]) if kind.startswith("stream") else b""
                call = getattr(channel, kind)(PATH)(request, timeout=5)
                assert await call.code() is grpc.StatusCode.UNKNOWN
                assert await call.details() == "Unexpected <class 'KeyError'>: 'token'"
