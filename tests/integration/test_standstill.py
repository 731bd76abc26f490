"""A process that stood still does nothing it was asked meanwhile: others may have done it, or the opposite, since."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services.proxy import proxy

pytestmark = pytest.mark.serial


async def test_what_came_during_a_standstill_is_not_executed() -> None:
    async with proxy("--limit", "standstill_s=3") as process, grpc.aio.insecure_channel(process.address) as channel:
        store: Any = rpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        await store.Set(pb.SetRequest(key="a", value=b"before"))
        process.signal(signal.SIGSTOP)
        late = asyncio.ensure_future(store.Set(pb.SetRequest(key="a", value=b"meanwhile"), timeout=20))
        await asyncio.sleep(4)  # there is nothing to wait for: the process cannot say a word
        process.signal(signal.SIGCONT)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await late
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        async with grpc.aio.insecure_channel(  # the first may try the connection that it is just losing
                process.address, options=[("grpc.use_local_subchannel_pool", 1)]) as again:
            found = await rpc.KeyValueBasicInterfaceStub(again).Get(  # type: ignore[no-untyped-call]
                pb.GetRequest(key="a"), wait_for_ready=True)
        assert found.value == b"before"
        assert 'prism_limit_hits_total{limit="standstill_s"} 0' not in (await process.get("/metrics"))[1]
