"""This proxy as a member of the admin's cluster: it registers, takes assignments, and tells how it is.

    admin --acknowledged registration, pushes, maps--> Member --changes--> what serves (one process, or workers)
          <---------------- heartbeats ---------------

The admin being away changes nothing of what is served. What it says when it is back is merged: namespaces of the file
stay, and those it assigns win over them by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from admin_client import AdminClient, AdminError, Credentials, ProxySession, Timing
from prism import control_plane_pb2 as pb
from prism_proxy import __version__, standard
from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.admin_options import AdminOptions
from prism_proxy.errors import StatusCode
from prism_proxy.forwarding.partitions import PartitionMap
from prism_proxy.membership.activation_queue import ActivationQueue, Apply, Change, RefusedError
from prism_proxy.membership.assignments import Assignment, Assignments
from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.membership.data_folder import DataFolder, default_folder
from prism_proxy.membership.declarations import declared_backends
from prism_proxy.membership.heartbeat import HeartbeatReport
from prism_proxy.membership.identity import read_token
from prism_proxy.membership.initial_sync import PUSH_SECONDS, InitialSync
from prism_proxy.membership.migration.coordinator import METHODS as MOVES
from prism_proxy.membership.migration.coordinator import MigrationCoordinator
from prism_proxy.membership.name_areas import name_areas
from prism_proxy.membership.translation import TranslationError, Translator, partition_map
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.process_config import ProxyConfig
from prism_proxy.telemetry.metrics import Metric, counters, gauges
from prism_runtime import log
from prism_runtime.lifecycle import StartError
from prism_runtime.tasks import Tasks, cancel

FIRST_SECONDS = 10.0  # that a start waits for the admin: the deadline of a registration
FIRST_MAP_SECONDS = 0.5  # and after it for the map, which follows within milliseconds
GRACE_SECONDS = 30.0  # for the calls in progress of a namespace that is revoked, where the admin names no other time
MAP_SECONDS = 2.0  # that a revocation waits for the map which names the new owner
PROGRESS_SECONDS = 1.0
TRANSLATED_AT_ONCE = 50  # of the namespaces of a registration, which may be ten thousand

_MOVES_DATA = {"moves_data": "1"}  # a label of registrations: this proxy can hand over what only it has

Heartbeat = Callable[[], pb.ProxyHeartbeat]
MapChanged = Callable[[PartitionMap], None]
EndCalls = Callable[[Collection[str]], None]


class Member:
    """`address` is where others dial us; `apply` activates namespaces, `end_calls` fails calls of those that are no
    longer; `map_changed` gets every newer map."""

    def __init__(
        self, options: AdminOptions, token: str, address: str, file: tuple[NamespaceConfig, ...], apply: Apply,
        end_calls: EndCalls, heartbeat: Heartbeat, moves: MigrationCoordinator,
        map_changed: MapChanged = lambda found: None,
    ) -> None:
        self._log = log.get("prism.membership")
        self._options = options
        self._address = address
        self._map_changed = map_changed
        self._end_calls = end_calls
        self._files = DataFolder(options.data_dir or default_folder(options.proxy_id))
        self._translate = Translator(self._files)
        self._backends = declared_backends()
        self._moves = moves
        moves.host = self
        self._assignments = Assignments()
        self._activation_queue = ActivationQueue(self._assignments, file, apply)
        self._file_areas = name_areas(file)
        self._client = AdminClient(
            options.endpoint, Credentials(token, options.ca, options.cert, options.key),
            lambda error: self._log.error("TLS files for the admin were not reloaded", error=str(error)))
        self._session = ProxySession(self._client, self, self._registration, heartbeat,
                                     Timing(options.heartbeat_s, options.reconnect_s))
        self._map = pb.PartitionMap()
        self._map_newer = asyncio.Condition()
        self._unsettled: Counter[int] = Counter()  # namespaces that may not be told missing, by partition
        self._initial_sync = InitialSync(options.heartbeat_s + PUSH_SECONDS, self._sync_changed)
        self._heard = asyncio.Event()
        self._mapped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tasks = Tasks()
        self._away = ""
        self._since = time.time()
        self._counts = {"registered": 0, "assigned": 0, "revoked": 0, "refused": 0}

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin, and return when the first assignments are active, and the map too if there is one; or when the admin
        proved to be away."""
        self._task = asyncio.get_running_loop().create_task(self._stay())
        try:
            await asyncio.wait_for(self._heard.wait(), FIRST_SECONDS)
        except TimeoutError:
            self._log.warning("the admin does not answer: serving what the file has", endpoint=self._options.endpoint)
        if self._counts["registered"]:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._mapped.wait(), FIRST_MAP_SECONDS)

    async def close(self) -> None:
        """The admin is told first, so that it gives what others can serve to them while this proxy drains."""
        self._initial_sync.pause()
        joined = self._session.joined
        await cancel([self._task])
        await self._tasks.close()
        if joined:
            try:
                await self._session.leave()
            except AdminError as error:
                self._log.warning("the admin was not told that this proxy stops", problem=str(error))
        await self._activation_queue.close()
        await self._client.close()

    async def _stay(self) -> None:
        """Until cancelled. A defect on our side ends one connection, never the membership."""
        while True:
            try:
                await self._session.run()
            except Exception as error:  # noqa: BLE001 - see above
                self._log.error("the session with the admin failed unexpectedly", exc_info=error)
                await asyncio.sleep(self._options.reconnect_s)

    async def set_file(self, namespaces: tuple[NamespaceConfig, ...]) -> None:
        """The file was read again. RefusedError when its namespaces cannot be served: then nothing has changed."""
        problem, = await self._activation_queue.make([Change(file=namespaces)])
        if problem:
            raise RefusedError(problem)
        areas = name_areas(namespaces)
        if areas != self._file_areas:
            self._file_areas = areas
            self._session.register_again()

    # --- what the session says --------------------------------------------------------------------------------------

    def _registration(self) -> pb.ProxyRegistration:
        self._moves.registering()
        return pb.ProxyRegistration(
            proxy_id=self._options.proxy_id, address=self._address, region=self._options.region, version=__version__,
            capabilities=sorted(standard.PATTERNS), metadata=_MOVES_DATA, backends=self._backends,
            file_areas=self._file_areas)

    async def registered(self, ack: pb.ProxyRegistrationAck) -> None:
        """Serve what the admin lists, and no longer what it gave to others while we were away."""
        self._initial_sync.registered(complete=not ack.more_namespaces)
        changes = []
        for index, item in enumerate(ack.initial_namespaces):
            if index % TRANSLATED_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                change = self._change_for(item)
            except ValueError as error:
                self._refused(item.namespace, str(error))
            else:
                changes += [change] if change is not None else []
        owned = {partition for found in ack.partition_ranges for partition in range(found.start, found.end + 1)}
        gone = self._assignments.left_over(
            {item.namespace for item in ack.initial_namespaces}, owned, complete=not ack.more_namespaces)
        gone = [name for name in gone if name not in self._moves.in_doubt()]  # the map will tell
        if gone:
            changes.append(Change(drop=gone, revision=ack.map_revision))
        for change, problem in zip(changes, await self._activation_queue.make(changes), strict=True):
            if problem and change.put is not None:
                self._refused(change.put.config.name, problem)
        await self._moves.dropped(gone)
        await self._moves.registered(owned)
        self._counts["registered"] += 1
        self._away, self._since = "", time.time()
        self._log.info("joined the admin", endpoint=self._options.endpoint, proxy_id=self._options.proxy_id,
                       partitions=len(owned), namespaces=len(self._assignments), dropped=len(gone))
        self._heard.set()

    async def partitions(self, found: pb.PartitionMap) -> None:
        """A newer map. What it took from us is served by others by now."""
        self._mapped.set()
        if found.revision <= self._map.revision:
            return
        owned = self._owned(found)
        async with self._map_newer:
            self._map = found
            self._moves.owned(owned)
            self._tell_map()
            self._map_newer.notify_all()
        lost = self._assignments.lost(owned, found.revision)
        lost = [name for name in lost if not self._moves.arriving(name)]  # the end of its move decides
        lost += [name for name in self._moves.in_doubt() if name not in lost and partition_of(name) not in owned]
        if lost:
            self._log.info("partitions went to other proxies", namespaces=len(lost), revision=found.revision)
            await self._activation_queue.make([Change(drop=lost, revision=found.revision)])
            await self._moves.dropped(lost)

    def _tell_map(self) -> None:
        if self._map.revision:
            self._map_changed(partition_map(
                self._map, arriving=self._initial_sync.expected, unsettled=frozenset(+self._unsettled)))

    def _sync_changed(self) -> None:
        expected = self._initial_sync.expected
        self._log.info("namespaces are on their way" if expected else "no more namespaces are expected",
                       namespaces=len(self._assignments))
        self._tell_map()

    def _mark_uncertain(self, name: str, seconds: float) -> None:
        """For so long nobody is told that namespaces of this name's partition do not exist."""
        self._settle(partition_of(name), 1)
        asyncio.get_running_loop().call_later(seconds, self._settle, partition_of(name), -1)

    def _settle(self, partition: int, change: int) -> None:
        before = self._unsettled[partition]
        self._unsettled[partition] += change
        if not before or not self._unsettled[partition]:
            self._tell_map()

    def _owned(self, found: pb.PartitionMap) -> frozenset[int]:
        return frozenset(partition for owner in found.owners if owner.proxy_id == self._options.proxy_id
                         for partition in range(owner.start, owner.end + 1))

    def away(self, error: AdminError) -> None:
        self._initial_sync.pause()
        problem = str(error)
        if problem != self._away:
            self._log.warning("the admin is away: serving goes on without it", endpoint=self._options.endpoint,
                              problem=problem)
            self._since = self._since if self._away else time.time()
            self._away = problem
        self._heard.set()

    # --- what the data port is asked --------------------------------------------------------------------------------

    async def answer(self, request: ControlCall) -> ControlReply:
        """The reply to one call of prism.ControlPlane or prism.Transfer, whose caller is known."""
        if request.method in MOVES:
            return await self._moves.answer(request)
        if request.method == "CreateNamespace":
            return await self._create(pb.CreateNamespaceRequest.FromString(request.message))
        if request.method == "DescribeNamespaces":
            described = self._describe(pb.DescribeNamespacesRequest.FromString(request.message))
            return ControlReply(described.SerializeToString())
        if request.method == "RevokeNamespace":
            revoked = await self._revoke(pb.NamespaceRevocation.FromString(request.message))
            return ControlReply(revoked.SerializeToString())
        assigned = await self._assign(pb.NamespaceAssignment.FromString(request.message))
        return ControlReply(assigned.SerializeToString())

    async def _assign(self, item: pb.NamespaceAssignment) -> pb.NamespaceAssignmentAck:
        try:
            if self._moves.involves(item.namespace):
                raise TranslationError("its data are moving between proxies: try again")
            if item.revision < self._map.revision and partition_of(item.namespace) not in self._owned(self._map):
                raise TranslationError(f"map {self._map.revision}, which is newer, has another owner")
            change = self._change_for(item)
        except ValueError as error:
            return pb.NamespaceAssignmentAck(success=False, message=self._refused(item.namespace, str(error)))
        if change is None:
            return pb.NamespaceAssignmentAck(success=True, message="already active")
        problem, = await self._activation_queue.make([change])
        if problem:
            return pb.NamespaceAssignmentAck(success=False, message=self._refused(item.namespace, problem))
        self._initial_sync.arrived()
        self._counts["assigned"] += 1
        self._log.info("namespace assigned", namespace=item.namespace, version=item.version, revision=item.revision)
        self._session.beat_now()
        return pb.NamespaceAssignmentAck(success=True, message="active")

    def _describe(self, request: pb.DescribeNamespacesRequest) -> pb.DescribeNamespacesResponse:
        configs = []
        for item in request.namespaces:
            with contextlib.suppress(TranslationError):  # said when it is assigned
                configs.append(self._translate(item.namespace, item.config))
        return pb.DescribeNamespacesResponse(areas=name_areas(configs))

    async def _revoke(self, item: pb.NamespaceRevocation) -> pb.NamespaceRevocationAck:
        try:
            known = self._assignments.revocable(item.namespace, item.revision)
        except ValueError as error:
            return pb.NamespaceRevocationAck(success=False, message=str(error))
        if known:
            # Callers that come next are sent on to the new owner, once the map has told who that is.
            await self._map_at(item.revision)
            grace = item.graceful_timeout_seconds or GRACE_SECONDS
            self._mark_uncertain(item.namespace, grace)
            await self._activation_queue.make([Change(drop=[item.namespace], revision=item.revision)])
            await self._moves.dropped([item.namespace])
            asyncio.get_running_loop().call_later(grace, self._end_calls, [item.namespace])
            self._counts["revoked"] += 1
            self._log.info("namespace revoked", namespace=item.namespace, revision=item.revision)
        return pb.NamespaceRevocationAck(success=True, revoked_at=int(time.time()),
                                         message="revoked" if known else "not served here")

    async def _create(self, request: pb.CreateNamespaceRequest) -> ControlReply:
        """What no proxy could serve is refused here: the admin, which knows no driver, would write it down."""
        request.requesting_proxy = self._options.proxy_id
        try:
            if request.namespace and request.config.backends:
                self._translate(request.namespace, request.config)
            created = await self._client.create_namespace(request)
        except TranslationError as error:
            return ControlReply(code=StatusCode.INVALID_ARGUMENT.value[0], reason="INVALID_NAMESPACE", text=str(error))
        except AdminError as error:
            if error.away:
                return ControlReply(code=StatusCode.UNAVAILABLE.value[0], reason="ADMIN_AWAY", text=(
                    f"the admin at {self._options.endpoint} is away, and nobody else creates namespaces: "
                    f"{error.message}"))
            return ControlReply(code=error.code.value[0], reason=error.code.name, text=error.message)
        return ControlReply(created.SerializeToString())

    # --- moves of data ----------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        return self._activation_queue.serves(name)

    async def take_in(self, item: pb.NamespaceAssignment) -> None:
        """Activate a namespace whose data will arrive. Whether it was ours before, and revoked, does not matter."""
        problem, = await self._activation_queue.make([Change(put=self._assignment(item))])
        if problem:
            raise RefusedError(problem)
        self._tasks.spawn(self._tell_progress(item.namespace))

    async def _tell_progress(self, name: str) -> None:
        """While data arrive, heartbeats tell how much of them there is."""
        while self._moves.arriving(name):
            self._session.beat_now()
            await asyncio.sleep(PROGRESS_SECONDS)

    async def give_up(self, name: str) -> None:
        """They did not come."""
        await self._activation_queue.make([Change(drop=[name], revision=self._map.revision)])

    def _change_for(self, item: pb.NamespaceAssignment) -> Change | None:
        """What an assignment changes, or None. ValueError says why this proxy cannot serve it."""
        if not item.namespace:
            raise TranslationError("the assignment names no namespace")
        if not self._assignments.is_newer(item.namespace, item.version, item.revision):
            self._assignments.confirm(item.namespace, item.revision)
            return None
        return Change(put=self._assignment(item))

    def _assignment(self, item: pb.NamespaceAssignment) -> Assignment:
        """An assignment whose files have their folders. ValueError says why this proxy cannot serve it."""
        config = self._translate(item.namespace, item.config)
        for slot in config.slots.values():
            self._files.prepare(slot.config)
        return Assignment(config, item.version, item.revision)

    def _refused(self, namespace: str, problem: str) -> str:
        self._counts["refused"] += 1
        self._mark_uncertain(namespace, 2 * self._options.heartbeat_s + PUSH_SECONDS)  # by then it was tried again
        self._log.error("an assignment was refused", namespace=namespace, problem=problem)
        return problem

    async def _map_at(self, revision: int) -> None:
        """Wait until our map is of that revision or newer, for a while."""
        async with self._map_newer:
            try:
                await asyncio.wait_for(
                    self._map_newer.wait_for(lambda: self._map.revision >= revision), MAP_SECONDS)
            except TimeoutError:
                self._log.warning("the map that revokes a namespace has not come yet", revision=revision)

    # --- what is shown ----------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For `/ready`."""
        return {"endpoint": self._options.endpoint, "proxy_id": self._options.proxy_id, "address": self._address,
                "state": "joined" if self._session.joined else "away", "problem": self._away,
                "since": int(self._since), "map_revision": self._map.revision, "namespaces": len(self._assignments),
                "more_expected": self._initial_sync.expected}

    def collect(self) -> Iterable[Metric]:
        yield gauges("prism_admin_joined", "1 while the admin knows this proxy and hears it.",
                     {(): float(self._session.joined)}, merge="max")
        yield gauges("prism_admin_map_revision", "Revision of the partition map that is active here.",
                     {(): float(self._map.revision)}, merge="max")
        yield gauges("prism_admin_namespaces", "Namespaces assigned to this proxy.",
                     {(): float(len(self._assignments))}, merge="max")
        yield counters("prism_admin_events_total", "What the admin and this proxy did.", "event", self._counts)


def make_member(
    config: ProxyConfig, ports: Sequence[int], file: tuple[NamespaceConfig, ...], apply: Apply,
    end_calls: EndCalls, families: Callable[[], Iterable[Metric | None]],
    namespaces: Callable[[], Mapping[str, NamespaceStatus]], moves: MigrationCoordinator,
    map_changed: MapChanged = lambda found: None,
) -> Member:
    """The member that settings describe; `ports` are those of `config.listen`. StartError when a file cannot be read.
    """
    options = config.admin
    address, reachable = options.advertise, config.reachable
    if not address and reachable is not None:
        address = str(replace(reachable, port=ports[config.listen.index(reachable)]))
    report = HeartbeatReport(options.proxy_id, families, namespaces)
    try:
        return Member(options, read_token(options.token_file), address, file, apply, end_calls, report.heartbeat,
                      moves, map_changed)
    except OSError as error:
        raise StartError(f"--admin-ca, --admin-cert or --admin-key: {error}") from error
