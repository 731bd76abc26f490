"""Keeps namespaces apart whose names would meet at a server, whichever proxies serve them.

What a configuration leads to is asked of a proxy before anything is stored. Where no proxy can tell, which is so while
all are of an older version or away, nothing is refused here, and the next one that can is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prism import control_plane_pb2 as pb
from prism_admin.assignments import to_config
from prism_admin.coordinator import Coordinator
from prism_admin.layout import partition_of
from prism_admin.name_areas import Holder, by_namespace
from prism_admin.proxy_client import ProxyClient, PushError
from prism_admin.storage.namespaces import Namespaces
from prism_runtime import log

ASKED_AT_ONCE = 500  # namespaces of one request
Areas = Sequence[pb.NameArea] | None  # None where no proxy could tell
_log = log.get("prism.admin.names")


class NameGuard:
    """`put` and `drop` follow what is stored; what was stored before is learned at the first use."""

    def __init__(self, namespaces: Namespaces, coordinator: Coordinator, proxy_client: ProxyClient) -> None:
        self._namespaces = namespaces
        self._coordinator = coordinator
        self._proxy_client = proxy_client
        self._index = coordinator.name_areas
        self._known: dict[str, Areas] = {}
        self._unknown: set[str] = set()
        self._read = False
        self._dropped: set[str] = set()  # while rows are learned
        self._learning = asyncio.Lock()

    async def areas(self, name: str, config: pb.NamespaceConfig) -> Areas:
        """Where a namespace of this configuration would have its names."""
        found = await self._ask([pb.NamespaceAssignment(namespace=name, config=config)], partition_of(name))
        if found is None:
            _log.warning("no proxy can tell where a namespace has its names: they are not compared", namespace=name)
        else:
            async with self._learning:
                if not self._read or self._unknown:
                    await self._learn(name)
        return found

    def conflict(self, name: str, areas: Areas) -> str:
        """Why the namespace cannot have them, as words that follow its name; empty when it can."""
        return self._index.conflict(Holder(name), areas or ())

    def put(self, name: str, areas: Areas) -> Areas:
        """The namespace is stored so; what it had."""
        had = self._known.get(name)
        self._dropped.discard(name)
        self._unknown.discard(name)
        if areas is None:
            self._unknown.add(name)
        self._known[name] = areas
        self._index.put(Holder(name), areas or ())
        return had

    def drop(self, name: str) -> None:
        self._known.pop(name, None)
        self._unknown.discard(name)
        self._dropped.add(name)
        self._index.drop(Holder(name))

    async def _learn(self, besides: str) -> None:
        """Of all that are stored and not known, or as many as proxies tell."""
        self._dropped.clear()
        rows = [row for row in await self._namespaces.page()
                if row.name != besides and self._known.get(row.name) is None]
        for start in range(0, len(rows), ASKED_AT_ONCE):
            asked = rows[start:start + ASKED_AT_ONCE]
            found = await self._ask([pb.NamespaceAssignment(namespace=row.name, config=to_config(row.config))
                                     for row in asked], asked[0].partition)
            if found is None:
                return
            its = by_namespace(found)
            for name in (row.name for row in asked):
                if self._known.get(name) is None and name not in self._dropped:
                    self.put(name, its.get(name, ()))
        self._read = True

    async def _ask(self, items: Sequence[pb.NamespaceAssignment], partition: int) -> Areas:
        """The proxy of the partition, or else any that can tell."""
        owner = self._coordinator.placement.map.owner(partition)
        for proxy in sorted(self._coordinator.proxies(), key=lambda proxy: proxy != owner):
            address = self._coordinator.address_of(proxy)
            if address is not None:
                try:
                    return await self._proxy_client.describe(address, items)
                except PushError as error:
                    _log.debug("a proxy does not tell where namespaces have their names", proxy=proxy,
                               reason=str(error))
        return None
