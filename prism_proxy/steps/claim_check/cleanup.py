"""Deletions that nobody waits for: objects of messages that were settled, or never published.

A deletion that fails, or that this process does not live to make, is made by a sweep: what an object's tags say of its
end was written before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from prism_proxy.claim_check import keys
from prism_proxy.errors import PrismError
from prism_proxy.object_stores.transfer import with_ttl
from prism_proxy.steps.claim_check.figures import Figures
from prism_proxy.steps.claim_check.objects import ClaimStore
from prism_runtime import log

MOST_TIMERS = 10_000
CLOSE_S = 2.0


class Cleanup:
    """Of one namespace. `retention` is how long an object stays after its message was settled."""

    def __init__(self, namespace: str, store: ClaimStore, figures: Figures, retention: float) -> None:
        self._namespace = namespace
        self._store = store
        self._figures = figures
        self._retention = retention
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    def delete(self, *object_keys: str) -> None:
        """Soon."""
        self._start(self._delete(object_keys))

    def keep(self, key: str, seconds: float) -> None:
        """A message may refer to the object: it stays for so long."""
        self._start(self._keep(key, seconds))

    async def _keep(self, key: str, seconds: float) -> None:
        try:
            await self._store.set_tags(key, with_ttl({}, seconds))
        except PrismError as error:
            log.get("prism.claim_check").warning("an object whose message may be at the broker stays pending",
                                                 namespace=self._namespace, error=error.message)

    async def settled(self, token: str) -> None:
        """The object of `token` (topic part and claim id) is not needed any more; nor is its copy."""
        own, dead = keys.prefix(self._namespace) + token, keys.dead_prefix(self._namespace) + token
        if not self._retention:
            self.delete(own, dead)
            return
        self._start(self._expire(own, dead))

    async def _expire(self, own: str, dead: str) -> None:
        try:
            await self._store.set_tags(own, with_ttl({}, self._retention))
        except PrismError as error:
            if error.reason != "OBJECT_NOT_FOUND":
                self._failed(error.message)
        if len(self._timers) < MOST_TIMERS:
            self._later(own, dead)

    def _later(self, *object_keys: str) -> None:
        def due() -> None:
            self._timers.discard(timer)
            self._figures.pending_deletions -= 1
            self.delete(*object_keys)

        timer = asyncio.get_running_loop().call_later(self._retention, due)
        self._timers.add(timer)
        self._figures.pending_deletions += 1

    async def _delete(self, object_keys: Sequence[str]) -> None:
        try:
            failed = await self._store.delete(object_keys)
        except PrismError as error:
            self._failed(error.message)
            return
        for why in failed.values():
            self._failed(why)
        if not failed:
            self._figures.deleted += 1

    def _failed(self, why: str) -> None:
        self._figures.delete_failures += 1
        log.get("prism.claim_check").warning("an object could not be deleted; a sweep collects it",
                                             namespace=self._namespace, error=why)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Finish what is under way, for a moment; what waits is left to sweeps."""
        for timer in self._timers:
            timer.cancel()
        self._figures.pending_deletions -= len(self._timers)
        self._timers.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
