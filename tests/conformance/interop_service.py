"""The service that gRPC interoperability clients talk to, as an ordinary asyncio servicer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import grpc

INITIAL_KEY = "x-grpc-test-echo-initial"
TRAILING_KEY = "x-grpc-test-echo-trailing-bin"


@cache
def stubs() -> tuple[Any, Any]:
    """(messages, services) of the interop proto, compiled now: test code is not part of the build."""
    folder = str(Path(__file__).parent / "proto")
    if folder not in sys.path:
        sys.path.append(folder)
    return grpc.protos_and_services("prism_interop.proto")


def add_to_server(server: Any) -> None:
    """Register the service on `server`."""
    _, services = stubs()
    base = services.TestServiceServicer
    servicer = type("Interop", (InteropServicer, base), {})()
    services.add_TestServiceServicer_to_server(servicer, server)


class InteropServicer:
    """Every method the non-cloud cases use."""

    def __init__(self) -> None:
        self._pb, _ = stubs()

    async def EmptyCall(self, request: Any, context: Any) -> Any:
        return self._pb.Empty()

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        await self._echo_metadata(context)
        await self._expect_compressed(request, context)
        if request.HasField("response_status") and request.response_status.code:
            await context.abort(_code(request.response_status.code), request.response_status.message)
        if request.HasField("response_compressed") and request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        return self._pb.SimpleResponse(payload=self._pb.Payload(body=bytes(request.response_size)))

    async def StreamingOutputCall(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._outputs(request, context):
            yield response

    async def StreamingInputCall(self, requests: AsyncIterator[Any], context: Any) -> Any:
        total = 0
        async for request in requests:
            await self._expect_compressed(request, context)
            total += len(request.payload.body)
        return self._pb.StreamingInputCallResponse(aggregated_payload_size=total)

    async def FullDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await self._echo_metadata(context)
        async for request in requests:
            if request.HasField("response_status") and request.response_status.code:
                await context.abort(_code(request.response_status.code), request.response_status.message)
            async for response in self._outputs(request, context):
                yield response

    async def HalfDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        for request in [request async for request in requests]:
            async for response in self._outputs(request, context):
                yield response

    async def _outputs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if any(parameters.compressed.value for parameters in request.response_parameters):
            context.set_compression(grpc.Compression.Gzip)
        for parameters in request.response_parameters:
            if parameters.interval_us:
                await asyncio.sleep(parameters.interval_us / 1e6)
            if parameters.HasField("compressed") and not parameters.compressed.value:
                context.disable_next_message_compression()
            yield self._pb.StreamingOutputCallResponse(payload=self._pb.Payload(body=bytes(parameters.size)))

    async def _expect_compressed(self, request: Any, context: Any) -> None:
        if request.HasField("expect_compressed") and request.expect_compressed.value != context.request_compressed():
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is not compressed as announced")

    async def _echo_metadata(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        if INITIAL_KEY in metadata:
            await context.send_initial_metadata([(INITIAL_KEY, metadata[INITIAL_KEY])])
        if TRAILING_KEY in metadata:
            context.set_trailing_metadata([(TRAILING_KEY, metadata[TRAILING_KEY])])


def _code(number: int) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == number)
