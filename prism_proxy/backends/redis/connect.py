"""Makes what a driver talks to out of its settings: a link to a server, to the primary sentinels name, or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from prism_proxy._native.keyvalue_redis import RedisStore
from prism_proxy._native.resp import ConnectionLost
from prism_proxy.backends.redis.commands import Command, Commands, Reply
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.errors import native_errors
from prism_proxy.backends.redis.link import Endpoint, Link, LinkOptions
from prism_proxy.backends.redis.sentinel import Sentinels
from prism_proxy.backends.redis.status import durability, report
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

    def health(self) -> HealthReport: ...

    def open(self) -> None: ...

    async def opened(self) -> None: ...

    async def drained(self) -> None: ...

    async def close(self) -> None: ...


def connect(config: RedisConfig) -> Server:
    """OSError or ValueError when the files for TLS cannot be used."""
    if config.mode == "cluster":
        from prism_proxy.backends.redis.cluster import Cluster  # redis-py, which the other forms need not load

        return Cluster(config)
    return LinkedServer(config)


class LinkedServer:
    """One server, over the pipelined link."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        user, password = config.credentials
        options = LinkOptions(
            connections=config.connections, max_pending=config.max_pending, bulk_bytes=config.bulk_bytes,
            connect_timeout_s=config.connect_timeout_s, read_timeout_s=config.read_timeout_s, username=user,
            password=password, database=config.database, tls=config.tls_context(), server_name=config.tls.server_name,
            primary=config.mode == "sentinel")
        self.native_store = RedisStore(
            config.key_prefix, config.connections, config.bulk_bytes, native_errors(config.namespace))
        self._sentinels = Sentinels(config) if config.mode == "sentinel" else None
        resolve = self._sentinels.primary if self._sentinels is not None else self._itself
        self._link = Link(options, resolve, self.native_store)
        self.commands = LinkedCommands(self._link)

    async def _itself(self) -> Endpoint:
        return Endpoint(*self._config.address)

    @property
    def durability(self) -> str:
        return durability(self._link.info)

    def health(self) -> HealthReport:
        link = self._link
        return report(link.info, self._config, ready=link.ready, size=link.size, idle=link.idle, pending=link.pending,
                      capacity=self._config.connections * self._config.max_pending, failure=link.failure)

    def open(self) -> None:
        self._link.open()

    async def opened(self) -> None:
        before = self._link.failure
        while self._link.ready < self._link.size and self._link.failure is before:  # noqa: ASYNC110 - once a start
            await asyncio.sleep(LOOK_S)

    async def drained(self) -> None:
        await self._link.drained()

    async def close(self) -> None:
        await self._link.close()
        if self._sentinels is not None:
            await self._sentinels.close()


class LinkedCommands:
    """Commands over a link."""

    sharded = False
    servers = 1

    def __init__(self, link: Link) -> None:
        self._link = link

    async def execute(self, *arguments: bytes, key: bytes, bulk: bool = False) -> Reply:
        return await self._link.execute(*arguments, key=key, bulk=bulk)

    async def execute_many(self, commands: Sequence[Command]) -> list[Reply]:
        return await self._link.execute_many(commands)

    async def scan(self, server: int, *arguments: bytes) -> Reply:
        if server:
            raise ConnectionLost("there is one server", False)
        return await self._link.execute(*arguments, bulk=True)
