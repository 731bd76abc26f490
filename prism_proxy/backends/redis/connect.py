"""Makes what a driver talks to out of its settings: a server, the primary that sentinels name, or a cluster.

The connections are shared with other namespaces (`shared_pools`); what is made here is one namespace's view of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from prism_proxy._native.keyvalue.redis import RedisStore
from prism_proxy._native.redis.resp import ConnectionLost
from prism_proxy.backends.redis import scripts
from prism_proxy.backends.redis.commands import REPLICAS_S, Commands
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.connection_pool import NOT_YET, ConnectionPool
from prism_proxy.backends.redis.dial import ConnectionPoolOptions, Endpoint, options_of
from prism_proxy.backends.redis.errors import native_errors
from prism_proxy.backends.redis.pipeline import PipelinedCommands
from prism_proxy.backends.redis.sentinel import Sentinels
from prism_proxy.backends.redis.status import CLOSED, NOT_OPEN, Connections, durability, report, without_server
from prism_proxy.backends.redis.subscriptions import Subscriptions
from prism_proxy.backends.shared_pools import SharedPool, SharedPools
from prism_proxy.contracts.driver import HealthReport

LOOK_S = 0.005


class Server(Protocol):
    """`opened` returns when the first attempt to connect has ended; it has failed when `health` says so."""

    @property
    def commands(self) -> Commands: ...

    @property
    def native_store(self) -> RedisStore | None: ...

    @property
    def durability(self) -> str: ...

    @property
    def info(self) -> Mapping[str, str]:
        """What the server says of itself, as far as it was asked."""
        ...

    @property
    def subscriptions(self) -> Subscriptions:
        """ConnectionLost while the driver is not open."""
        ...

    def health(self) -> HealthReport: ...

    def open(self) -> None: ...

    async def opened(self) -> None: ...

    async def drained(self) -> None: ...

    async def close(self) -> None: ...


def connect(config: RedisConfig, shared_pools: SharedPools) -> Server:
    """OSError or ValueError when the files for TLS cannot be used."""
    if config.mode == "cluster":
        from prism_proxy.backends.redis.cluster import cluster  # redis-py, which the other forms need not load

        return cluster(config, shared_pools)
    return PooledServer(config, shared_pools.pool(config.shared_pool_key, lambda: _plan(config)))


def _plan(config: RedisConfig) -> Callable[[], SharedConnectionPool]:
    options = options_of(config)
    return lambda: SharedConnectionPool(config, options)


class SharedConnectionPool:
    """A pool, and the sentinels it asks."""

    def __init__(self, config: RedisConfig, options: ConnectionPoolOptions) -> None:
        self._config = config
        self._sentinels = Sentinels(config) if config.mode == "sentinel" else None
        resolve = self._itself if self._sentinels is None else self._sentinels.primary
        self.pool = ConnectionPool(options, resolve)
        self.subscriptions = Subscriptions(options, resolve)

    async def _itself(self) -> Endpoint:
        return Endpoint(*self._config.address)

    def open(self) -> None:
        self.pool.open()

    async def close(self) -> None:
        await self.subscriptions.close()
        await self.pool.close()
        if self._sentinels is not None:
            await self._sentinels.close()


class PooledServer:
    """One server, over a pool that other namespaces may share."""

    def __init__(self, config: RedisConfig, shared_pool: SharedPool[SharedConnectionPool]) -> None:
        self._config = config
        self._shared_pool = shared_pool
        self._pool: ConnectionPool | None = None
        self._shared: SharedConnectionPool | None = None
        self._failure = NOT_OPEN
        self.native_store = RedisStore(
            config.key_prefix, config.bulk_bytes, config.max_value_bytes, config.max_pending,
            native_errors(config.namespace))
        self.native_store.swap_script = scripts.COMPARE_AND_SWAP.digest
        self.native_store.delete_script = scripts.COMPARE_AND_DELETE.digest
        self.commands = PipelinedCommands(self.native_store, lambda: self._failure if self._pool is None
                                          else self._pool.failure, config.max_wait_s,
                                          min(REPLICAS_S, config.read_timeout_s / 3))

    @property
    def info(self) -> Mapping[str, str]:
        return self._pool.info if self._pool is not None else {}

    @property
    def durability(self) -> str:
        return durability(self.info)

    @property
    def subscriptions(self) -> Subscriptions:
        if self._shared is None:
            raise ConnectionLost(self._failure, False)
        return self._shared.subscriptions

    def health(self) -> HealthReport:
        pool, store = self._pool, self.native_store
        if pool is None:
            return without_server(self._config, self._shared_pool, self._failure)
        return report(pool.info, self._config, Connections(
            pool.ready, pool.size, pool.idle, store.pending, sum(share.max_pending // max(1, share.users) for share in
            store.shares[:-1]), pool.failure, self._shared_pool))

    def open(self) -> None:
        self._shared = self._shared_pool.join()
        self._pool = self._shared.pool
        self.native_store.attach(self._pool.places)

    async def opened(self) -> None:
        pool = self._pool
        assert pool is not None
        while pool.ready < pool.size and pool.failure is NOT_YET:  # noqa: ASYNC110 - once a start
            await asyncio.sleep(LOOK_S)

    async def drained(self) -> None:
        while self.native_store.pending:  # noqa: ASYNC110 - an event for every reply would cost more
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.native_store.detach()
        if self._pool is not None:
            self._pool, self._shared, self._failure = None, None, CLOSED
            await self._shared_pool.leave()
