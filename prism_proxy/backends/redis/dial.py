"""Where a Redis server is, how it is spoken to, and a connection to it that knows nothing yet."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prism_proxy._native.redis.resp import RespConnection
from prism_proxy.backends.redis.config import RedisConfig


class Endpoint(NamedTuple):
    """Where a server listens: `path` for a Unix socket, else host and port."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ConnectionPoolOptions:
    """`connections` is the number of places for callers' commands. Times in seconds, sizes in bytes.

    `primary`: a server that is a replica is not connected to.
    """

    connections: int = 2
    max_queued_bytes: int = 16 * 1024 * 1024
    max_value_bytes: int = 16 * 1024 * 1024
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 3.0
    ping_s: float = 10.0
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    client_name: str = "prism-proxy"
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    primary: bool = False


def options_of(config: RedisConfig) -> ConnectionPoolOptions:
    """OSError or ValueError when the files for TLS cannot be used."""
    user, password = config.credentials
    return ConnectionPoolOptions(
        connections=config.connections, max_value_bytes=config.max_value_bytes,
        connect_timeout_s=config.connect_timeout_s, read_timeout_s=config.read_timeout_s, username=user,
        password=password, database=config.database, tls=config.tls_context(), server_name=config.tls.server_name,
        primary=config.mode == "sentinel")


async def dial(
    endpoint: Endpoint, options: ConnectionPoolOptions, protocol: Callable[[], RespConnection]
) -> RespConnection:
    """A connection that `protocol` makes. OSError when there is none."""
    loop = asyncio.get_running_loop()
    tls: dict[str, Any] = {}
    if options.tls is not None:
        tls = {"ssl": options.tls, "server_hostname": options.server_name or endpoint.host}
    if endpoint.path:
        return (await loop.create_unix_connection(protocol, endpoint.path, **tls))[1]
    return (await loop.create_connection(protocol, endpoint.host, endpoint.port, **tls))[1]
