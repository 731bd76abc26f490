"""One fetch of messages for one caller, who may go away at any moment: what is on its way then goes back."""

from __future__ import annotations

import asyncio
import contextlib

from prism_proxy._native.nats.connection import NatsClosed
from prism_proxy.backends.nats.errors import ApiError
from prism_proxy.backends.nats.jetstream import JetStream
from prism_proxy.backends.nats.pull import Entry, Pull, nak

MARGIN_S = 2.0  # for the answer that nothing came
GONE = (404, 408)


async def fetch(js: JetStream, stream: str, consumer: str, count: int, wait_s: float) -> list[Entry]:
    """Up to `count` that are there now; else the first that comes within `wait_s`. NatsClosed, ApiError."""
    found: list[Entry] = []
    changed = asyncio.Event()
    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        changed.set()

    def entry(came: Entry) -> None:
        found.append(came)
        changed.set()

    client = js.client()
    connection = client.usable()
    pull = Pull(js, stream, consumer, entry, end, connection)
    client.watchers.add(changed.set)
    try:
        pull.ask(count, 0.0)
        while not ended:
            await _changed(changed, client.request_timeout, connection.usable)
        if not found and wait_s > 0:
            ended.clear()
            pull.ask(1, wait_s)
            while not ended:
                await _changed(changed, wait_s + MARGIN_S, connection.usable)
        if not found and ended[-1] not in (0, *GONE):
            raise ApiError(404 if ended[-1] == 409 else ended[-1], 0, "the consumer was changed or is gone")
    except BaseException:
        with contextlib.suppress(NatsClosed):
            for came in found:
                connection.publish(came.reply, None, None, nak())
        raise
    finally:
        client.watchers.discard(changed.set)
        pull.close()
    return found


async def _changed(changed: asyncio.Event, seconds: float, usable: bool) -> None:
    if not usable:
        raise NatsClosed("the connection was lost while messages were waited for", False)
    changed.clear()
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        raise NatsClosed("the server did not answer a fetch in time", False) from None
