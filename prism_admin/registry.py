"""Namespaces: created, changed and deleted, written down, and told to the proxy that serves them."""

from __future__ import annotations

import contextlib
from typing import Any

from prism import control_plane_pb2 as pb
from prism_admin.assignments import to_json
from prism_admin.coordinator import Coordinator
from prism_admin.layout import partition_of
from prism_admin.name_guard import Areas, NameGuard
from prism_admin.names import name_problem
from prism_admin.proxy_client import ProxyClient, PushError
from prism_admin.storage.errors import AlreadyExistsError, ConflictError, NotFoundError
from prism_admin.storage.namespaces import Namespace
from prism_admin.storage.store import Store
from prism_runtime import log

_log = log.get("prism.admin.registry")


class InvalidNamespaceError(ValueError):
    """The request cannot be carried out as it is; the message says what to change."""


class NamespaceRefusedError(InvalidNamespaceError):
    """The proxy that would serve it cannot; nothing is stored. The message has the proxy's reason."""

    def __init__(self, name: str, proxy: str, reason: str) -> None:
        super().__init__(f"{proxy} cannot serve namespace {name!r}: {reason}")


class NoOwnerError(RuntimeError):
    """No proxy serves the partition of the namespace."""


class Registry:
    """One per admin."""

    def __init__(self, store: Store, coordinator: Coordinator, proxy_client: ProxyClient) -> None:
        self._store = store
        self._coordinator = coordinator
        self._proxy_client = proxy_client
        self._names = NameGuard(store.namespaces, coordinator, proxy_client)

    async def create(self, name: str, config: pb.NamespaceConfig, *, principal: str, description: str = "",
                     metadata: dict[str, Any] | None = None) -> Namespace:
        """The stored namespace, served by its proxy, or `pending` where the proxy does not answer.

        The same again, by the same configuration, is the same again. InvalidNamespaceError, NamespaceRefusedError,
        NoOwnerError, AlreadyExistsError.
        """
        problem = name_problem(name) or config_problem(config)
        if problem:
            raise InvalidNamespaceError(problem)
        partition = partition_of(name)
        areas = await self._names.areas(name, config)
        async with self._coordinator.placement.changing() as current:
            owner = current.owner(partition)
            if owner is None:
                raise NoOwnerError(f"no proxy assigned to partition {partition} of namespace {name!r}: start one with "
                                   "--admin-endpoint")
            wanted = Namespace(name, partition, to_json(config), description=description, assigned_proxy=owner,
                               created_by=principal, metadata=metadata or {})
            self._refuse_meeting(name, areas)
            ours = True
            try:
                created = await self._store.namespaces.create(wanted)
            except AlreadyExistsError:
                ours = False
                created = await self._store.namespaces.get(name)
                if created.config != wanted.config:
                    raise
            self._names.put(name, areas)
        owner, refused = await self._push(created)
        if refused:
            if ours:
                await self._store.namespaces.delete(name)
                self._names.drop(name)
                self._coordinator.pusher.forget(name)
            raise NamespaceRefusedError(name, owner, refused)
        return created

    async def change(self, name: str, *, expected_version: int = 0, config: pb.NamespaceConfig | None = None,
                     **values: Any) -> Namespace:
        """The namespace as it is now. NotFoundError, ConflictError, InvalidNamespaceError; NamespaceRefusedError, when
        its proxy refused the configuration and goes on with the one before."""
        if config is not None:
            problem = config_problem(config)
            if problem:
                raise InvalidNamespaceError(problem)
            values["config"] = to_json(config)
        before = await self._store.namespaces.get(name)
        if config is None:
            return await self._store.namespaces.change(name, expected_version=expected_version, **values)
        areas = await self._names.areas(name, config)
        async with self._coordinator.placement.changing():
            self._refuse_meeting(name, areas)
            changed = await self._store.namespaces.change(name, expected_version=expected_version, **values)
            had = self._names.put(name, areas)
        if changed.version == before.version:
            return changed
        owner, refused = await self._push(changed)
        if refused:
            await self._take_back(before, changed, had)
            raise NamespaceRefusedError(name, owner, refused)
        return changed

    async def _push(self, namespace: Namespace) -> tuple[str, str]:
        """The owner, and why it refused; nothing, when it serves the namespace or has not answered."""
        placement = self._coordinator.placement
        while True:
            owner = placement.map.owner(namespace.partition) or ""
            refused = await self._coordinator.pusher.push(namespace)
            if not refused or owner == placement.map.owner(namespace.partition):
                return owner, refused

    def _refuse_meeting(self, name: str, areas: Areas) -> None:
        """Within `changing()` only, and the namespace is stored within the same block."""
        problem = self._names.conflict(name, areas)
        if problem:
            raise InvalidNamespaceError(f"namespace {name!r} {problem}")

    async def _take_back(self, before: Namespace, refused: Namespace, areas: Areas) -> None:
        """The configuration of before, under a version of its own, unless somebody has changed it again."""
        with contextlib.suppress(ConflictError, NotFoundError):
            restored = await self._store.namespaces.change(
                before.name, expected_version=refused.version, config=before.config, description=before.description,
                metadata=before.metadata)
            self._names.put(before.name, areas)
            await self._coordinator.pusher.push(restored)

    async def delete(self, name: str) -> None:
        """Gone from storage first, then from the proxy. NotFoundError."""
        found = await self._store.namespaces.get(name)
        await self._store.namespaces.delete(name)
        self._names.drop(name)
        self._coordinator.pusher.forget(name)
        current = self._coordinator.placement.map
        owner = current.owner(found.partition)
        address = self._coordinator.address_of(owner) if owner is not None else None
        if owner is None or address is None:
            return
        try:
            await self._proxy_client.revoke(address, pb.NamespaceRevocation(
                proxy_id=owner, namespace=name, revision=current.revision))
        except PushError as error:
            _log.warning("a deleted namespace was not revoked", namespace=name, reason=str(error))


def config_problem(config: pb.NamespaceConfig) -> str | None:
    """What the admin can tell of a configuration without knowing any driver; None when it may go to a proxy."""
    if not config.backends:
        return "a namespace needs a backend: set config.backends, such as store: {backend_type: memstore}"
    for slot, backend in config.backends.items():
        if not backend.backend_type:
            return f"config.backends[{slot!r}] has no backend_type"
    return None
