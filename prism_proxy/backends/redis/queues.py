"""Queues over Redis: each step is one script (`queue_scripts`), so that any proxy sees a queue whole.

What is due (leases that end, messages that are scheduled) is taken by the next step of any proxy, and by a timer of
those that leased. A message for the dead letters, whose queue may be on another server of a cluster, is marked first,
stored there under an id that no second copy gets, and then removed: whoever meets the mark finishes the move.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prism_proxy._native.redis.resp import ConnectionLost, RespError
from prism_proxy.backends.redis import queue_records as records
from prism_proxy.backends.redis import queue_scripts as scripts
from prism_proxy.backends.redis.commands import Commands, scanned
from prism_proxy.backends.redis.names import Names, glob
from prism_proxy.backends.redis.scripts import Script
from prism_proxy.backends.redis.status import message_class
from prism_proxy.backends.redis.subscriptions import Subscriptions
from prism_proxy.backends.redis.wakeups import Wakeup
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import (
    DEAD_LETTER_SUFFIX,
    DEDUPLICATION_SECONDS,
    ERROR_HEADER,
    RETRIES_HEADER,
    SOURCE_HEADER,
    Carrier,
    Traits,
)
from prism_proxy.models.messaging_errors import receipt_expired
from prism_proxy.models.queue.contract import (
    Counts,
    DeadLetters,
    Outcome,
    QueuedMessage,
    QueueItem,
    QueueSettings,
    Redriven,
    Scheduled,
    Settlement,
)

_WINDOW_MS = b"%d" % int(DEDUPLICATION_SECONDS * 1000)
_DEAD_HEADERS = frozenset({SOURCE_HEADER, ERROR_HEADER, RETRIES_HEADER})
Taken = Callable[[list[Any]], list[QueuedMessage]]


class RedisQueues:
    """`info` is what the server says of itself, `subscriptions` raises ConnectionLost while the driver is not open."""

    def __init__(self, commands: Commands, names: Names, info: Callable[[], Mapping[str, str]],
                 subscriptions: Callable[[], Subscriptions], wait_replicas: int = 0) -> None:
        self._replicas = wait_replicas
        self._commands = commands
        self._names = names
        self._info = info
        self._subscriptions = subscriptions
        self._settings = QueueSettings()
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by queue, for what is due there
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def traits(self) -> Traits:
        return Traits(Carrier.HEADERS, message_class(self._info(), self._replicas))

    def configure(self, settings: QueueSettings) -> None:
        self._settings = settings

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- queue_basic --------------------------------------------------------------------------------------------------

    async def enqueue(self, queue: str, items: Sequence[QueueItem]) -> list[str | PrismError]:
        arguments: list[bytes] = [_WINDOW_MS]
        once: list[bytes] = []
        now = int(time.time() * 1000)
        for item in items:
            message, index = item.message, 0
            if message.deduplication_id:
                once.append(self._names.queue(queue) + b":once:" + message.deduplication_id.encode())
                index = len(once)
            arguments += [
                message.message_id.encode(),
                records.encode(message.message_id, now, item.priority, message.headers, message.data),
                b"%d" % item.priority, b"%d" % item.deliver_at_ms, b"%d" % message.expires_ms, b"%d" % index]
        ids = await self._step(scripts.ENQUEUE, queue, *arguments, more=once, replicas=self._replicas)
        return [found.decode() for found in ids]

    async def take(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        return await self._wait(queue, wait_s, lambda: self._taken(queue, count))

    async def peek(self, queue: str, count: int, wait_s: float) -> list[QueuedMessage]:
        async def look() -> list[QueuedMessage]:
            found = await self._step(scripts.PEEK, queue, b"%d" % count, b"-inf")
            return [records.decode(record, int(delivered)) for _, record, delivered, _ in found]

        return await self._wait(queue, wait_s, look)

    async def counts(self, queue: str) -> Counts:
        ready, leased, later, _, oldest, _, _ = await self._step(scripts.COUNTS, queue)
        return Counts(ready, leased, later, int(oldest))

    async def purge(self, queue: str) -> int:
        return int(await self._step(scripts.PURGE, queue))

    async def queues(self, limit: int) -> Sequence[str]:
        found: set[str] = set()
        async for keys in scanned(self._commands, glob(self._names.queues) + b"*}:data"):
            found.update(map(self._names.queue_of, keys))
            if len(found) >= limit:
                break
        return sorted(found)[:limit]

    # --- queue_visibility ---------------------------------------------------------------------------------------------

    async def lease(self, queue: str, count: int, visibility_s: float, wait_s: float) -> list[QueuedMessage]:
        return await self._wait(queue, wait_s, lambda: self._leased(queue, count, visibility_s))

    async def extend(self, queue: str, receipt: str, seconds: float) -> None:
        if not await self._step(scripts.EXTEND, queue, _milliseconds(seconds), receipt.encode()):
            raise receipt_expired()

    async def settle(self, queue: str, receipts: Sequence[str], settlement: Settlement) -> list[PrismError | None]:
        results = await self._settle(queue, receipts, settlement.outcome.name, settlement.reason, settlement.delay_s)
        return [None if done else receipt_expired() for done in results]

    # --- queue_delayed ------------------------------------------------------------------------------------------------

    async def scheduled(self, queue: str) -> Scheduled:
        _, _, later, following, _, _, _ = await self._step(scripts.COUNTS, queue)
        return Scheduled(later, int(following))

    # --- queue_dead_letter --------------------------------------------------------------------------------------------

    async def configure_dead_letter(self, queue: str, dead_letter_queue: str, max_receives: int) -> None:
        await self._step(scripts.CONFIGURE, queue, dead_letter_queue.encode(), b"%d" % max_receives)

    async def dead_letters(self, queue: str) -> DeadLetters:
        *_, name, most = await self._step(scripts.COUNTS, queue)
        target = name.decode() or queue + DEAD_LETTER_SUFFIX
        ready, leased, later, *_ = await self._step(scripts.COUNTS, target)
        return DeadLetters(target, int(most), ready + leased + later)

    async def redrive(
        self, queue: str, matching: Mapping[str, str], limit: int, cursor: bytes | None, *, dry_run: bool
    ) -> Redriven:
        source = (await self.dead_letters(queue)).queue
        found = await self._step(scripts.PEEK, source, b"%d" % limit, b"(" + cursor if cursor else b"-inf")
        moved = skipped = 0
        for identity, record, _, _ in found:
            message = records.decode(record, 0)
            wanted = message.headers.get(SOURCE_HEADER) == queue and all(
                message.headers.get(name) == value for name, value in matching.items())
            if wanted and (dry_run or await self._bring_back(source, queue, identity, message)):
                moved += 1
            else:
                skipped += 1
        return Redriven(moved, skipped, found[-1][3] if len(found) == limit else None)

    async def _bring_back(self, source: str, queue: str, identity: bytes, message: QueuedMessage) -> bool:
        """Move a dead letter to where it came from. False when another consumer has it."""
        delivery = await self._step(scripts.CLAIM, source, identity)
        if not delivery:
            return False
        headers = {name: value for name, value in message.headers.items() if name not in _DEAD_HEADERS}
        await self._store(queue, message, headers)
        await self._settle(source, [f"{identity.decode()}.{delivery}"], Outcome.DONE.name)
        return True

    # --- steps --------------------------------------------------------------------------------------------------------

    async def _step(
        self, script: Script, queue: str, *arguments: bytes, more: Sequence[bytes] = (), replicas: int = 0
    ) -> Any:
        """What a script returns; what it found dead is brought to the dead letters."""
        result, dead = await self._run(script, queue, *arguments, more=more, replicas=replicas)
        while dead:
            dead = await self._bury(queue, dead)
        return result

    async def _run(
        self, script: Script, queue: str, *arguments: bytes, more: Sequence[bytes] = (), replicas: int = 0
    ) -> tuple[Any, list[Any]]:
        base = self._names.queue(queue)
        keys = [base + b":" + part.encode() for part in scripts.PARTS]
        try:
            result, due_ms, dead = await script.run(
                self._commands, b"", [*keys, *more], b"%d" % self._settings.max_receives, base + b":wake", *arguments,
                replicas=replicas)
        except RespError as error:
            if error.kind == "LAYOUT":
                raise ValueError(f"queue {queue!r} has a layout that this release does not know: {error}") from None
            raise
        if due_ms >= 0:
            self._look_later(queue, due_ms / 1000)
        return result, dead

    async def _settle(
        self, queue: str, receipts: Sequence[str], how: str, reason: str = "", delay_s: float = 0
    ) -> list[int]:
        delay = _milliseconds(delay_s) if delay_s > 0 else b"0"
        found: list[int] = await self._step(
            scripts.SETTLE, queue, how.encode(), reason.encode(), delay, *(text.encode() for text in receipts))
        return found

    async def _leased(self, queue: str, count: int, visibility_s: float) -> list[QueuedMessage]:
        found = await self._uncancelled(
            self._step(scripts.LEASE, queue, b"%d" % count, _milliseconds(visibility_s)),
            lambda found: self._settle(queue, [f"{identity.decode()}.{delivered}" for identity, _, delivered in found],
                                       "UNDO"))
        return [records.decode(record, delivered, f"{identity.decode()}.{delivered}")
                for identity, record, delivered in found]

    async def _taken(self, queue: str, count: int) -> list[QueuedMessage]:
        async def put_back(found: list[Any]) -> None:
            for _, record, _ in found:
                message = records.decode(record, 0)
                await self._store(queue, message, message.headers)

        found = await self._uncancelled(self._step(scripts.LEASE, queue, b"%d" % count, b"0"), put_back)
        return [records.decode(record, delivered) for _, record, delivered in found]

    async def _uncancelled(self, step: Any, undo: Callable[[list[Any]], Any]) -> Any:
        """The result of a step. When the caller goes away meanwhile, it is undone."""
        running = asyncio.ensure_future(step)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._spawn(self._undo(running, undo))
            raise

    async def _undo(self, running: asyncio.Future[Any], undo: Callable[[list[Any]], Any]) -> None:
        found = await running
        if found:
            await undo(found)

    async def _wait(self, queue: str, wait_s: float, attempt: Callable[[], Any]) -> list[QueuedMessage]:
        """What `attempt` finds, tried again whenever something became ready, for `wait_s`."""
        found: list[QueuedMessage] = await attempt()
        if found or wait_s <= 0:
            return found
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        async with Wakeup(self._subscriptions(), self._names.queue(queue) + b":wake") as wakeup:
            while True:
                found = await attempt()
                left = until - loop.time()
                if found or left <= 0:
                    return found
                await wakeup.wait(left)

    # --- what is due --------------------------------------------------------------------------------------------------

    def _look_later(self, queue: str, seconds: float) -> None:
        """Have a step run when something is due, also when no caller does: it wakes those who wait."""
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds + 0.002
        known = self._timers.get(queue)
        if known is not None:
            if not known.cancelled() and known.when() <= at:
                return
            known.cancel()
        self._timers[queue] = loop.call_at(at, self._due, queue)

    def _due(self, queue: str) -> None:
        self._timers.pop(queue, None)
        self._spawn(self._look(queue))

    async def _look(self, queue: str) -> None:
        try:
            await self._step(scripts.COUNTS, queue)
        except ConnectionLost:
            self._look_later(queue, 0.5)

    def _spawn(self, work: Any) -> None:
        async def run() -> None:
            with contextlib.suppress(ConnectionLost, RespError):  # the next step of anybody sees to it
                await work

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(self, queue: str, dead: Sequence[Sequence[Any]]) -> list[Any]:
        """Bring what is dead to the dead letters; what else is dead."""
        (*_, name, _), _ = await self._run(scripts.COUNTS, queue)
        target = name.decode() or queue + DEAD_LETTER_SUFFIX
        for identity, record, count, reason in dead:
            message = records.decode(record, int(count))
            headers = {**message.headers, SOURCE_HEADER: queue, ERROR_HEADER: reason.decode("utf-8", "replace"),
                       RETRIES_HEADER: count.decode()}
            await self._store(target, message, headers, b"dead %b %b" % (self._names.queue(queue), identity))
        _, following = await self._run(scripts.MOVED, queue, *(identity for identity, *_ in dead))
        return following

    async def _store(
        self, queue: str, message: QueuedMessage, headers: Mapping[str, str], once: bytes = b""
    ) -> None:
        more = [self._names.queue(queue) + b":once:" + once] if once else []
        record = records.encode(
            message.message_id, int(time.time() * 1000), message.priority, headers, message.data)
        await self._run(scripts.ENQUEUE, queue, _WINDOW_MS, message.message_id.encode(), record,
                        b"%d" % message.priority, b"0", b"0", b"%d" % len(more), more=more)


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, round(seconds * 1000))
