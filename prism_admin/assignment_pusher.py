"""Brings namespaces to the proxies that own them, and remembers which have not confirmed theirs.

    push --confirmed--> active
      |
      +--silent or refused--> pending --its owner is heard from--> push

A pending namespace is stored and has an owner: it only waits to become active. Nothing here changes who owns what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from prism_admin.assignments import assignment
from prism_admin.placement import Placement
from prism_admin.proxy_client import ProxyClient, PushError, RefusedError
from prism_admin.storage.errors import NotFoundError
from prism_admin.storage.namespaces import Namespace, Namespaces
from prism_runtime import log
from prism_runtime.storage.errors import StorageError
from prism_runtime.tasks import Tasks

CONCURRENT_PUSHES = 64
_log = log.get("prism.admin.pusher")


class AssignmentPusher:
    """`address_of` names where a proxy can be dialled, or None while it is not alive; `confirmed(proxy, name,
    version, revision)` hears of each success."""

    def __init__(self, placement: Placement, namespaces: Namespaces, proxy_client: ProxyClient,
                 address_of: Callable[[str], str | None], confirmed: Callable[[str, str, int, int], None]) -> None:
        self._placement = placement
        self._namespaces = namespaces
        self._proxy_client = proxy_client
        self._address_of = address_of
        self._confirmed = confirmed
        self._pending: dict[str, str] = {}
        self._retrying: set[str] = set()
        self._tasks = Tasks()

    @property
    def pending(self) -> Mapping[str, str]:
        """Namespaces that are not active yet, each with the reason."""
        return self._pending

    def missing(self, proxy: str, names: Iterable[str]) -> None:
        """The answer to its registration brought them, and it does not serve them."""
        for name in names:
            self._pending[name] = f"{proxy} did not activate it when it registered"

    def forget(self, name: str) -> None:
        """The namespace is deleted."""
        self._pending.pop(name, None)

    async def push(self, namespace: Namespace, target: str | None = None) -> str:
        """Tell `target`, or else the owner. Never raises: what fails is pending. Returns the proxy's reason when it
        refused, else nothing."""
        current = self._placement.map
        proxy = target or current.owner(namespace.partition)
        address = self._address_of(proxy) if proxy is not None else None
        if proxy is None or address is None:
            self._pending[namespace.name] = f"{proxy or 'its proxy'} is not alive"
            return ""
        # Of the map that makes it the owner.
        revision = current.revision + (current.owner(namespace.partition) != proxy)
        try:
            await self._proxy_client.assign(address, assignment(namespace, revision))
        except PushError as error:
            refused = str(error) if isinstance(error, RefusedError) else ""
            self._pending[namespace.name] = f"{proxy} refused it: {refused}" if refused else str(error)
            _log.warning("a namespace is not active yet",
                         namespace=namespace.name, proxy=proxy, reason=str(error))
            return refused
        self._pending.pop(namespace.name, None)
        self._confirmed(proxy, namespace.name, namespace.version, revision)
        return ""

    def push_soon(self, namespaces: Iterable[Namespace], target: str) -> None:
        """Tell `target` of all of them, in the background, CONCURRENT_PUSHES at a time."""
        waiting = iter(list(namespaces))

        async def lane() -> None:
            for namespace in waiting:
                await self.push(namespace, target)

        async def run() -> None:
            await asyncio.gather(*(lane() for _ in range(CONCURRENT_PUSHES)))

        self._tasks.spawn(run())

    def retry_soon(self, proxy: str) -> None:
        """The proxy has been heard from: tell it again what it has not confirmed."""
        if self._pending and proxy not in self._retrying:
            self._retrying.add(proxy)
            self._tasks.spawn(self._retry(proxy))

    async def close(self) -> None:
        await self._tasks.close()

    async def _retry(self, proxy: str) -> None:
        try:
            for name in list(self._pending):
                try:
                    found = await self._namespaces.get(name)
                except NotFoundError:
                    self.forget(name)
                    continue
                if self._placement.map.owner(found.partition) == proxy:
                    await self.push(found)
        except StorageError as error:
            _log.warning("pending namespaces wait for the database", reason=str(error))
        finally:
            self._retrying.discard(proxy)
