"""Moves partitions whose data only their proxy has: the source copies them to the target while both live.

    wanted --Send: copied--> (map locked) --Finish: the same, no writes--> map stored, which is the outcome
       ^                         |                     |
       +---- tried again --------+------ Abandon ------+

Nothing of a move is stored but its outcome, the map: an admin that starts again knows of no move, so none is made that
it did not store, and proxies that are in doubt learn so when they register. For that reason a move is abandoned when
one of its proxies registers, and nothing is decided but under the lock of the map. Before that moves may go on at the
same time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prism import transfer_pb2
from prism_admin.assignments import assignment
from prism_admin.desired_placement import DesiredPlacement
from prism_admin.layout import Move
from prism_admin.placement import Placement
from prism_admin.proxy_client import ProxyClient, PushError
from prism_admin.storage.namespaces import Namespace, Namespaces
from prism_runtime import log
from prism_runtime.storage.errors import StorageError
from prism_runtime.tasks import Tasks

ATTEMPTS = 3
RETRY_SECONDS = 1.0
REMIND_SECONDS = 1.0  # between two tries to tell a proxy that a move is not made
_log = log.get("prism.admin.moves")


class MoveFailedError(RuntimeError):
    """This try was not made; everything is as it was before."""


@dataclass(eq=False)
class _Running:
    """A move that the source knows. `abandoned` says why it must not be made."""

    move: Move
    move_id: str
    source_address: str
    target_address: str
    abandoned: str = ""
    task: asyncio.Task[None] | None = None


class DataMoves:
    """A proxy takes part in one at a time. `address_of` names where a proxy can be dialled, or None while it is not
    alive; `is_local` says which namespaces have data of their own."""

    def __init__(self, placement: Placement, namespaces: Namespaces, proxy_client: ProxyClient,
                 address_of: Callable[[str], str | None], is_local: Callable[[Namespace], bool], *,
                 retry_s: float = RETRY_SECONDS) -> None:
        self._placement = placement
        self._namespaces = namespaces
        self._proxy_client = proxy_client
        self._address_of = address_of
        self._is_local = is_local
        self._retry_s = retry_s
        self._desired = DesiredPlacement()
        self._failed: dict[int, int] = {}  # tries of a partition since it was wanted
        self._tried: dict[int, frozenset[str | None]] = {}  # partition -> the proxies of its move
        self._running: set[_Running] = set()
        self._wake = asyncio.Event()
        self._tasks = Tasks()

    @property
    def wanted(self) -> Mapping[int, str]:
        """Partitions that have not arrived at their target yet."""
        return self._desired

    def want(self, moves: Iterable[Move]) -> None:
        """A newer wish for a partition replaces an older one, and is tried as often as the first."""
        for partition in self._desired.want(moves):
            self._failed[partition] = 0
            self._wake.set()

    def forget(self, *, proxy: str = "", partition: int = -1) -> None:
        """Make no move of that proxy, or of that partition. Within `Placement.changing()`: no move is stored
        afterwards that was under way."""
        self._desired.forget(proxy=proxy, partition=partition)
        for running in self._running:
            if running.move.partition == partition or proxy in (running.move.source, running.move.target):
                running.abandoned = f"{proxy} registered again, or is gone" if proxy else "the partition was given away"
                if running.task is not None:
                    running.task.cancel()

    def start(self) -> None:
        self._tasks.spawn(self._work())

    async def close(self) -> None:
        await self._tasks.close()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            for partition, target in dict(self._desired).items():
                pair = frozenset((self._placement.map.owner(partition), target))
                if partition not in self._tried and not any(pair & busy for busy in self._tried.values()):
                    self._tried[partition] = pair
                    self._tasks.spawn(self._fulfil(partition, target))

    async def _fulfil(self, partition: int, target: str) -> None:
        try:
            await self._try(partition, target)
        finally:
            del self._tried[partition]
            self._desired.end(partition, target)
            if partition not in self._desired:
                self._failed.pop(partition, None)
            self._wake.set()

    async def _try(self, partition: int, target: str) -> None:
        while self._failed.get(partition, 0) < ATTEMPTS:
            source = self._placement.map.owner(partition)
            if source == target or not self._desired.still(partition, target):
                return
            try:
                await self._move(Move(partition, source, target))
            except MoveFailedError as error:
                self._failed[partition] = self._failed.get(partition, 0) + 1
                _log.warning("a partition with data was not moved", partition=partition, target=target,
                             attempt=self._failed[partition], reason=str(error))
                await asyncio.sleep(self._retry_s)
            else:
                _log.info("a partition with data moved", partition=partition, target=target)
                return

    async def _move(self, move: Move) -> None:
        """MoveFailedError when it was not made."""
        source_address = self._address_of(move.source) if move.source is not None else None
        target_address = self._address_of(move.target) if move.target is not None else None
        if source_address is None or target_address is None:
            raise MoveFailedError(f"{move.target if source_address is not None else move.source} is not alive")
        running = _Running(move, uuid.uuid4().hex, source_address, target_address)
        self._running.add(running)
        running.task = asyncio.get_running_loop().create_task(self._make(running))
        try:
            await asyncio.shield(running.task)
        except asyncio.CancelledError:
            if not running.abandoned:  # we are ending: a restarted admin knows nothing of this move
                running.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # else it is logged
                running.task.cancel()
                raise
            self._abandon(running)
            raise MoveFailedError(running.abandoned) from None
        except (PushError, MoveFailedError, StorageError) as error:
            self._abandon(running)
            raise MoveFailedError(str(error)) from error
        finally:
            self._running.discard(running)

    async def _make(self, running: _Running) -> None:
        move = running.move
        namespaces = await self._namespaces.in_partitions([move.partition])
        local = [found for found in namespaces if self._is_local(found)]
        revision = self._placement.map.revision + 1
        await self._proxy_client.send(running.source_address, transfer_pb2.SendRequest(
            move_id=running.move_id, partition_id=move.partition, target_proxy=move.target,
            target_address=running.target_address, namespaces=[assignment(found, revision) for found in local]))
        async with self._placement.changing() as current:
            if running.abandoned:
                raise MoveFailedError(running.abandoned)
            now = await self._namespaces.in_partitions([move.partition])
            if current.owner(move.partition) != move.source or _versions(now) != _versions(namespaces):
                raise MoveFailedError("its namespaces changed meanwhile")
            for found in namespaces:
                if not self._is_local(found):
                    await self._proxy_client.assign(running.target_address, assignment(found, current.revision + 1))
            await self._proxy_client.finish(running.source_address, running.move_id)
            await self._store(move)

    async def _store(self, move: Move) -> None:
        """The moment that decides: storage has the map, or it has not, which only storage knows when it fails."""
        try:
            await self._placement.apply([move])
        except Exception as error:
            while True:
                try:
                    await self._placement.reload()
                    break
                except Exception as again:  # noqa: BLE001 - nothing else may be decided before storage answers
                    _log.error("storage does not tell whether a move was made", reason=str(again))
                    await asyncio.sleep(self._retry_s)
            if self._placement.map.owner(move.partition) != move.target:
                raise MoveFailedError(f"the map was not stored: {error}") from error

    def _abandon(self, running: _Running) -> None:
        """Tell both proxies, until they have heard or the move cannot matter to them any more."""
        for proxy, address in ((running.move.source, running.source_address),
                               (running.move.target, running.target_address)):
            self._tasks.spawn(self._tell(proxy or "", address, running.move_id))

    async def _tell(self, proxy: str, address: str, move_id: str) -> None:
        while self._address_of(proxy) == address:  # else it registers, and learns more than this
            try:
                await self._proxy_client.abandon(address, move_id)
            except PushError as error:
                _log.warning("a proxy was not told that a move is not made",
                             proxy=proxy, reason=str(error))
                await asyncio.sleep(REMIND_SECONDS)
            else:
                return


def _versions(namespaces: Sequence[Namespace]) -> dict[str, int]:
    return {found.name: found.version for found in namespaces}
