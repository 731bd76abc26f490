"""Moves partitions so that there is no moment without an owner.

    wanted --assign to the target--> confirmed --map switched, in one revision--> revoke from the source, with grace
       ^                                 |
       +---- target silent or refusing --+   (tried again; the source goes on serving meanwhile)

A partition without namespaces is switched at once. A target confirms a namespace by the acknowledgement of an
assignment, or by naming it in a heartbeat. What only its owner has (`is_local`) is never handed over here: see
`data_moves`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from prism import control_plane_pb2 as pb
from prism_admin.assignments import assignment
from prism_admin.desired_placement import DesiredPlacement
from prism_admin.layout import Move
from prism_admin.placement import Placement
from prism_admin.proxy_client import ProxyClient, PushError, RefusedError
from prism_admin.storage.namespaces import Namespace, Namespaces
from prism_runtime import log
from prism_runtime.tasks import Tasks

CONCURRENT_PUSHES = 64
_log = log.get("prism.admin.handoff")


class Confirmed(NamedTuple):
    """A proxy drops what an older map was to bring it and did not: a confirmation is good for one map."""

    version: int
    revision: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Partitions that changed hands, and those that did not, each with the reason."""

    moved: tuple[Move, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)


class Handoff:
    """`address_of` names where a proxy can be dialled, or None while it is not alive."""

    def __init__(self, placement: Placement, namespaces: Namespaces, proxy_client: ProxyClient,
                 address_of: Callable[[str], str | None]) -> None:
        self._placement = placement
        self._namespaces = namespaces
        self._proxy_client = proxy_client
        self._address_of = address_of
        self._desired = DesiredPlacement()
        self._confirmed: dict[str, dict[str, Confirmed]] = defaultdict(dict)  # proxy -> namespace
        self._revoking = Tasks()

    @property
    def wanted(self) -> Mapping[int, str]:
        """Partitions that have not arrived at their target yet."""
        return self._desired

    def want(self, moves: Iterable[Move]) -> None:
        """Remember moves until `run` has made them; a newer wish for a partition replaces an older one."""
        self._desired.want(moves)

    def confirm(self, proxy: str, namespaces: Mapping[str, Confirmed]) -> None:
        """The proxy has activated these namespaces."""
        self._confirmed[proxy].update(namespaces)

    def forget(self, proxy: str) -> None:
        """The proxy is gone: what it confirmed counts no more, and nothing moves to it."""
        self._confirmed.pop(proxy, None)
        self._desired.forget(proxy=proxy)

    async def run(self) -> Outcome:
        """Make the moves that can be made now. Call it within `Placement.changing`."""
        current = self._placement.map
        self._desired.arrived(current)
        wanted = dict(self._desired)
        if not wanted:
            return Outcome()
        bound: dict[int, list[Namespace]] = defaultdict(list)
        for namespace in await self._namespaces.in_partitions(list(wanted)):
            bound[namespace.partition].append(namespace)
        revision = current.revision + 1
        limit = asyncio.Semaphore(CONCURRENT_PUSHES)
        results = await asyncio.gather(*(
            self._give(target, bound.get(partition, ()), revision, limit) for partition, target in wanted.items()))
        failed = {partition: reason for partition, reason in zip(wanted, results, strict=True) if reason}
        moved = tuple(Move(partition, current.owner(partition), target) for partition, target in wanted.items()
                      if partition not in failed and self._desired.still(partition, target))  # its target may be gone
        switched = await self._placement.apply(moved)
        for move in moved:
            self._desired.end(move.partition, wanted[move.partition])
            self._take_back(move.source, bound.get(move.partition, ()), switched.revision)
        return Outcome(moved, failed)

    async def _give(self, target: str, namespaces: Sequence[Namespace], revision: int,
                    limit: asyncio.Semaphore) -> str | None:
        """Have the target serve the namespaces; why it does not, or None."""
        known = self._confirmed[target]
        for namespace in namespaces:
            if known.get(namespace.name) == (namespace.version, revision):
                continue
            address = self._address_of(target)
            if address is None:
                return f"{target} is not alive"
            try:
                async with limit:
                    await self._proxy_client.assign(address, assignment(namespace, revision))
            except RefusedError as error:
                return f"{target} refused namespace {namespace.name}: {error}"
            except PushError as error:
                return str(error)
            known[namespace.name] = Confirmed(namespace.version, revision)
        return None

    def _take_back(self, source: str | None, namespaces: Sequence[Namespace], revision: int) -> None:
        if source is None:
            return
        for namespace in namespaces:
            self._confirmed[source].pop(namespace.name, None)
        address = self._address_of(source)
        if address is None or not namespaces:
            return
        self._revoking.spawn(self._revoke(source, address, namespaces, revision))

    async def _revoke(self, source: str, address: str, namespaces: Sequence[Namespace], revision: int) -> None:
        """A source that does not answer learns of the new owner from the map."""
        for namespace in namespaces:
            try:
                await self._proxy_client.revoke(address, pb.NamespaceRevocation(
                    proxy_id=source, namespace=namespace.name, revision=revision))
            except PushError as error:
                _log.warning("a namespace was not revoked", namespace=namespace.name, reason=str(error))

    async def close(self) -> None:
        await self._revoking.close()
