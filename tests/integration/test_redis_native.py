"""The native path on real servers: over a Unix socket, and over RESP2 where the server knows no HELLO."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services import redis as service
from tests.services.proxy import proxy

pytestmark = pytest.mark.skipif(service.binary() is None, reason="redis-server is not to be had")

CALLS = 200


@pytest.mark.parametrize("way", ["unix", "resp2"])
async def test_every_call_gets_its_own_reply(tmp_path: Path, way: str) -> None:
    file, path = tmp_path / "prism.yaml", tmp_path / "redis.sock"
    options = ("--unixsocket", str(path)) if way == "unix" else ("--rename-command", "HELLO", "")
    async with service.RedisServer(*options) as server:
        config: dict[str, Any] = {"url": f"unix://{path}" if way == "unix" else server.url}
        file.write_text(json.dumps({"namespaces": {"default": {
            "backends": {"store": {"driver": "redis", "config": config}}}}}))
        async with (proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel,
                    server.client(protocol=2) as direct):
            stub = rpc.KeyValueBasicInterfaceStub(channel)
            values = {f"k{number}": b"v%d" % number * (number % 50) for number in range(CALLS)}
            await asyncio.gather(*(stub.Set(pb.SetRequest(key=key, value=value), timeout=20)
                                   for key, value in values.items()))
            found = await asyncio.gather(*(stub.Get(pb.GetRequest(key=key), timeout=20) for key in values))
            assert [reply.value for reply in found] == list(values.values())
            assert {client["name"] for client in await direct.client_list()} >= {"prism-proxy"}

            stored = [key async for key in direct.scan_iter("*:k1")]
            assert len(stored) == 1
            await direct.expire(stored[0], 1000)
            await stub.Set(pb.SetRequest(key="k1", value=b"new"), timeout=20)
            assert await direct.ttl(stored[0]) == -1, "a plain Set lets a key live for ever"
