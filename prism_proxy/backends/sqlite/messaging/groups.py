"""Consumer groups: which member gets which records, what is open, and what the file keeps of that.

The file has a position per partition and what is settled behind it. What is open lives here: a process that ends gives
every unsettled record to whoever joins next. A partition has one member at a time, and of records with one key at most
the first is open, so that retries keep the order of a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from prism_proxy.backends.sqlite.messaging.log_rows import Part, Stored
from prism_proxy.backends.sqlite.messaging.reading import DAMAGED, LogReader
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Sink
from prism_proxy.models.messaging_errors import subscriber_replaced
from prism_proxy.models.stream.contract import Membership, Record

BACKLOG = 500  # records of a partition that were read and not pushed


@dataclass(slots=True)
class Open:
    """A record that was pushed (`member`), or waits to be pushed again (None), until `until` on the loop's clock."""

    record: Record
    member: Member | None
    until: float


@dataclass(slots=True)
class Partition:
    """`fetched` is the next offset to read; `backlog` has what was read and not pushed yet, in order."""

    part: Part
    start: int
    fetched: int
    settled: set[int]
    backlog: list[Record] = field(default_factory=list)
    open: dict[int, Open] = field(default_factory=dict)
    member: Member | None = None

    def position(self) -> Stored:
        """What the file keeps: all before the first record that is open or unread is settled."""
        waiting = min((record.offset for record in self.backlog), default=self.fetched)
        following = min(min(self.open, default=self.fetched), waiting, self.fetched)
        self.settled = {offset for offset in self.settled if offset >= following}
        return Stored(self.start, following, tuple(sorted(self.settled)))


class Member:
    """One that joined; implements `models.messages.Active`."""

    def __init__(self, group: Group, membership: Membership, sink: Sink[Record]) -> None:
        self._group = group
        self.membership = membership
        self.sink = sink
        self.open = 0
        self.blocked: asyncio.Task[None] | None = None

    @property
    def takes(self) -> bool:
        return self.open < self.membership.max_in_flight and self.blocked is None

    def await_room(self) -> None:
        async def wait() -> None:
            await self.sink.room()
            self.blocked = None
            self._group.wake()

        self.blocked = asyncio.get_running_loop().create_task(wait())

    async def close(self) -> None:
        if self.blocked is not None:
            self.blocked.cancel()
            await asyncio.gather(self.blocked, return_exceptions=True)
        self._group.leave(self)


