"""The life of a proxy with its admin.

    away --register--> joined --heartbeats, partition maps--> joined
      ^                   |
      +-- connection lost; or the admin knows us no more, or what a registration tells has changed (then at once)

What the proxy does with assignments and maps is the `Listener`'s part; the admin being away is no error of the session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import grpc

from admin_client.client import AdminClient, AdminError
from prism import control_plane_pb2 as pb
from prism_runtime.backoff import jittered
from prism_runtime.tasks import cancel

LEAVE_SECONDS = 1.0  # that a stop waits for the admin


class Listener(Protocol):
    """What a proxy does on each event; the calls never overlap."""

    async def registered(self, ack: pb.ProxyRegistrationAck) -> None: ...

    async def partitions(self, found: pb.PartitionMap) -> None: ...

    def away(self, error: AdminError) -> None: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; the wait between two tries is `reconnect_s` ± `jitter` of it."""

    heartbeat_s: float = 30.0
    reconnect_s: float = 5.0
    jitter: float = 0.2


class ProxySession:
    """`registration()` and `heartbeat()` describe the proxy as it is at that moment. One session a proxy."""

    def __init__(
        self, client: AdminClient, listener: Listener, registration: Callable[[], pb.ProxyRegistration],
        heartbeat: Callable[[], pb.ProxyHeartbeat], timing: Timing | None = None,
    ) -> None:
        self._client = client
        self._listener = listener
        self._registration = registration
        self._heartbeat = heartbeat
        self._timing = timing or Timing()
        self._beat = asyncio.Event()
        self._changed = asyncio.Event()
        self.joined = False

    def beat_now(self) -> None:
        """Send a heartbeat without waiting for its time: what it tells has changed."""
        self._beat.set()

    def register_again(self) -> None:
        """What a registration tells has changed."""
        self._changed.set()

    async def leave(self) -> None:
        """Tell the admin that the proxy stops, once `run` was cancelled. AdminError: then it learns so by silence."""
        beat = self._heartbeat()
        beat.leaving = True
        await self._client.heartbeat(beat, LEAVE_SECONDS)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            known = False
            try:
                await self._live()
                known = True
            except AdminError as error:
                known = error.code is grpc.StatusCode.NOT_FOUND
                if not known:
                    self._listener.away(error)
            finally:
                self.joined = False
            if not known:
                await asyncio.sleep(jittered(self._timing.reconnect_s, self._timing.jitter))

    async def _live(self) -> None:
        """From a registration until the next is due, or to the loss of the connection, which is raised."""
        await self._client.reload()
        self._changed.clear()
        registration = self._registration()
        ack = await self._client.register(registration)
        await self._listener.registered(ack)
        self.joined = True
        tasks = [asyncio.ensure_future(self._beat_forever()),
                 asyncio.ensure_future(self._watch(registration.proxy_id)),
                 asyncio.ensure_future(self._changed.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel(tasks)

    async def _beat_forever(self) -> None:
        """The first at once: it confirms what the registration brought."""
        while True:
            self._beat.clear()
            await self._client.heartbeat(self._heartbeat())
            try:
                await asyncio.wait_for(self._beat.wait(), self._timing.heartbeat_s)
            except TimeoutError:
                continue

    async def _watch(self, proxy_id: str) -> None:
        async for found in self._client.watch_partitions(proxy_id):
            await self._listener.partitions(found)
