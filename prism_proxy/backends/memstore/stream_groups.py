"""A consumer group over a stream in memory.

Each partition belongs to one member. Its records are delivered in order, but never while an earlier one of the same key
is unsettled; what comes back is delivered before what is new.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from prism_proxy.backends.memstore.stream_log import Kept, Partition, StreamLog
from prism_proxy.models.messages import Sink
from prism_proxy.models.messaging_errors import subscriber_replaced
from prism_proxy.models.stream.contract import GroupInfo, Membership, Record

MAX_HELD = 1000  # records of a partition that wait for an earlier one of their key


class _Unsettled:
    """A record behind the position that is not acknowledged: with a member, or waiting to be."""

    __slots__ = ("attempts", "due_ms", "kept", "member", "ready_ms", "reason")

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.member: Member | None = None
        self.attempts = 0
        self.due_ms = 0  # when its member's time is over
        self.ready_ms = 0  # not before
        self.reason = ""


class Share:
    """A partition as the group sees it. `committed` None until something is."""

    def __init__(self, partition: Partition, start: int) -> None:
        self.partition = partition
        self.next = start
        self.committed: int | None = None
        self.owner: Member | None = None
        self.unsettled: dict[int, _Unsettled] = {}
        self._window: deque[int] = deque()  # offsets in order of delivery, back to the oldest that is unsettled
        self._keys: dict[bytes, list[int]] = {}  # unsettled offsets of a key, in order

    @property
    def open_members(self) -> set[Member]:
        return {item.member for item in self.unsettled.values() if item.member is not None}

    def pick(self, now_ms: int) -> _Unsettled | None:
        """What is to be delivered next."""
        for offset, item in self.unsettled.items():
            if item.member is None and item.ready_ms <= now_ms and self._first_of_key(item.kept, offset):
                return item
        while len(self.unsettled) < MAX_HELD:
            kept = self.partition.at(self.next)
            if kept is None:
                return None
            self.next = kept.offset + 1
            item = _Unsettled(kept)
            self.unsettled[kept.offset] = item
            self._window.append(kept.offset)
            if kept.key:
                self._keys.setdefault(kept.key, []).append(kept.offset)
            if self._first_of_key(kept, kept.offset):
                return item
        return None

    def _first_of_key(self, kept: Kept, offset: int) -> bool:
        return not kept.key or self._keys[kept.key][0] == offset

    def settle(self, offset: int) -> _Unsettled | None:
        item = self.unsettled.pop(offset, None)
        if item is None:
            return None
        key = item.kept.key
        if key:
            self._keys[key].remove(offset)
            if not self._keys[key]:
                del self._keys[key]
        while self._window and self._window[0] not in self.unsettled:
            self.committed = self._window.popleft()
        return item

    def seek(self, offset: int) -> None:
        self.next = offset
        self.unsettled.clear()
        self._window.clear()
        self._keys.clear()

    def lag(self) -> int:
        waiting = sum(item.member is None for item in self.unsettled.values())
        return waiting + len(self.partition.records) - self.partition.index(self.next)


class Group:
    """`dead(kept, attempts, reason)` takes what was delivered too often."""

    def __init__(
        self, log: StreamLog, start: int, now_ms: Callable[[], int], alarm: Callable[[int], None],
        dead: Callable[[Kept, int, str], None],
    ) -> None:
        self.shares = [Share(partition, start) for partition in log.partitions]
        self._log = log
        self._members: dict[str, Member] = {}
        self._now_ms = now_ms
        self._alarm = alarm
        self._dead = dead
        self.ack_timeout_s = 30.0
        self.max_deliveries = 0

    # --- members ------------------------------------------------------------------------------------------------------

    def join(self, membership: Membership, sink: Sink[Record]) -> Member:
        before = self._members.get(membership.consumer_id)
        if before is not None:
            before.replaced()
        member = self._members[membership.consumer_id] = Member(self, membership, sink)
        self._log.watch(member.more)
        self._assign()
        member.start()
        return member

    def leave(self, member: Member) -> None:
        """What it has comes back at once."""
        self._log.forget(member.more)
        if self._members.get(member.name) is member:
            del self._members[member.name]
        for share in self.shares:
            for item in list(share.unsettled.values()):
                if item.member is member:
                    self._return(share, item, 0)
        self._assign()

    def _assign(self) -> None:
        """Partitions in turn to members. One with open records stays with who has them until there are none."""
        members = list(self._members.values())
        for share in self.shares:
            wanted = members[share.partition.number % len(members)] if members else None
            holders = share.open_members
            share.owner = next(iter(holders)) if holders and wanted not in holders else wanted
        for member in members:
            member.more.set()

    def rebalance(self, share: Share) -> None:
        """The partition may go to the member it is meant for, once nothing of it is open."""
        members = list(self._members.values())
        if members and not share.open_members:
            wanted = members[share.partition.number % len(members)]
            if share.owner is not wanted:
                share.owner = wanted
                wanted.more.set()

    def is_leaving(self, share: Share) -> bool:
        """Whether the partition waits to go to another member."""
        members = list(self._members.values())
        return bool(members) and share.owner is not members[share.partition.number % len(members)]

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def next_for(self, member: Member) -> tuple[Share, _Unsettled] | None:
        now = self._now_ms()
        for share in self.shares:
            if share.owner is member and not self.is_leaving(share):
                while (item := share.pick(now)) is not None:
                    if not 0 < self.max_deliveries <= item.attempts:
                        return share, item
                    self._bury(share, item, item.reason or "it was not acknowledged")
        return None

    def delivered(self, share: Share, item: _Unsettled, member: Member) -> None:
        item.member = member
        item.attempts += 1
        item.due_ms = self._now_ms() + int(self.ack_timeout_s * 1000)
        self._alarm(item.due_ms)

    def ack(self, partition: int, offsets: list[int]) -> int:
        share, settled = self.shares[partition], 0
        for offset in offsets:
            found = share.unsettled.get(offset)
            if found is None or not found.attempts:
                continue
            share.settle(offset)
            settled += 1
            self._freed(share, found)
        return settled

    def nack(self, partition: int, offsets: list[int], delay_s: float, reason: str, *, final: bool) -> int:
        share, returned = self.shares[partition], 0
        for offset in offsets:
            found = share.unsettled.get(offset)
            if found is None or found.member is None:
                continue
            returned += 1
            found.reason = reason or found.reason
            if final or 0 < self.max_deliveries <= found.attempts:
                self._bury(share, found, found.reason or "it failed")
            else:
                self._return(share, found, self._now_ms() + int(delay_s * 1000) if delay_s > 0 else 0)
        return returned

    def _bury(self, share: Share, item: _Unsettled, reason: str) -> None:
        share.settle(item.kept.offset)
        self._freed(share, item)
        self._dead(item.kept, item.attempts, reason)

    def _return(self, share: Share, item: _Unsettled, ready_ms: int) -> None:
        item.ready_ms = ready_ms
        self._freed(share, item)
        self._alarm(ready_ms)

    def _freed(self, share: Share, item: _Unsettled) -> None:
        member, item.member = item.member, None
        if member is not None:
            member.in_flight -= 1
            member.more.set()
        self.rebalance(share)
        if share.owner is not None:
            share.owner.more.set()

    def ring(self, now_ms: int) -> int:
        """Deliveries whose time is over come back; returns when to look again."""
        due = 0
        for share in self.shares:
            for item in list(share.unsettled.values()):
                if item.member is not None and item.due_ms <= now_ms:
                    self._return(share, item, 0)
                times = item.due_ms if item.member is not None else item.ready_ms
                if item.member is None and 0 < item.ready_ms <= now_ms and share.owner is not None:
                    share.owner.more.set()
                if times > now_ms:
                    due = min(due or times, times)
        return due

    # --- positions ----------------------------------------------------------------------------------------------------

    def seek(self, share: Share, offset: int) -> None:
        for item in share.unsettled.values():
            if item.member is not None:
                item.member.in_flight -= 1
        share.seek(offset)
        self._assign()

    def info(self) -> GroupInfo:
        pending = sum(item.member is not None for share in self.shares for item in share.unsettled.values())
        return GroupInfo(tuple(self._members), sum(share.lag() for share in self.shares), pending, {
            share.partition.number: share.committed for share in self.shares if share.committed is not None})

    def close(self) -> None:
        for member in list(self._members.values()):
            member.cancel()


class Member:
    """An open membership: one task that delivers while its subscriber takes."""

    def __init__(self, group: Group, membership: Membership, sink: Sink[Record]) -> None:
        self.name = membership.consumer_id
        self.in_flight = 0
        self.more = asyncio.Event()
        self._group = group
        self._most = membership.max_in_flight
        self._sink = sink
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def replaced(self) -> None:
        self.cancel()
        self._group.leave(self)
        self._sink.end(subscriber_replaced(self.name))

    async def close(self) -> None:
        self.cancel()
        self._group.leave(self)

    async def _run(self) -> None:
        while True:
            self.more.clear()
            sent = 0
            while self.in_flight < self._most and self._sink.credit > 0:
                found = self._group.next_for(self)
                if found is None:
                    break
                share, item = found
                self.in_flight += 1
                self._group.delivered(share, item, self)
                if not self._sink.push(item.kept.record(share.partition.number, item.attempts)):
                    self._take_back(share, item)
                    break
                sent += 1
                if sent % 100 == 0:
                    await asyncio.sleep(0)
            if self.in_flight < self._most and self._sink.credit <= 0:
                await self._sink.room()
            else:
                await self.more.wait()

    def _take_back(self, share: Share, item: _Unsettled) -> None:
        """It was not taken after all: no delivery."""
        item.member = None
        item.attempts -= 1
        self.in_flight -= 1
