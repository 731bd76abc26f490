"""Asks sentinels for the address of the primary, at every attempt to connect: a failover needs no other news."""

from __future__ import annotations

from typing import Any

from prism_proxy._native.redis.resp import ConnectionLost
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.dial import Endpoint

ASK_SECONDS = 0.5  # for one sentinel; the next is asked when it does not answer


class Sentinels:
    """Connections to sentinels are made when asked, within the running loop."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._client: Any = None

    async def primary(self) -> Endpoint:
        """ConnectionLost when no sentinel names a primary."""
        from redis import exceptions
        from redis.asyncio.sentinel import Sentinel

        if self._client is None:
            config = self._config
            self._client = Sentinel(  # type: ignore[no-untyped-call]
                [(address.host, address.port) for address in config.addresses],
                sentinel_kwargs={
                    "protocol": 2,  # HELLO may be forbidden, and nothing here needs it
                    "socket_timeout": ASK_SECONDS, "socket_connect_timeout": ASK_SECONDS,
                    "username": config.sentinel_username or None, "password": config.sentinel_password or None})
        try:
            host, port = await self._client.discover_master(self._config.master_name)
        except (exceptions.RedisError, OSError) as error:
            raise ConnectionLost(f"no sentinel names a primary of {self._config.master_name!r}", False) from error
        return Endpoint(host, int(port))

    async def close(self) -> None:
        for sentinel in self._client.sentinels if self._client is not None else ():
            await sentinel.aclose()
