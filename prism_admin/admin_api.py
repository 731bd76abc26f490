"""prism.admin.v1.AdminService: what operators and tools ask of the admin. Thin; secrets never leave through it."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from prism import control_plane_pb2 as cp
from prism.admin.v1 import admin_pb2 as pb
from prism.admin.v1 import admin_pb2_grpc
from prism_admin import layout
from prism_admin.assignments import to_config
from prism_admin.coordinator import Change, Coordinator
from prism_admin.layout import Layout, Move
from prism_admin.masking import masked
from prism_admin.membership import Status
from prism_admin.names import name_problem
from prism_admin.registry import InvalidNamespaceError, Registry
from prism_admin.security import principal_of
from prism_admin.storage.audit import Audit, Entry
from prism_admin.storage.namespaces import Namespace
from prism_admin.storage.store import Store

Context = Any  # grpc.aio.ServicerContext
MAX_PAGE = 1000
DEFAULT_PAGE = 100


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """One per admin."""

    def __init__(self, store: Store, coordinator: Coordinator, registry: Registry, audit: Audit) -> None:
        self._store = store
        self._coordinator = coordinator
        self._registry = registry
        self._audit = audit

    # --- namespaces ---------------------------------------------------------------------------------------------------

    async def ListNamespaces(  # noqa: N802 - the contract's name
        self, request: pb.ListNamespacesRequest, context: Context
    ) -> pb.ListNamespacesResponse:
        size = _page_size(request.page_size)
        after = _decode_token(request.page_token) if request.page_token else ""
        found = await self._store.namespaces.page(after=after, limit=size + 1)
        answer = pb.ListNamespacesResponse(namespaces=[self._info(namespace) for namespace in found[:size]])
        if len(found) > size:
            answer.next_page_token = _encode_token(found[size - 1].name)
        return answer

    async def GetNamespace(  # noqa: N802 - the contract's name
        self, request: pb.GetNamespaceRequest, context: Context
    ) -> pb.GetNamespaceResponse:
        return pb.GetNamespaceResponse(namespace=self._info(await self._store.namespaces.get(request.name)))

    async def CreateNamespace(  # noqa: N802 - the contract's name
        self, request: pb.CreateNamespaceRequest, context: Context
    ) -> pb.CreateNamespaceResponse:
        metadata: dict[str, Any] = {"owner": request.owner, "tags": list(request.tags), "labels": dict(request.labels)}
        if request.HasField("quota"):
            metadata["quota"] = _quota(request.quota)
        created = await self._registry.create(
            request.name, request.config, principal=principal_of(context), description=request.description,
            metadata=metadata)
        return pb.CreateNamespaceResponse(namespace=self._info(created))

    async def UpdateNamespace(  # noqa: N802 - the contract's name
        self, request: pb.UpdateNamespaceRequest, context: Context
    ) -> pb.UpdateNamespaceResponse:
        values: dict[str, Any] = {}
        if request.HasField("description"):
            values["description"] = request.description
        if request.HasField("quota") or request.HasField("owner"):
            metadata = dict((await self._store.namespaces.get(request.name)).metadata)
            if request.HasField("quota"):
                metadata["quota"] = _quota(request.quota)
            if request.HasField("owner"):
                metadata["owner"] = request.owner
            values["metadata"] = metadata
        changed = await self._registry.change(
            request.name, expected_version=request.expected_version,
            config=request.config if request.HasField("config") else None, **values)
        return pb.UpdateNamespaceResponse(namespace=self._info(changed))

    async def DeleteNamespace(  # noqa: N802 - the contract's name
        self, request: pb.DeleteNamespaceRequest, context: Context
    ) -> pb.DeleteNamespaceResponse:
        await self._registry.delete(request.name)
        return pb.DeleteNamespaceResponse(success=True)

    async def ReassignNamespace(  # noqa: N802 - the contract's name
        self, request: pb.ReassignNamespaceRequest, context: Context
    ) -> pb.ReassignNamespaceResponse:
        if not request.accept_data_loss:
            raise InvalidNamespaceError(
                f"what only the proxy of namespace {request.name!r} has would be gone: set accept_data_loss to say "
                "that this is understood")
        found = await self._store.namespaces.get(request.name)
        await self._coordinator.abandon(found.partition, request.proxy_id)
        return pb.ReassignNamespaceResponse(namespace=self._info(await self._store.namespaces.get(request.name)))

    # --- proxies and partitions ---------------------------------------------------------------------------------------

    async def ListProxies(  # noqa: N802 - the contract's name
        self, request: pb.ListProxiesRequest, context: Context
    ) -> pb.ListProxiesResponse:
        current = self._coordinator.placement.map
        served: dict[str, int] = defaultdict(int)
        for namespace in await self._store.namespaces.page():
            served[current.owner(namespace.partition) or ""] += 1
        answer = pb.ListProxiesResponse()
        for proxy in await self._store.proxies.list():
            heartbeat = self._coordinator.health(proxy.proxy_id)
            info = answer.proxies.add(
                proxy_id=proxy.proxy_id, address=proxy.address, region=proxy.region, version=proxy.version,
                status=self._coordinator.status(proxy.proxy_id).value, capabilities=proxy.capabilities,
                metadata={key: str(value) for key, value in proxy.metadata.items()}, namespaces=served[proxy.proxy_id],
                last_seen=_timestamp(self._coordinator.last_seen(proxy.proxy_id) or proxy.last_seen))
            info.partition_ranges.extend(
                cp.PartitionRange(start=start, end=end)
                for start, end, _ in layout.ranges(current.layout, proxy.proxy_id))
            if heartbeat is not None:
                info.storage_bytes = sum(found.storage_bytes for found in heartbeat.namespace_health.values())
                if heartbeat.HasField("resources"):
                    info.resources.CopyFrom(heartbeat.resources)
        return answer

    async def GetPartitionMap(  # noqa: N802 - the contract's name
        self, request: pb.GetPartitionMapRequest, context: Context
    ) -> pb.GetPartitionMapResponse:
        answer = pb.GetPartitionMapResponse(
            map=self._coordinator.partition_map(), moving=self._coordinator.moving,
            alarm=self._coordinator.alarm)
        for namespace in await self._store.namespaces.page():
            answer.namespaces[namespace.partition].names.append(namespace.name)
        for partition, target in self._coordinator.data_moves.wanted.items():
            source = self._coordinator.placement.map.owner(partition)
            names = answer.namespaces[partition].names
            answer.progress[partition].MergeFrom(pb.MoveProgress(
                moved_bytes=self._stored(target, names), total_bytes=self._stored(source, names)))
        return answer

    async def PlanRebalance(  # noqa: N802 - the contract's name
        self, request: pb.PlanRebalanceRequest, context: Context
    ) -> pb.PlanRebalanceResponse:
        if bool(request.join) + bool(request.leave) + request.contiguous != 1:
            raise ValueError("name one of join, leave and contiguous")
        revision = self._coordinator.placement.map.revision
        change = await self._coordinator.plan(
            joining=request.join, leaving=request.leave, contiguous=request.contiguous)
        return pb.PlanRebalanceResponse(
            before=_owners(change.before), after=_owners(change.after), moves=await self._moves(change.moves),
            refused=change.stay, map_revision=revision)

    async def Rebalance(  # noqa: N802 - the contract's name
        self, request: pb.RebalanceRequest, context: Context
    ) -> pb.RebalanceResponse:
        if bool(request.leave) + request.contiguous != 1:
            raise ValueError("name one of leave and contiguous")
        change: Change = await self._coordinator.rebalance(
            leaving=request.leave, contiguous=request.contiguous, expected=request.expected_revision)
        return pb.RebalanceResponse(moves=await self._moves(change.moves), refused=change.stay,
                                    map_revision=self._coordinator.placement.map.revision)

    async def _moves(self, moves: Iterable[Move]) -> list[pb.PartitionMove]:
        names: dict[int, list[str]] = defaultdict(list)
        for namespace in await self._store.namespaces.page():
            names[namespace.partition].append(namespace.name)
        return [pb.PartitionMove(partition=move.partition, source=move.source or "", target=move.target or "",
                                 namespaces=names[move.partition]) for move in moves]

    # --- audit and version --------------------------------------------------------------------------------------------

    async def GetAuditLog(  # noqa: N802 - the contract's name
        self, request: pb.GetAuditLogRequest, context: Context
    ) -> AsyncIterator[pb.AuditLogEntry]:
        await self._audit.flush()
        limit = _page_size(request.limit)
        for identifier, entry in await self._audit.query(
                namespace=request.namespace if request.HasField("namespace") else None,
                user=request.actor if request.HasField("actor") else None,
                action=request.operation if request.HasField("operation") else None,
                start=_datetime(request.start_time) if request.HasField("start_time") else None,
                end=_datetime(request.end_time) if request.HasField("end_time") else None, limit=limit):
            yield _audit_entry(identifier, entry)

    async def GetVersion(  # noqa: N802 - the contract's name
        self, request: pb.GetVersionRequest, context: Context
    ) -> pb.GetVersionResponse:
        return pb.GetVersionResponse(api_version=2, min_supported=1, supported=[1, 2], features={
            "namespaces": True, "partitions": True, "audit": True, "launchers": False, "sessions": False})

    # --- forms --------------------------------------------------------------------------------------------------------

    def _info(self, namespace: Namespace) -> pb.NamespaceInfo:
        metadata = namespace.metadata
        return pb.NamespaceInfo(
            name=namespace.name, description=namespace.description, created_at=_timestamp(namespace.created_at),
            updated_at=_timestamp(namespace.updated_at), status=pb.NAMESPACE_STATUS_ACTIVE,
            quota=pb.NamespaceQuota(**metadata.get("quota", {})), config=to_config(masked(namespace.config)),
            config_version=namespace.version, partition_id=namespace.partition,
            assigned_proxy=namespace.assigned_proxy or "", health=self._health(namespace),
            metrics=self._metrics(namespace), owner=metadata.get("owner", ""), tags=metadata.get("tags", ()),
            labels=metadata.get("labels", {}), created_by=namespace.created_by, reason=self._reason(namespace))

    def _health(self, namespace: Namespace) -> str:
        owner = self._coordinator.placement.map.owner(namespace.partition)
        if owner is None or self._coordinator.status(owner).gone:
            return "owner_down"
        if namespace.name in self._coordinator.pusher.pending:
            return "pending"
        heartbeat = self._coordinator.health(owner)
        known: Mapping[str, cp.NamespaceHealth] = heartbeat.namespace_health if heartbeat is not None else {}
        return known[namespace.name].status if namespace.name in known else "unknown"

    def _reason(self, namespace: Namespace) -> str:
        owner = self._coordinator.placement.map.owner(namespace.partition)
        if owner is None:
            return f"no proxy owns partition {namespace.partition}"
        if self._coordinator.status(owner).gone:
            return f"{owner} has left" if self._coordinator.status(owner) is Status.LEFT else f"{owner} is silent"
        return self._coordinator.pusher.pending.get(namespace.name, "")

    def _stored(self, proxy: str | None, names: Iterable[str]) -> int:
        heartbeat = self._coordinator.health(proxy) if proxy is not None else None
        return sum(heartbeat.namespace_health[name].storage_bytes for name in names
                   if name in heartbeat.namespace_health) if heartbeat is not None else 0

    def _metrics(self, namespace: Namespace) -> pb.NamespaceMetrics:
        owner = self._coordinator.placement.map.owner(namespace.partition)
        heartbeat = self._coordinator.health(owner) if owner is not None else None
        if heartbeat is None or namespace.name not in heartbeat.namespace_health:
            return pb.NamespaceMetrics()
        found = heartbeat.namespace_health[namespace.name]
        return pb.NamespaceMetrics(active_sessions=found.active_sessions, requests_per_second=found.requests_per_second,
                                   storage_bytes_used=found.storage_bytes)


def _audit_entry(identifier: int, entry: Entry) -> pb.AuditLogEntry:
    metadata = {"method": entry.method, "path": entry.path, "client_ip": entry.client_ip,
                "user_agent": entry.user_agent, "request_id": entry.request_id, "duration_ms": str(entry.duration_ms)}
    answer = pb.AuditLogEntry(
        id=str(identifier), timestamp=_timestamp(entry.timestamp), actor=entry.user, operation=entry.action,
        resource=f"{entry.resource_type}:{entry.resource_id}", namespace=entry.namespace,
        metadata={key: value for key, value in metadata.items() if value}, success=entry.status_code == 0)
    if entry.error:
        answer.error = entry.error
    return answer


def _owners(found: Layout) -> list[cp.PartitionOwner]:
    return [cp.PartitionOwner(start=start, end=end, proxy_id=owner) for start, end, owner in layout.ranges(found)]


def _quota(quota: pb.NamespaceQuota) -> dict[str, int]:
    return {"max_sessions": quota.max_sessions, "max_storage_bytes": quota.max_storage_bytes, "max_rps": quota.max_rps}


def _page_size(wanted: int) -> int:
    if not 0 <= wanted <= MAX_PAGE:
        raise ValueError(f"page size {wanted} is not within 1 to {MAX_PAGE}")
    return wanted or DEFAULT_PAGE


def _encode_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _decode_token(token: str) -> str:
    try:
        name = base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError:
        name = ""
    if name_problem(name):
        raise ValueError("page_token is not one that this service gave")
    return name


def _timestamp(when: datetime | None) -> Timestamp | None:
    if when is None:
        return None
    found = Timestamp()
    found.FromDatetime(when)
    return found


def _datetime(when: Timestamp) -> datetime:
    return when.ToDatetime(tzinfo=UTC)
