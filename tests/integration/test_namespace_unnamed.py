"""A call that names no namespace, where none is called default, is told so and which there are."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services.proxy import proxy

MEMORY = {"backends": {"store": {"driver": "memstore"}}}


@pytest.mark.parametrize(("names", "told"), [
    (["orders"], "send one of orders"),
    (["b", "a"], "send one of a, b"),
    ([f"n{number:02}" for number in range(12)],
     "send one of n00, n01, n02, n03, n04, n05, n06, n07, n08, n09 and 2 more"),
    ([], "it has none"),
])
async def test_the_message_says_that_none_was_sent_and_which_there_are(
    tmp_path: Path, names: list[str], told: str
) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text(json.dumps({"namespaces": dict.fromkeys(names, MEMORY)}))
    async with proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel:
        stub = rpc.KeyValueBasicInterfaceStub(channel)
        for metadata in ((), (("x-namespace", ""),)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Get(pb.GetRequest(key="k"), metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert caught.value.details() == (
                f"the call sent no x-namespace, and there is no namespace 'default' on this proxy: {told}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Get(pb.GetRequest(key="k"), metadata=(("x-namespace", "nowhere"),))
        assert caught.value.details() == "there is no namespace 'nowhere' on this proxy"
