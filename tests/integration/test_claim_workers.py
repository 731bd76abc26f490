"""Claims over workers that share a broker and a bucket: any of them settles, fetches and serves what another took."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.payload import payload_pb2, payload_pb2_grpc
from prism.interfaces.queue import (
    queue_basic_pb2,
    queue_basic_pb2_grpc,
    queue_visibility_pb2,
    queue_visibility_pb2_grpc,
)
from prism_proxy.backends.objects.config import S3Config
from prism_proxy.standard import make_driver
from tests.services.claims import (
    LARGE,
    MIB,
    redis,  # noqa: F401 - a fixture
    until,
)
from tests.services.proxy import ProxyProcess

CHANNELS = 6  # the kernel spreads connections over the workers


@contextlib.asynccontextmanager
async def channels(address: str) -> AsyncIterator[list[grpc.aio.Channel]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(grpc.aio.insecure_channel(
            address, options=[*LARGE, ("grpc.use_local_subchannel_pool", 1), ("x", number)]))
            for number in range(CHANNELS)]


async def test_any_worker_settles_and_serves_what_another_took(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server, broker = request.getfixturevalue("s3"), request.getfixturevalue("redis")
    bucket = f"claims-{time.time_ns()}"
    file = tmp_path / "prism.yaml"
    file.write_text(f"""
proxy: {{workers: 2}}
namespaces:
  default:
    backends:
      store: {{driver: redis, config: {{url: "{broker.url}", prefix: "{time.time_ns()}:"}}}}
      object_store:
        driver: s3
        config: {{endpoint: "{server.endpoint}", access_key: {server.access_key}, secret_key: {server.secret_key}}}
    claim_check: {{enabled: true, required: true, bucket: {bucket}, ttl: {{retention_after_read: 0s}}}}
""")
    driver: Any = make_driver("s3", S3Config(
        endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key))
    await driver.open()
    payload = os.urandom(2 * MIB)
    anywhere = ("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    async with ProxyProcess(*anywhere) as proxy, channels(proxy.address) as found:
        basic: list[Any] = [queue_basic_pb2_grpc.QueueBasicInterfaceStub(each) for each in found]  # type: ignore[no-untyped-call]
        leases: list[Any] = [queue_visibility_pb2_grpc.QueueVisibilityInterfaceStub(each) for each in found]  # type: ignore[no-untyped-call]
        streams: list[Any] = [payload_pb2_grpc.PayloadInterfaceStub(each) for each in found]  # type: ignore[no-untyped-call]
        for stub in basic:
            await stub.Enqueue(queue_basic_pb2.EnqueueRequest(queue="q", payload=payload))
        assert len((await driver.objects.list(bucket)).objects) == CHANNELS
        ask = queue_visibility_pb2.DequeueWithTimeoutRequest(queue="q", max_messages=1, wait_ms=2000)
        taken = [(await stub.DequeueWithTimeout(ask)).messages[0] for stub in leases]
        assert {message.payload for message in taken} == {payload}
        for message, stub in zip(taken, reversed(leases), strict=True):
            await stub.Release(queue_visibility_pb2.ReleaseRequest(queue="q", receipt=message.receipt, delete=True))

        async def gone() -> bool:
            return not (await driver.objects.list(bucket)).objects

        await until(gone)
        parts = [payload_pb2.PublishPayloadRequest(head=payload_pb2.PayloadHead(queue="q"))] + [
            payload_pb2.PublishPayloadRequest(chunk=payload)] * 3
        sent = await streams[0].Publish(iter(parts))
        for stub in streams:
            size = sum([len(part.chunk) async for part in stub.Fetch(
                payload_pb2.FetchRequest(topic="q", claim_id=sent.claim_id))])
            assert size == 6 * MIB
        status, metrics = await proxy.get("/metrics")
        assert status == 200
        assert 'prism_pattern_claim_check_stored_total{namespace="default"} 7' in metrics
        await asyncio.sleep(0)
    await driver.objects.delete_bucket(bucket)
    await driver.close()
