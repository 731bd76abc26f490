"""A new connection to one server: TCP, what the server says of itself, TLS, who we are, and its first PONG."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from prism_proxy._native.nats.connection import NatsClosed, NatsConnection
from prism_proxy.backends.nats.addresses import Address
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.nats.credentials import connect_options

if TYPE_CHECKING:
    from prism_proxy._native.nats.connection import Listener


class NoTlsError(Exception):
    """The settings want TLS, and the server has none."""


async def dial(
    address: Address, config: NatsConfig, tls: ssl.SSLContext | None, closed: Callable[[NatsConnection, str], None],
    stray: Listener,
) -> NatsConnection:
    """A connection that may be used. OSError, NatsClosed, CredentialsError or NoTlsError when there is none. `tls` is
    used when the settings or the server want it."""
    loop = asyncio.get_running_loop()
    informed: asyncio.Future[dict[str, Any]] = loop.create_future()
    connection = NatsConnection(loop, closed, stray)
    connection.listen_info(lambda info: None if informed.done() else informed.set_result(info))
    name = config.tls.server_name or address.host
    if config.tls.first:
        transport, _ = await loop.create_connection(lambda: connection, address.host, address.port, ssl=tls,
                                                    server_hostname=name)
    else:
        transport, _ = await loop.create_connection(lambda: connection, address.host, address.port)
    try:
        info = await _or_closed(informed, connection)
        wanted = config.secure or bool(info.get("tls_required"))
        if wanted and not config.tls.first:
            if not (info.get("tls_required") or info.get("tls_available")):
                raise NoTlsError("the server speaks no TLS: remove it from the settings, or from the URL")
            secured = await loop.start_tls(transport, connection, tls or config.tls.context(), server_hostname=name)
            connection.use(cast(asyncio.Transport, secured))
        options = json.loads(connect_options(config, info)) | {"tls_required": wanted}
        connection.connect(json.dumps(options).encode())
        await connection.confirm()
    except BaseException as error:
        connection.abort(str(error) or type(error).__name__)
        raise
    return connection


async def _or_closed(informed: asyncio.Future[dict[str, Any]], connection: NatsConnection) -> dict[str, Any]:
    """What the server says first. It may refuse the connection instead, of which nobody else tells."""
    while True:
        done, _ = await asyncio.wait({informed}, timeout=0.05)
        if done:
            return informed.result()
        if not connection.usable:
            raise NatsClosed(connection.closed_reason or "the server closed the connection", False)
