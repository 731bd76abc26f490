"""The network between a proxy and its broker is cut under messages: nothing acknowledged is lost where the class says
so, no subscription ends, and a topic that keeps nothing counts its gaps."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import grpc
import pytest

from prism_proxy.testing.contracts.messaging_wire import Messaging
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import RedisServer, binary
from tests.services.shim import Fault, Shim
from tests.support.message_ledger import MessageLedger

SOAK = bool(os.environ.get("PRISM_SOAK"))
FAULTY_S = 10 if SOAK else 1
SILENT_S = 2.5  # longer than the pings and the read timeout below
CONFIG = """
namespaces:
  redis:
    backends: {{store: {{driver: redis, config: {{url: 'redis://127.0.0.1:{redis}', read_timeout_s: 1}}}}}}
    stream: {{ack_timeout: 1s}}
  nats:
    backends: {{store: {{driver: nats, config: {{{nats}, jetstream: true}}}}}}
    stream: {{ack_timeout: 1s}}
    queue: {{visibility: 1s}}
  live: {{backends: {{store: {{driver: nats, config: {{{nats}}}}}}}}}
"""


async def missed(process: ProxyProcess, namespace: str) -> int:
    _, text = await process.get("/metrics")
    found = re.search(rf'^prism_pubsub_missed_total{{[^}}]*namespace="{namespace}"[^}}]*}} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


class Live:
    """A subscriber of a topic that keeps nothing, and its publisher; the gaps that it was told of."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._of = (("x-namespace", "live"),)
        self.messaging = Messaging(self._channel, frozenset())
        self.gaps = 0
        self.received: list[bytes] = []

    async def __aenter__(self) -> Live:
        call = self.messaging["pubsub_basic"].Subscribe(self._of, topic="t", options={"gap_notice": "true"})
        await call.initial_metadata()
        self._task = asyncio.create_task(self._read(call))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channel.close()

    async def _read(self, call: object) -> None:
        async for message in call:  # type: ignore[attr-defined]
            if "prism-gap" in message.metadata:
                self.gaps += 1
            else:
                self.received.append(message.payload)

    async def arrives(self, payload: bytes) -> None:
        """Published until it does: the subscription is there again a moment after the publisher is."""
        async with asyncio.timeout(10):
            while payload not in self.received:
                assert not self._task.done(), "the subscription ended"
                try:
                    await self.messaging["pubsub_basic"].Publish(self._of, topic="t", payload=payload)
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - there may be none
                await asyncio.sleep(0.05)


@pytest.mark.timeout(300 if SOAK else 60)
@pytest.mark.skipif(binary() is None or nats_binary() is None, reason="there is no redis-server or nats-server")
async def test_a_cut_loses_nothing_that_was_acknowledged_and_ends_no_subscription(tmp_path: Path) -> None:
    async with (
        RedisServer("--appendonly", "yes") as redis, NatsServer(jetstream=True) as nats,
        Shim("127.0.0.1", redis.port) as to_redis, Shim("127.0.0.1", nats.port) as to_nats,
    ):
        config = tmp_path / "prism.yaml"
        settings = f"url: 'nats://127.0.0.1:{to_nats.port}', request_timeout: 1s, ping_interval: 500ms"
        config.write_text(CONFIG.format(redis=to_redis.port, nats=settings))
        async with (
            proxy("--config", str(config)) as process,
            MessageLedger(process.address, "redis", topics=False) as one,
            MessageLedger(process.address, "nats", topics=True) as other,
            Live(process.address) as live,
        ):
            cuts = (Fault.REFUSE, Fault.CUT, Fault.STALL)
            for turn, fault in enumerate(cuts):
                await asyncio.gather(one.progress(), other.progress(), live.arrives(b"before %d" % turn))
                for shim in (to_redis, to_nats):
                    shim.fault = fault
                    if fault is Fault.REFUSE:
                        shim.end_all()
                await asyncio.sleep(SILENT_S if fault is Fault.STALL else FAULTY_S)
                to_redis.fault = to_nats.fault = Fault.NONE
            await asyncio.gather(one.settled(), other.settled(), live.arrives(b"after"))
            assert not one.ends + other.ends
            assert live.gaps >= len(cuts)
            assert await missed(process, "live") >= len(cuts)
