"""Keeps proxies and partitions together: who registers, who is silent, and what moves because of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from prism import control_plane_pb2 as pb
from prism_admin import backends, layout, name_areas
from prism_admin.assignment_pusher import AssignmentPusher
from prism_admin.assignments import assignment
from prism_admin.data_moves import DataMoves
from prism_admin.handoff import Confirmed, Handoff
from prism_admin.layout import Layout, Move
from prism_admin.membership import SWEEP_SECONDS, Membership, Status
from prism_admin.name_areas import NameAreas
from prism_admin.placement import Placement
from prism_admin.proxy_client import ProxyClient
from prism_admin.storage.clock import now
from prism_admin.storage.errors import ConflictError
from prism_admin.storage.namespaces import Namespace
from prism_admin.storage.proxies import Proxy
from prism_admin.storage.store import Store
from prism_runtime import log
from prism_runtime.storage.errors import StorageError
from prism_runtime.tasks import cancel

ACK_BYTES = 3 * 1024 * 1024  # below the 4 MiB a stock client takes
_log = log.get("prism.admin.coordinator")


class UnknownProxyError(LookupError):
    """A heartbeat of a proxy that is not registered: it must register again."""

    def __init__(self, proxy: str) -> None:
        super().__init__(f"proxy not found: {proxy}; register again")


@dataclass(frozen=True, slots=True)
class Change:
    """A planned change of the layout: `stay` names partitions, and why each is left where it is."""

    before: Layout
    after: Layout
    moves: tuple[Move, ...]
    stay: Mapping[int, str]


class Coordinator:
    """One per admin. `open` reads what storage has; `start` begins to watch for silence."""

    def __init__(self, store: Store, membership: Membership, proxy_client: ProxyClient, *,
                 sweep_s: float = SWEEP_SECONDS) -> None:
        self._sweep_s = sweep_s
        self._store = store
        self._membership = membership
        self._proxy_client = proxy_client
        self._proxies: dict[str, Proxy] = {}
        self._health: dict[str, pb.ProxyHeartbeat] = {}
        self._seen: dict[str, datetime] = {}
        self._told: dict[str, dict[str, Confirmed]] = {}  # proxy -> namespace, by its registration
        self._lost: set[str] = set()  # declared dead, and their partitions not given away yet
        self._left: set[str] = set()  # asked to leave, and not registered since: most are about to be stopped
        self.name_areas = NameAreas()
        self.placement = Placement(store.proxies)
        self.handoff = Handoff(self.placement, store.namespaces, proxy_client, self.address_of)
        self.pusher = AssignmentPusher(self.placement, store.namespaces, proxy_client, self.address_of,
                                 lambda proxy, name, *confirmed: self.handoff.confirm(
                                     proxy, {name: Confirmed(*confirmed)}))
        self.data_moves = DataMoves(self.placement, store.namespaces, proxy_client, self.address_of, self._is_local)
        self._wake = asyncio.Event()
        self._sweep_now = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.alarm = False

    async def open(self) -> None:
        await self.placement.open()
        for proxy in await self._store.proxies.list():
            self._learn(proxy)
            self.name_areas.put_file(proxy.proxy_id, proxy.host, name_areas.from_json(proxy.file_areas))
        self._membership.restore({name: Status(proxy.status) for name, proxy in self._proxies.items()})
        await self._store.proxies.set_status(self._membership.members(), Status.UNKNOWN.value)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._sweep_forever()), loop.create_task(self._hand_off_forever())]
        self.data_moves.start()

    async def close(self) -> None:
        await cancel(self._tasks)
        await self.handoff.close()
        await self.data_moves.close()
        await self.pusher.close()
        try:
            await self._write_seen()
        except StorageError as error:
            _log.warning("the last heartbeats were not written", reason=str(error))

    # --- what proxies say ---------------------------------------------------------------------------------------------

    async def register(self, registration: pb.ProxyRegistration) -> pb.ProxyRegistrationAck:
        """The proxy is alive at its address, and gets its share. The same again is the same again."""
        proxy = Proxy(registration.proxy_id, registration.address, registration.region, registration.version,
                      Status.HEALTHY.value, tuple(registration.capabilities), dict(registration.metadata),
                      backends=backends.to_json(registration.backends),
                      file_areas=name_areas.to_json(registration.file_areas))
        async with self.placement.changing() as current:
            before = self._proxies.get(proxy.proxy_id)
            await self._store.proxies.upsert(proxy)
            self._learn(proxy)
            for problem in self.name_areas.put_file(proxy.proxy_id, proxy.host, registration.file_areas):
                _log.error(problem)
            self._membership.heard(proxy.proxy_id)
            self._lost.discard(proxy.proxy_id)
            self._left.discard(proxy.proxy_id)
            self.handoff.forget(proxy.proxy_id)  # what it served before may be gone
            self.data_moves.forget(proxy=proxy.proxy_id)
            namespaces = await self._store.namespaces.page()
            change = self._plan(current.layout, namespaces, joining=proxy.proxy_id)
            await self._begin(change, namespaces, wake=False)  # its first heartbeat confirms what the answer brings
            if before is not None and before.address != proxy.address:
                await self._proxy_client.forget(before.address)
                await self.placement.announce()
            ack, rest = self._ack(proxy.proxy_id, change.after, namespaces)
        if rest:
            self.pusher.push_soon(rest, proxy.proxy_id)
        return ack

    def heartbeat(self, heartbeat: pb.ProxyHeartbeat) -> int:
        """The revision of the map. UnknownProxyError when it must register first, as after it was declared dead."""
        proxy = heartbeat.proxy_id
        if proxy not in self._proxies or self._membership.status(proxy).gone:
            raise UnknownProxyError(proxy)
        if heartbeat.leaving:
            self._leave(proxy)
            return self.placement.map.revision
        self._membership.heard(proxy)
        self._seen[proxy] = now()
        self._health[proxy] = heartbeat
        told = self._told.pop(proxy, {})
        self.handoff.confirm(proxy, {name: told[name] for name in heartbeat.namespace_health if name in told})
        self.pusher.missing(proxy, [name for name in told if name not in heartbeat.namespace_health])
        self.pusher.retry_soon(proxy)
        if self.handoff.wanted:
            self._wake.set()
        return self.placement.map.revision

    def last_seen(self, proxy: str) -> datetime | None:
        """When its last heartbeat came, where storage does not have it yet."""
        return self._seen.get(proxy)

    def health(self, proxy: str) -> pb.ProxyHeartbeat | None:
        """The last heartbeat."""
        return self._health.get(proxy)

    # --- who is there -------------------------------------------------------------------------------------------------

    def proxy(self, proxy_id: str) -> Proxy | None:
        return self._proxies.get(proxy_id)

    def proxies(self) -> Collection[str]:
        """All that ever registered."""
        return self._proxies.keys()

    def address_of(self, proxy_id: str) -> str | None:
        """Where a living proxy is; None for others."""
        if self._membership.status(proxy_id).gone:
            return None
        found = self._proxies.get(proxy_id)
        return found.address if found is not None else None

    def status(self, proxy_id: str) -> Status:
        return self._membership.status(proxy_id)

    def partition_map(self) -> pb.PartitionMap:
        """The map in the wire's form, with the addresses of the owners."""
        current = self.placement.map
        return pb.PartitionMap(revision=current.revision, owners=[
            pb.PartitionOwner(start=start, end=end, proxy_id=owner, address=self._address_known(owner))
            for start, end, owner in layout.ranges(current.layout)])

    @property
    def moving(self) -> Mapping[int, str]:
        """Partitions that have not arrived yet, each with its target."""
        return {**self.handoff.wanted, **self.data_moves.wanted}

    # --- changes of the layout ----------------------------------------------------------------------------------------

    async def plan(self, *, joining: str = "", leaving: str = "", contiguous: bool = False) -> Change:
        """What a change would do; nothing happens. ValueError for a proxy that is not known to leave."""
        namespaces = await self._store.namespaces.page()
        return self._plan(self.placement.map.layout, namespaces, joining=joining, leaving=leaving,
                          contiguous=contiguous, planned=not joining)

    async def rebalance(self, *, leaving: str = "", contiguous: bool = False, expected: int = 0) -> Change:
        """Begin a planned change. ValueError when `expected` is given and the map has moved on."""
        async with self.placement.changing() as current:
            if expected and expected != current.revision:
                raise ValueError(f"the map has revision {current.revision}, not {expected}: plan again")
            namespaces = await self._store.namespaces.page()
            change = self._plan(current.layout, namespaces, leaving=leaving, contiguous=contiguous, planned=True)
            self._left = (self._left | ({leaving} if leaving else set())) - {move.target for move in change.moves}
            local = {found.partition for found in namespaces if self._is_local(found)}
            await self._begin(replace(change, moves=tuple(
                move for move in change.moves if move.partition not in local)), namespaces)
            self.data_moves.want(move for move in change.moves if move.partition in local)
            return change

    async def abandon(self, partition: int, target: str = "") -> None:
        """Give up what a lost proxy alone had, and let another serve the partition. ValueError while its proxy
        lives."""
        async with self.placement.changing() as current:
            owner = current.owner(partition)
            if owner is not None and self.address_of(owner) is not None:
                raise ValueError(f"{owner}, which has the data of partition {partition}, is alive: plan a rebalance")
            members = self._takers(besides=owner)
            if target and (target == owner or target not in self._membership.members()):
                raise ValueError(f"there is no living proxy {target!r}")
            if not members:
                raise ValueError("no proxies available")
            chosen = target or min(members, key=lambda name: (current.layout.count(name), name))
            self.data_moves.forget(partition=partition)
            namespaces = await self._store.namespaces.in_partitions([partition])
            after = tuple(chosen if at == partition else has for at, has in enumerate(current.layout))
            await self._begin(Change(current.layout, after, tuple(layout.moves(current.layout, after)), {}), namespaces)

    async def sweep(self) -> tuple[str, ...]:
        """Declare the silent dead and give away what others can serve; who died."""
        found = self._membership.sweep()
        if found.alarm and not self.alarm:
            _log.error("most proxies are silent: nothing is moved", silent=found.silent)
        self.alarm = found.alarm
        for proxy in found.lost:
            _log.warning("a proxy is silent", proxy=proxy)
            self._lose(proxy)
        if self._lost:
            await self._give_away()
        return found.lost

    def _leave(self, proxy: str) -> None:
        """The proxy stops: what others can serve is given to them at once, while it drains."""
        _log.info("a proxy has left", proxy=proxy)
        self._membership.left(proxy)
        self._lose(proxy)
        self._sweep_now.set()

    def _lose(self, proxy: str) -> None:
        self._health.pop(proxy, None)
        self._told.pop(proxy, None)
        self._seen.pop(proxy, None)
        self.handoff.forget(proxy)
        self._lost.add(proxy)

    async def _give_away(self) -> None:
        """Hand over what lost proxies had; those left in `_lost` when this fails wait for the next sweep."""
        async with self.placement.changing():
            for status in (Status.UNHEALTHY, Status.LEFT):
                await self._store.proxies.set_status(
                    [proxy for proxy in self._lost if self._membership.status(proxy) is status], status.value)
            namespaces = await self._store.namespaces.page()
            for proxy in sorted(self._lost):
                self.data_moves.forget(proxy=proxy)
                change = self._plan(self.placement.map.layout, namespaces, leaving=proxy)
                await self._begin(change, namespaces)
                self._lost.discard(proxy)

    def _plan(self, before: Layout, namespaces: Collection[Namespace], *, joining: str = "", leaving: str = "",
              contiguous: bool = False, planned: bool = False) -> Change:
        """`planned` changes move data too, where both proxies can."""
        members = self._takers(besides=leaving)
        local: dict[int, list[Namespace]] = defaultdict(list)
        for found in namespaces:
            if before[found.partition] is not None and self._is_local(found):
                local[found.partition].append(found)
        if leaving:
            if leaving not in self._proxies:
                raise ValueError(f"there is no proxy {leaving!r}")
        elif joining:
            members = sorted({*members, joining})
        pinned = {partition: before[partition] for partition, its in local.items()
                  if not planned or self._why_unmovable(its, before[partition])}  # partition -> the proxy it stays for
        if not members:
            after = before if local else layout.leave(before, leaving, members)
        elif contiguous or not namespaces:
            after = layout.contiguous(members)
        elif leaving:
            after = layout.leave(before, leaving, members, pinned)
        elif joining:
            after = layout.join(before, joining, members, pinned)
        else:
            after = before
        pinned = {partition: after[partition] for partition, its in local.items()
                  if after[partition] != before[partition] and self._why_unmovable(its, after[partition])} | pinned
        after = tuple(before[partition] if partition in pinned else owner for partition, owner in enumerate(after))
        stay = {partition: self._why_it_stays(local[partition], before[partition], proxy)
                for partition, proxy in pinned.items() if before[partition] == leaving or contiguous}
        return Change(before, after, tuple(layout.moves(before, after)), stay)

    def _takers(self, besides: str | None = None) -> list[str]:
        """Living proxies that may be given partitions; those that were asked to leave only where there are no others.
        """
        living = [name for name in self._membership.members() if name != besides]
        return [name for name in living if name not in self._left] or living

    def _is_local(self, namespace: Namespace) -> bool:
        """Whether only its owner has its data, as the owner says."""
        return backends.is_local(namespace, self._proxies.get(self.placement.map.owner(namespace.partition) or ""))

    def _why_unmovable(self, namespaces: Iterable[Namespace], proxy: str | None) -> str:
        """Why a proxy can neither hand over nor take what only one proxy has; empty when it can."""
        found = self._proxies.get(proxy or "")
        if found is None or self.address_of(found.proxy_id) is None:
            return f"{proxy} is not alive"
        return next(filter(None, (backends.why_unmovable(namespace, found) for namespace in namespaces)), "")

    def _why_it_stays(self, namespaces: Sequence[Namespace], owner: str | None, proxy: str | None) -> str:
        why = self._why_unmovable(namespaces, proxy)
        return f"namespace {namespaces[0].name} keeps its data on {owner}{f': {why}' if why else ''}"

    async def _begin(self, change: Change, namespaces: Collection[Namespace], *, wake: bool = True) -> None:
        """Switch what nobody uses, or nobody serves, at once, and leave the rest to the hand-off."""
        bound = {namespace.partition for namespace in namespaces}
        await self.placement.apply([move for move in change.moves if move.partition not in bound or
                                    move.target is None or move.source is None])
        self.handoff.want(move for move in change.moves if move.partition in bound and move.source is not None)
        if wake:
            self._wake.set()

    # --- in the background --------------------------------------------------------------------------------------------

    async def hand_off(self) -> None:
        """One round of what is wanted."""
        async with self.placement.changing():
            outcome = await self.handoff.run()
        for partition, reason in outcome.failed.items():
            _log.warning("a partition could not be handed over yet", partition=partition, reason=reason)

    async def _hand_off_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._attempt("partitions wait to be handed over", self.hand_off)

    async def _sweep_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sweep_now.wait(), self._sweep_s)
            self._sweep_now.clear()
            await self._attempt("heartbeats wait to be written", self._write_seen)
            await self._attempt("silent proxies keep their partitions", self.sweep)
            if self.handoff.wanted:
                self._wake.set()

    async def _write_seen(self) -> None:
        seen, self._seen = self._seen, {}
        if not seen:
            return
        try:
            await self._store.proxies.seen(seen)
        except StorageError:
            self._seen = {**seen, **self._seen}
            raise

    async def _attempt(self, consequence: str, work: Callable[[], Awaitable[object]]) -> None:
        """A database that is away stops no task: the next round tries again."""
        try:
            await work()
        except (StorageError, ConflictError) as error:
            _log.error(consequence, reason=str(error))

    # --- forms --------------------------------------------------------------------------------------------------------

    def _learn(self, proxy: Proxy) -> None:
        self._proxies[proxy.proxy_id] = proxy

    def _address_known(self, proxy_id: str) -> str:
        found = self._proxies.get(proxy_id)
        return found.address if found is not None else ""

    def _ack(self, proxy: str, after: Layout, namespaces: Collection[Namespace]
             ) -> tuple[pb.ProxyRegistrationAck, list[Namespace]]:
        """The answer, and the namespaces that it has no room for."""
        revision = self.placement.map.revision
        ack = pb.ProxyRegistrationAck(success=True, message="registered", map_revision=revision)
        ack.partition_ranges.extend(
            pb.PartitionRange(start=start, end=end) for start, end, _ in layout.ranges(after, proxy))
        theirs = [namespace for namespace in namespaces if after[namespace.partition] == proxy]
        told = self._told[proxy] = {}
        size = 0
        for namespace in theirs:
            # What is still on its way is for the map to come.
            arrives = revision + (self.placement.map.owner(namespace.partition) != proxy)
            item = assignment(namespace, arrives)
            size += item.ByteSize() + 8
            if size > ACK_BYTES:
                ack.more_namespaces = True
                break
            ack.initial_namespaces.append(item)
            told[namespace.name] = Confirmed(namespace.version, arrives)
        return ack, theirs[len(told):]
