"""Benchmark peer: Get and Set over Redis as most would write them, grpc.aio on uvloop with redis-py and hiredis.

`python -m benchmarks.peers.redis_servicer HOST:PORT REDIS_PORT`
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc.aio
import redis.asyncio
import uvloop

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as kv_grpc


class RedisServicer(kv_grpc.KeyValueBasicInterfaceServicer):
    """One command a call, from redis-py's pool of connections."""

    def __init__(self, port: int) -> None:
        self._redis = redis.asyncio.Redis(port=port, max_connections=100)

    async def Set(self, request: kv.SetRequest, context: Any) -> kv.SetResponse:  # noqa: N802
        await self._redis.set(request.key, request.value)
        return kv.SetResponse(success=True)

    async def Get(self, request: kv.GetRequest, context: Any) -> kv.GetResponse:  # noqa: N802
        value = await self._redis.get(request.key)
        return kv.GetResponse(found=value is not None, value=value or b"")


async def serve(address: str, redis_port: str) -> None:
    server = grpc.aio.server()
    kv_grpc.add_KeyValueBasicInterfaceServicer_to_server(RedisServicer(int(redis_port)), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(serve(*sys.argv[1:]))