class Group:
    """Belongs to the loop. `bury` stores records among the dead letters and settles them."""

    def __init__(
        self, stream: str, partitions: Iterable[Partition], reader: LogReader,
        bury: Callable[[Group, Partition, Record, str], None], bounds: Callable[[], tuple[float, int]],
    ) -> None:
        self.stream = stream
        self.partitions = {one.part.number: one for one in partitions}
        self.members: list[Member] = []
        self._reader = reader
        self._bury = bury
        self._bounds = bounds  # seconds to an acknowledgement, and deliveries at most
        self._work = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def join(self, membership: Membership, sink: Sink[Record]) -> Member:
        for other in [one for one in self.members if one.membership.consumer_id == membership.consumer_id]:
            other.sink.end(subscriber_replaced(membership.consumer_id))
            if other.blocked is not None:
                other.blocked.cancel()
            self.leave(other)
        member = Member(self, membership, sink)
        self.members.append(member)
        self._assign()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        self.wake()
        return member

    def leave(self, member: Member) -> None:
        """What it has not settled goes to others at once."""
        if member not in self.members:
            return
        self.members.remove(member)
        for partition in self.partitions.values():
            for one in partition.open.values():
                if one.member is member:
                    one.member, one.until = None, 0.0
        self._assign()
        self.wake()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def wake(self) -> None:
        self._work.set()

    # --- settling -----------------------------------------------------------------------------------------------------

    def settle(self, number: int, offsets: Iterable[int]) -> list[Record]:
        """The records among these that were open and are not any more; `Partition.position` is to be stored."""
        partition = self.partitions[number]
        done = []
        for offset in offsets:
            one = partition.open.pop(offset, None)
            if one is not None:
                self._release(one)
                partition.settled.add(offset)
                done.append(one.record)
        self.wake()
        return done

    def retry(self, number: int, offsets: Sequence[int], delay_s: float) -> int:
        """How many were open, and will be pushed again after the delay."""
        found = [one for offset in offsets if (one := self.partitions[number].open.get(offset)) is not None]
        for one in found:
            self._release(one)
            one.until = self._now() + delay_s
        self.wake()
        return len(found)

    def reopen(self, number: int, records: Iterable[Record]) -> None:
        """What could not be settled in the file is open again."""
        partition = self.partitions[number]
        for record in records:
            partition.settled.discard(record.offset)
            partition.open[record.offset] = Open(record, None, 0.0)
        self.wake()

    def seek(self, number: int, offset: int) -> None:
        partition = self.partitions[number]
        for one in partition.open.values():
            self._release(one)
        partition.open.clear()
        partition.backlog.clear()
        partition.settled.clear()
        partition.start = partition.fetched = offset
        self.wake()

    def _release(self, one: Open) -> None:
        if one.member is not None:
            one.member.open -= 1
            one.member = None

    # --- delivering ---------------------------------------------------------------------------------------------------

    def _assign(self) -> None:
        """Each partition to one member, evenly; who has one keeps it where that is even."""
        if not self.members:
            for partition in self.partitions.values():
                partition.member = None
            return
        most = -(-len(self.partitions) // len(self.members))
        count = dict.fromkeys(self.members, 0)
        free = []
        for partition in self.partitions.values():
            if partition.member in count and count[partition.member] < most:
                count[partition.member] += 1
            else:
                free.append(partition)
        for partition in free:
            least = min(self.members, key=lambda member: count[member])
            count[least] += 1
            partition.member = least

    async def _run(self) -> None:
        try:
            await self._deliver_for_ever()
        except PrismError as error:  # the store is closed
            for member in self.members:
                member.sink.end(error)

    async def _deliver_for_ever(self) -> None:
        while True:
            arrival = self._reader.arrivals.expect(self.stream)
            arrival.add_done_callback(lambda _: self.wake())
            try:
                self._work.clear()
                for partition in list(self.partitions.values()):
                    await self._deliver(partition)
                self._set_timer()
                await self._work.wait()
            finally:
                self._reader.arrivals.forget(self.stream, arrival)

    async def _deliver(self, partition: Partition) -> None:
        member = partition.member
        if member is None or any(one.member is not None and one.member is not member
                                 for one in partition.open.values()):
            return  # the member before has records of it
        self._push_again(partition, member)
        while member.takes and member is partition.member:
            if not self._push_next(partition, member) and not await self._fetch(partition, member):
                return

    def _push_again(self, partition: Partition, member: Member) -> None:
        """Records whose time to be acknowledged is over, or that were given back, in order."""
        now = self._now()
        most = self._bounds()[1]
        for offset in sorted(partition.open):
            one = partition.open[offset]
            if one.until > now:
                continue
            self._release(one)
            if most and one.record.attempt >= most:
                one.until = math.inf  # it is open until the dead letters have it
                self._bury(self, partition, one.record, "it was not acknowledged")
            elif member.takes and not self._push(partition, member, one.record):
                return

    def _push_next(self, partition: Partition, member: Member) -> bool:
        """The first record read whose key has none open; False when there is none."""
        if not partition.backlog:
            return False
        taken = {one.record.key for one in partition.open.values() if one.record.key}
        for index, record in enumerate(partition.backlog):
            if record.key not in taken:
                if self._push(partition, member, record):
                    del partition.backlog[index]
                return True
            taken.add(record.key)
        return False

    def _push(self, partition: Partition, member: Member, record: Record) -> bool:
        pushed = replace(record, attempt=record.attempt + 1)
        if not member.sink.push(pushed):
            member.await_room()
            return False
        partition.open[record.offset] = Open(pushed, member, self._now() + self._bounds()[0])
        member.open += 1
        return True

    async def _fetch(self, partition: Partition, member: Member) -> bool:
        """Read on; False when there is nothing to push now."""
        if len(partition.backlog) >= BACKLOG:
            return False
        at = partition.fetched
        records, following, damaged = await self._reader.page(partition.part, at, limit=BACKLOG)
        if partition.fetched != at:
            return True  # somebody sought meanwhile
        if damaged:
            member.sink.missed(damaged, DAMAGED)
        partition.fetched = max(at, following)
        fresh = [record for record in records if record.offset not in partition.settled]
        partition.backlog += fresh
        return bool(fresh)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._now()
        times = [one.until for partition in self.partitions.values() for one in partition.open.values()
                 if now < one.until < math.inf]
        if times and self.members:
            self._timer = asyncio.get_running_loop().call_at(min(times), self.wake)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
