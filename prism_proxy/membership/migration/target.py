"""The target of a move: the store of one namespace, active here but unlisted, takes the records in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prism_proxy.contracts.movable import Digest, Incoming, Record, Span
from prism_proxy.membership.migration.store import movable
from prism_proxy.membership.migration.target_client import MoveError
from prism_proxy.namespaces.snapshot import Namespaces


class MigrationTarget:
    """One namespace. `begin` once its route is active, unlisted."""

    def __init__(self, move_id: str, name: str, routes: Namespaces) -> None:
        self.move_id = move_id
        self.name = name
        self._routes = routes
        self._incoming: Incoming | None = None

    async def begin(self, clock: int) -> None:
        """MoveError when its driver takes no data of another proxy."""
        self._incoming = await movable(self._routes.current.routes[self.name]).incoming(clock)

    async def put(self, records: Sequence[Record]) -> None:
        await self._begun().put(records)

    async def put_proven(self, records: Sequence[Record], horizon: int) -> Digest:
        return await self._begun().put_proven(records, horizon)

    async def digest(self, span: Span, horizon: int) -> Digest:
        return await self._begun().digest(span, horizon)

    async def hashes(self, span: Span, horizon: int) -> Mapping[bytes, int]:
        return await self._begun().hashes(span, horizon)

    async def unexpected_keys(self, horizon: int) -> tuple[Sequence[bytes], Digest]:
        return await self._begun().unexpected_keys(horizon)

    async def end(self) -> None:
        """Nothing more will be asked of it."""
        if self._incoming is not None:
            await self._incoming.end()

    def _begun(self) -> Incoming:
        if self._incoming is None:
            raise MoveError(f"the move of namespace {self.name!r} has not begun here")
        return self._incoming
