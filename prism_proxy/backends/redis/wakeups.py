"""Learns that something may be there now: a channel of its own tells it, and a look now and then where it does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType

from prism_proxy._native.redis.resp import ConnectionLost
from prism_proxy.backends.redis.subscriptions import Channel, Subscriptions

LOOK_S = 1.0  # what is told of may be lost


class Wakeup:
    """`wait` returns when the channel spoke since the last `wait`, or after a while; `told` gets what it said."""

    def __init__(self, hub: Subscriptions, channel: bytes, look_s: float = LOOK_S,
                 told: Callable[[bytes], None] = lambda news: None) -> None:
        self._told = told
        self._hub = hub
        self._name = channel
        self._look_s = look_s
        self._heard = asyncio.Event()
        self._channel: Channel | None = None

    async def __aenter__(self) -> Wakeup:
        with contextlib.suppress(ConnectionLost):
            self._channel = await self._hub.subscribe(self._name, self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._channel is not None:
            self._hub.unsubscribe(self._channel, self)

    async def wait(self, at_most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(at_most_s, self._look_s)):
                await self._heard.wait()
        self._heard.clear()

    def received(self, channel: bytes, data: bytes) -> None:
        self._heard.set()
        self._told(data)

    def interrupted(self, why: str) -> None:
        self._heard.set()
