"""Changes of what is served, gathered while one is activated, and then activated together.

Each change costs a new snapshot of all namespaces, so a thousand assignments one by one would build a thousand. When
the whole is refused it is halved until those to blame are found: they are told, and the others are active.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from prism_proxy.errors import PrismError
from prism_proxy.membership.assignments import Assignment, Assignments
from prism_proxy.namespaces.model import NamespaceConfig
from prism_runtime import log
from prism_runtime.tasks import cancel

Apply = Callable[[tuple[NamespaceConfig, ...]], Awaitable[None]]


class RefusedError(ValueError):
    """A change cannot be activated; nothing of it is."""


@dataclass(eq=False)
class Change:
    """`file` are the namespaces of the file as it is now, None when it did not change. `revision` is the map's that
    takes away what is in `drop`."""

    put: Assignment | None = None
    drop: Sequence[str] = ()
    revision: int = 0
    file: tuple[NamespaceConfig, ...] | None = None
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ActivationQueue:
    """The only one who changes `assignments`. What the admin assigns wins over a namespace of the file of that name."""

    def __init__(self, assignments: Assignments, file: tuple[NamespaceConfig, ...], apply: Apply) -> None:
        self._log = log.get("prism.membership")
        self._assignments = assignments
        self._file = file
        self._apply = apply
        self._waiting: list[Change] = []
        self._task: asyncio.Task[None] | None = None

    def serves(self, name: str) -> bool:
        """Whether the file or the admin has us serve a namespace."""
        return any(config.name == name for config in (*self._file, *self._assignments.configs()))

    async def make(self, changes: Sequence[Change]) -> list[str | None]:
        """Activate them, together with what others ask for; for each what is wrong with it, or None."""
        self._waiting += changes
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        results = await asyncio.gather(*(change.done for change in changes), return_exceptions=True)
        return [str(found) if found is not None else None for found in results]

    async def close(self) -> None:
        await cancel([self._task])

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._put_in_force(batch)
            finally:
                for change in batch:
                    if not change.done.done():
                        change.done.set_exception(RefusedError("the proxy is ending, or failed; its log says more"))

    async def _put_in_force(self, batch: Sequence[Change]) -> None:
        try:
            await self._apply(self._merged(batch))
        except (ValueError, PrismError) as error:
            if len(batch) == 1:
                batch[0].done.set_exception(RefusedError(str(error)))
                return
            half = len(batch) // 2
            await self._put_in_force(batch[:half])
            await self._put_in_force(batch[half:])
            return
        for change in batch:
            if change.file is not None:
                self._file = change.file
            self._assignments.drop(change.drop, change.revision)
            if change.put is not None:
                self._assignments.put([change.put])
            if not change.done.done():
                change.done.set_result(None)

    def _merged(self, batch: Sequence[Change]) -> tuple[NamespaceConfig, ...]:
        """All namespaces, once the changes are active."""
        file = self._file
        assigned = {config.name: config for config in self._assignments.configs()}
        for change in batch:
            file = change.file if change.file is not None else file
            for name in change.drop:
                assigned.pop(name, None)
            if change.put is not None:
                assigned[change.put.config.name] = change.put.config
        return (*(config for config in file if config.name not in assigned), *assigned.values())
