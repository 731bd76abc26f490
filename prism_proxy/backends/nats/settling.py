"""How leases are settled: here when this process has them, else by the process that has, else at the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied
from prism_proxy.backends.nats.client import Channel
from prism_proxy.backends.nats.errors import ApiError, NoAnswer, NoResponders
from prism_proxy.backends.nats.leases import Lease, Leases, Receipt, parse_receipt
from prism_proxy.backends.nats.logs import Log
from prism_proxy.backends.nats.pull import ACK, PROGRESS, TERM, ack_subject, nak
from prism_proxy.errors import PrismError
from prism_proxy.models.queue.contract import Outcome, Settlement

if TYPE_CHECKING:
    from prism_proxy.backends.nats.queues import NatsQueues

ASK_S = 1.0  # another process, before it is taken for gone
REMEMBERED = 65_536
EXPIRED = "received too often"
PASSING = (NatsClosed, NatsDenied, NoAnswer, NoResponders, ApiError, PrismError)


class Settler:
    def __init__(self, queues: NatsQueues, owner: str) -> None:
        self._queues = queues
        self.leases = Leases(owner, self._over, self._progress)
        self._returned: OrderedDict[tuple[str, int], None] = OrderedDict()  # given back, and not seen since
        self._tasks: set[asyncio.Task[None]] = set()
        self._channel: Channel | None = None
        self._reasons: OrderedDict[tuple[str, int], str] = OrderedDict()

    async def listen(self) -> None:
        """Answer other proxies."""
        if self._channel is None:
            self._channel = await self._queues.js.client().subscribe(self._control(self.leases.owner), self)

    async def close(self) -> None:
        self.leases.clear()
        if self._channel is not None and self._queues.js.is_open:
            self._queues.js.client().unsubscribe(self._channel, self)
        self._channel = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- settle and extend --------------------------------------------------------------------------------------------

    async def settle(self, queue: str, receipts: Sequence[str], settlement: Settlement) -> list[bool]:
        """Which of them were open."""
        log = await self._queues.found(queue)
        parsed = [parse_receipt(text) for text in receipts]
        results = [False] * len(receipts)
        if log is None:
            return results
        others: dict[str, list[int]] = {}
        mine: list[tuple[int, Lease]] = []
        for at, receipt in enumerate(parsed):
            if receipt is None:
                continue
            if receipt.owner != self.leases.owner:
                others.setdefault(receipt.owner, []).append(at)
                continue
            lease = self.leases.find(log, receipt)
            if lease is not None and not results[at]:
                self.leases.remove(lease)
                mine.append((at, lease))
        await self._settle(mine, settlement)
        for at, _ in mine:
            results[at] = True
        for owner, places in others.items():
            done = await self._elsewhere(owner, queue, log, [(receipts[at], parsed[at]) for at in places], settlement)
            for at, found in zip(places, done, strict=True):
                results[at] = found
        return results

    async def extend(self, queue: str, text: str, seconds: float) -> bool:
        log, receipt = await self._queues.found(queue), parse_receipt(text)
        if log is None or receipt is None:
            return False
        if receipt.owner == self.leases.owner:
            lease = self.leases.find(log, receipt)
            if lease is not None:
                self.leases.extend(lease, seconds, self._queues.settings.visibility_s)
            return lease is not None
        answer = await self._ask(receipt.owner, {"queue": queue, "receipts": [text], "extend": seconds})
        if answer is not None:
            return bool(answer[0])
        if receipt.ends_ms < time.time() * 1000:
            return False
        await self._queues.js.tell_all([(_reply(log, receipt), PROGRESS)])  # for another AckWait
        return True

    async def _settle(self, found: Sequence[tuple[int, Lease]], settlement: Settlement) -> None:
        """End leases of this process, which are removed already."""
        try:
            if settlement.outcome is Outcome.DONE:
                await self._queues.js.tell_all([(lease.reply, ACK) for _, lease in found])
                return
            for _, lease in found:
                await self.end(lease, settlement)
        except PASSING:
            for _, lease in found:
                self.leases.restore(lease, self._queues.settings.visibility_s)
            raise

    async def end(self, lease: Lease, settlement: Settlement) -> None:
        """Give a message back, to be delivered again, or to the dead letters."""
        await self._end(lease.queue, lease.log, lease.sequence, lease.deliveries, lease.reply, settlement)

    async def _end(
        self, queue: str, log: Log, sequence: int, deliveries: int, reply: bytes, settlement: Settlement
    ) -> None:
        dead = self._queues.dead
        target = await dead.target(queue, log)
        fails = settlement.outcome is Outcome.FAIL
        if target.max_receives and (fails or deliveries >= target.max_receives):
            await dead.bury(queue, log, sequence, deliveries, settlement.reason or EXPIRED, target.queue)
        elif not fails:
            _remember(self._reasons, (log.stream, sequence), settlement.reason)
            if settlement.delay_s <= 0:
                _remember(self._returned, (log.stream, sequence), None)
            await self._queues.js.tell_all([(reply, nak(settlement.delay_s))])
            return
        await self._queues.js.tell_all([(reply, TERM)])

    def reason(self, log: Log, sequence: int) -> str:
        """Why it was given back last, as far as this process knows."""
        return self._reasons.get((log.stream, sequence), "")

    # --- other processes ----------------------------------------------------------------------------------------------

    def _control(self, owner: str) -> bytes:
        return self._queues.logs.names.control("leases", owner).encode()

    async def _elsewhere(
        self, owner: str, queue: str, log: Log, wanted: Sequence[tuple[str, Receipt | None]], settlement: Settlement
    ) -> list[bool]:
        answer = await self._ask(owner, {
            "queue": queue, "receipts": [text for text, _ in wanted], "outcome": settlement.outcome.name,
            "reason": settlement.reason, "delay": settlement.delay_s})
        if answer is not None:
            return [bool(each) for each in answer]
        now = time.time() * 1000
        results = []
        for _, receipt in wanted:
            valid = receipt is not None and receipt.ends_ms >= now
            results.append(valid)
            if receipt is None or not valid:
                continue
            reply = _reply(log, receipt)
            if settlement.outcome is Outcome.DONE:
                await self._queues.js.tell_all([(reply, ACK)])
            else:
                await self._end(queue, log, receipt.sequence, receipt.deliveries, reply, settlement)
        return results

    async def _ask(self, owner: str, body: dict[str, Any]) -> list[bool] | None:
        """What the process that has the leases says; None when it is gone."""
        try:
            _, data = await self._queues.js.client().request(self._control(owner), None, json.dumps(body).encode(),
                                                             ASK_S)
            found = json.loads(data)
        except (NoResponders, NoAnswer, ValueError):
            return None
        return found if isinstance(found, list) and len(found) == len(body["receipts"]) else None

    def received(self, subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes) -> None:
        """Another proxy settles what was leased here."""
        if reply is not None:
            self._spawn(self._serve(reply, data))

    def interrupted(self, why: str) -> None:
        """Others try again."""

    def denied(self, error: NatsDenied) -> None:
        """Others go by what receipts say."""

    async def _serve(self, reply: bytes, data: bytes) -> None:
        try:
            body = json.loads(data)
            queue, receipts = str(body["queue"]), [str(text) for text in body["receipts"]]
            if "extend" in body:
                results = [await self.extend(queue, receipts[0], float(body["extend"]))]
            else:
                results = await self.settle(queue, receipts, Settlement(
                    Outcome[str(body["outcome"])], str(body["reason"]), float(body["delay"])))
        except (ValueError, KeyError, TypeError, IndexError):
            return  # not ours
        self._queues.js.client().usable().publish(reply, None, None, json.dumps(results).encode())

    # --- what happens by itself ---------------------------------------------------------------------------------------

    def _over(self, lease: Lease) -> None:
        self._spawn(self.end(lease, Settlement(Outcome.RETRY)))

    def _progress(self, lease: Lease) -> None:
        with contextlib.suppress(NatsClosed):
            self._queues.js.client().usable().publish(lease.reply, None, None, PROGRESS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            with contextlib.suppress(*PASSING):  # the server takes the message back after its AckWait
                await work

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def give_back(self, replies: Iterable[bytes]) -> None:
        """At once, without waiting."""
        with contextlib.suppress(NatsClosed):
            connection = self._queues.js.client().usable()
            for reply in replies:
                connection.publish(reply, None, None, nak())

    def forget(self, log: Log) -> None:
        """All its messages are removed."""
        for lease in self.leases.of(log):
            self.leases.remove(lease)
        for key in [key for key in self._returned if key[0] == log.stream]:
            del self._returned[key]

    # --- what is ready again ------------------------------------------------------------------------------------------

    def seen(self, log: Log, sequence: int) -> None:
        """It was delivered again."""
        self._returned.pop((log.stream, sequence), None)

    def is_returned(self, log: Log, sequence: int) -> bool:
        return (log.stream, sequence) in self._returned

    def returned(self, log: Log, floor: int) -> int:
        """How many wait to be delivered again, as far as this process knows."""
        for key in [key for key in self._returned if key[0] == log.stream and key[1] <= floor]:
            del self._returned[key]
        return sum(stream == log.stream for stream, _ in self._returned)


def _reply(log: Log, receipt: Receipt) -> bytes:
    return ack_subject(log.stream, "prism", receipt.sequence, receipt.consumer_sequence)


def _remember(table: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
