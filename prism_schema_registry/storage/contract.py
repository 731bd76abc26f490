"""What the registry needs of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prism_schema_registry.changes import Change


class Store(Protocol):
    """`shown` names it without a password."""

    shown: str

    async def load(self) -> Sequence[Change]:
        """All that is stored, as changes to an empty catalog. StorageError."""
        ...

    async def apply(self, changes: Sequence[Change]) -> None:
        """Durable once this returns. StorageError: none of them, or, when an answer was lost, all."""
        ...

    async def close(self) -> None: ...


class Memory:
    """Keeps nothing: for tests, whose registry ends with its process."""

    shown = "memory"

    async def load(self) -> Sequence[Change]:
        return ()

    async def apply(self, changes: Sequence[Change]) -> None:
        return

    async def close(self) -> None:
        return
