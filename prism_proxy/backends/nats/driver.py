"""Driver of NATS. It waits for no connection and repeats nothing: the client connects by itself, and what to try again
is the slot's.
"""

from __future__ import annotations

import asyncio
import contextlib

from prism_proxy._native.nats.connection import NatsClosed
from prism_proxy.backends.nats.client import NatsClient
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.nats.errors import meaning
from prism_proxy.backends.nats.jetstream import JetStream
from prism_proxy.backends.nats.logs import Logs, LogSettings
from prism_proxy.backends.nats.queues import NatsQueues
from prism_proxy.backends.nats.status import CLOSED, NOT_OPEN, report
from prism_proxy.backends.nats.streams import NatsStreams
from prism_proxy.backends.nats.topic_operations import NatsTopicOperations
from prism_proxy.backends.nats.topics import NatsTopics
from prism_proxy.backends.shared_pools import SharedPools
from prism_proxy.contracts.driver import Declaration, HealthReport
from prism_proxy.errors import PrismError


class NatsDriver:
    """`shared_pools` are the connections that drivers of one process share; without them a driver has its own."""

    Shared = SharedPools

    def __init__(self, config: NatsConfig, shared_pools: SharedPools | None = None) -> None:
        self._config = config
        if config.secure:
            config.tls.context()  # what is wrong with its files shows here
        self._pool = (shared_pools or SharedPools()).pool(config.client_key, lambda: lambda: NatsClient(config))
        self._client: NatsClient | None = None
        self._failure = NOT_OPEN
        self.pubsub: NatsTopics = NatsTopics(config.names, self.client, self._limit)
        if config.jetstream:
            js = JetStream(self.client, config.domain)
            logs = Logs(js, config.names, LogSettings(config.create, config.replicas, config.storage))
            self.pubsub = NatsTopicOperations(logs, config.logged)
            self.stream = NatsStreams(js, logs, config.logged)
            self.queue = NatsQueues(js, logs, config.logged)

    @property
    def declaration(self) -> Declaration:
        return self._config.declaration

    def client(self) -> NatsClient:
        """NatsClosed while the driver is not open."""
        if self._client is None:
            raise NatsClosed(self._failure, False)
        return self._client

    def _limit(self) -> int:
        return self._client.max_payload if self._client is not None else 0

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Waits a moment for the first connection; a server that is down shows in `health`."""
        self._client = self._pool.join()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.connect_timeout):
                await self._client.connected()

    async def drain(self, deadline_s: float) -> None:
        """What was published is with the server."""
        with contextlib.suppress(TimeoutError, NatsClosed):
            async with asyncio.timeout(deadline_s):
                await self.client().usable().confirm()

    async def close(self) -> None:
        if self._client is not None:
            if self._config.jetstream:
                await self.queue.close()
            self._client, self._failure = None, CLOSED
            await self._pool.leave()

    def health(self) -> HealthReport:
        return report(self._config, self._client, self._failure, self._pool.number)

    def classify(self, error: Exception) -> PrismError | None:
        return meaning(error)
