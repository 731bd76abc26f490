"""Makes what a driver talks to out of its settings: a server, the primary that sentinels name, or a cluster.

The connections are shared with other namespaces (`lines`); what is made here is one namespace's view of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from prism_proxy._native.keyvalue_redis import RedisStore
from prism_proxy.backends.redis.commands import Commands
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.errors import native_errors
from prism_proxy.backends.redis.lines import Line, Lines
from prism_proxy.backends.redis.link import NOT_YET, Endpoint, Link, LinkOptions
from prism_proxy.backends.redis.pipeline import PipelinedCommands
from prism_proxy.backends.redis.sentinel import Sentinels
from prism_proxy.backends.redis.status import CLOSED, NOT_OPEN, Connections, durability, report, without_server
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


def connect(config: RedisConfig, lines: Lines) -> Server:
    """OSError or ValueError when the files for TLS cannot be used."""
    if config.mode == "cluster":
        from prism_proxy.backends.redis.cluster import cluster  # redis-py, which the other forms need not load

        return cluster(config, lines)
    return LinkedServer(config, lines.line(config.line, lambda: _plan(config)))


def _plan(config: RedisConfig) -> Callable[[], SharedLink]:
    user, password = config.credentials
    options = LinkOptions(
        connections=config.connections, max_value_bytes=config.max_value_bytes,
        connect_timeout_s=config.connect_timeout_s, read_timeout_s=config.read_timeout_s, username=user,
        password=password, database=config.database, tls=config.tls_context(), server_name=config.tls.server_name,
        primary=config.mode == "sentinel")
    return lambda: SharedLink(config, options)


class SharedLink:
    """A link, and the sentinels it asks."""

    def __init__(self, config: RedisConfig, options: LinkOptions) -> None:
        self._config = config
        self._sentinels = Sentinels(config) if config.mode == "sentinel" else None
        self.link = Link(options, self._itself if self._sentinels is None else self._sentinels.primary)

    async def _itself(self) -> Endpoint:
        return Endpoint(*self._config.address)

    def open(self) -> None:
        self.link.open()

    async def close(self) -> None:
        await self.link.close()
        if self._sentinels is not None:
            await self._sentinels.close()


class LinkedServer:
    """One server, over a link that other namespaces may share."""

    def __init__(self, config: RedisConfig, line: Line[SharedLink]) -> None:
        self._config = config
        self._line = line
        self._link: Link | None = None
        self._failure = NOT_OPEN
        self.native_store = RedisStore(
            config.key_prefix, config.bulk_bytes, config.max_value_bytes, config.max_pending,
            native_errors(config.namespace))
        self.commands = PipelinedCommands(self.native_store, lambda: self._failure if self._link is None
                                          else self._link.failure, config.max_wait_s)

    @property
    def durability(self) -> str:
        return durability(self._link.info if self._link is not None else {})

    def health(self) -> HealthReport:
        link, store = self._link, self.native_store
        if link is None:
            return without_server(self._config, self._line, self._failure)
        return report(link.info, self._config, Connections(
            link.ready, link.size, link.idle, store.pending, sum(share.max_pending // max(1, share.users) for share in
            store.shares[:-1]), link.failure, self._line))

    def open(self) -> None:
        self._link = self._line.join().link
        self.native_store.attach(self._link.places)

    async def opened(self) -> None:
        link = self._link
        assert link is not None
        while link.ready < link.size and link.failure is NOT_YET:  # noqa: ASYNC110 - once a start
            await asyncio.sleep(LOOK_S)

    async def drained(self) -> None:
        while self.native_store.pending:  # noqa: ASYNC110 - an event for every reply would cost more
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.native_store.detach()
        if self._link is not None:
            self._link, self._failure = None, CLOSED
            await self._line.leave()
