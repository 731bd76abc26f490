"""Benchmark peer: one Python servicer over a dict, served by grpc.aio on uvloop or by Prism's own server.

`python -m benchmarks.peers.python_servicer grpc_aio|prism HOST:PORT`
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as kv_grpc


class DictServicer(kv_grpc.KeyValueBasicInterfaceServicer):
    """The whole service, with as little Python as it takes."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    async def Set(self, request: kv.SetRequest, context: Any) -> kv.SetResponse:  # noqa: N802
        self._values[request.key] = request.value
        return kv.SetResponse(success=True)

    async def Get(self, request: kv.GetRequest, context: Any) -> kv.GetResponse:  # noqa: N802
        value = self._values.get(request.key)
        return kv.GetResponse(found=value is not None, value=value or b"")

    async def Delete(self, request: kv.DeleteRequest, context: Any) -> kv.DeleteResponse:  # noqa: N802
        self._values.pop(request.key, None)
        return kv.DeleteResponse(success=True)

    async def Exists(self, request: kv.ExistsRequest, context: Any) -> kv.ExistsResponse:  # noqa: N802
        return kv.ExistsResponse(exists=request.key in self._values)


def make_server(engine: str) -> Any:
    """The server object; imported late, so that each engine's start-up and memory hold nothing of the other."""
    if engine == "prism":
        from prism_proxy.server.server import Server

        return Server()
    import grpc.aio

    return grpc.aio.server()


async def serve(engine: str, address: str) -> None:
    server = make_server(engine)
    kv_grpc.add_KeyValueBasicInterfaceServicer_to_server(DictServicer(), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve(*sys.argv[1:]))
