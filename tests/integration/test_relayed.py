"""ENV-6: a message that is passed on from backend to backend, and from model to model, keeps its metadata.

What is the proxy's own to say (ids, times, the topic) is each hop's; everything that a publisher set arrives.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism_proxy.envelope.attributes import SETTABLE
from prism_proxy.testing.contracts.messaging_wire import Messaging
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.proxy import proxy
from tests.services.redis import RedisServer, binary

HOPS = ("memstore", "sqlite", "redis", "nats", "memstore")
PAYLOAD = bytes(range(256))
METADATA = {
    "Region": "eu-ä", "empty": "", "X-Order": "1;2,3", "prism-content-type": "application/json",
    "prism-correlation-id": "c-1", "prism-reply-to": "answers.1", "prism-priority": "7", "prism-ttl-seconds": "600",
    "prism-causality-parent": "p-1", "prism-contains-pii": "true", "prism-data-classification": "internal"}


async def topic(messaging: Messaging, of: Any, payload: bytes, metadata: dict[str, str]) -> tuple[bytes, Any]:
    call = messaging["pubsub_basic"].Subscribe(of, topic="orders")
    await call.initial_metadata()
    await messaging["pubsub_basic"].Publish(of, topic="orders", payload=payload, metadata=metadata)
    found = await call.read()
    call.cancel()
    return found.payload, found.metadata


async def queue(messaging: Messaging, of: Any, payload: bytes, metadata: dict[str, str]) -> tuple[bytes, Any]:
    await messaging["queue_basic"].Enqueue(of, queue="orders", payload=payload, metadata=metadata)
    reply = await messaging["queue_basic"].Dequeue(of, queue="orders", max_messages=1, wait_ms=5000)
    return reply.messages[0].payload, reply.messages[0].metadata


async def stream(messaging: Messaging, of: Any, payload: bytes, metadata: dict[str, str]) -> tuple[bytes, Any]:
    await messaging["stream_basic"].Append(of, stream="orders", records=[{"value": payload, "headers": metadata}])
    [found] = [record async for record in messaging["stream_basic"].Read(of, stream="orders")]
    return found.value, found.headers


@pytest.mark.skipif(binary() is None or nats_binary() is None, reason="there is no redis-server or nats-server")
async def test_ENV6_metadata_is_equal_after_every_hop(tmp_path: Path) -> None:
    async with RedisServer() as redis, NatsServer(jetstream=True) as nats:
        file = tmp_path / "prism.yaml"
        file.write_text(f"""
namespaces:
  memstore: {{backends: {{store: {{driver: memstore}}}}}}
  sqlite: {{backends: {{store: {{driver: sqlite, config: {{path: '{tmp_path}/store.db'}}}}}}}}
  redis: {{backends: {{store: {{driver: redis, config: {{url: '{redis.url}'}}}}}}}}
  nats: {{backends: {{store: {{driver: nats, config: {{url: '{nats.url}', jetstream: true}}}}}}}}
""")
        async with proxy("--config", str(file)) as process, grpc.aio.insecure_channel(process.address) as channel:
            messaging = Messaging(channel, frozenset())
            for carry in (topic, queue, stream):
                payload, metadata = PAYLOAD, METADATA
                for hop in HOPS if carry is not stream else HOPS[:-1]:
                    async with asyncio.timeout(10):
                        payload, found = await carry(messaging, (("x-namespace", hop),), payload, metadata)
                    metadata = {key: found[key] for key in found
                                if key in SETTABLE or not key.startswith(("prism-", "x-prism-"))}
                    assert (payload, metadata) == (PAYLOAD, METADATA), (carry.__name__, hop)
