"""Waits until replicas have what a connection wrote.

One WAIT serves all who wrote before it was sent, and only one is on a connection at a time: it holds up what is behind.
"""

from __future__ import annotations

import asyncio

from prism_proxy._native.redis.resp import ConnectionLost, FairShare, RespConnection
from prism_proxy.backends.redis.commands import NotReplicated, Reply


class _Turns:
    def __init__(self) -> None:
        self.running: asyncio.Task[Reply] | None = None
        self.following: asyncio.Task[Reply] | None = None


class Replication:
    """`seconds` is how long a WAIT lasts at most."""

    def __init__(self, seconds: float) -> None:
        self._milliseconds = b"%d" % max(20, int(seconds * 1000))
        self._turns: dict[RespConnection, _Turns] = {}  # of few connections

    async def reached(self, connection: RespConnection, share: FairShare | None, replicas: int) -> None:
        """Return when so many have all that the connection wrote so far. NotReplicated when they have not, in time, or
        nobody knows."""
        if connection not in self._turns:
            self._turns = {known: turns for known, turns in self._turns.items() if known.usable}
            self._turns[connection] = _Turns()
        turns = self._turns[connection]
        if turns.running is None or turns.running.done():
            task = turns.running = self._start(connection, share, replicas, None)
        else:
            if turns.following is None or turns.following.done():
                turns.following = self._start(connection, share, replicas, turns)
            task = turns.following
        try:
            count = await asyncio.shield(task)
        except ConnectionLost as error:
            raise NotReplicated(f"the connection was lost: {error}") from error
        if count < replicas:
            raise NotReplicated(f"{count} of {replicas} replicas have it")

    def _start(
        self, connection: RespConnection, share: FairShare | None, replicas: int, after: _Turns | None
    ) -> asyncio.Task[Reply]:
        async def wait() -> Reply:
            if after is not None:
                assert after.running is not None
                await asyncio.gather(after.running, return_exceptions=True)
                after.running, after.following = after.following, None
            return await connection.execute(b"WAIT", b"%d" % replicas, self._milliseconds, share=share)

        task = asyncio.get_running_loop().create_task(wait())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task
