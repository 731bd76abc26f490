"""The states of all namespaces, put together from what each worker says of those it serves."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from prism_proxy.contracts.driver import VOLATILE, Health
from prism_proxy.namespaces.status import NamespaceStatus


@dataclass
class _Loss:
    """What the ends of its workers did to a namespace."""

    restarts: int = 0
    lost_at: str | None = None
    known: NamespaceStatus | None = None


@dataclass
class StatusAggregator:
    """`put` what a worker says, `lost` when it ends. A namespace with local state has one worker, the others have it
    open in all of them: the worst state counts, so that all workers show the same. `wall` is epoch seconds."""

    wall: Callable[[], float] = time.time
    _by_worker: dict[int, Mapping[str, NamespaceStatus]] = field(default_factory=dict)
    _losses: dict[str, _Loss] = field(default_factory=dict)

    def put(self, worker: int, states: Mapping[str, NamespaceStatus]) -> None:
        self._by_worker[worker] = states

    def lost(self, worker: int) -> None:
        """A worker ended: its local namespaces are down until it reports them again."""
        for name, status in self._by_worker.pop(worker, {}).items():
            if status.state != "local":
                continue
            loss = self._losses.setdefault(name, _Loss())
            loss.restarts += 1
            loss.known = status
            if status.durability == VOLATILE:
                loss.lost_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.wall()))

    def keep(self, names: Set[str]) -> None:
        """Forget all other namespaces: they are configured no longer."""
        for name in self._losses.keys() - names:
            del self._losses[name]

    def states(self) -> dict[str, NamespaceStatus]:
        """Every namespace, by name."""
        merged: dict[str, NamespaceStatus] = {}
        for states in self._by_worker.values():
            for name, status in states.items():
                known = merged.get(name)
                if known is None or status.health > known.health:
                    merged[name] = status
        for name, loss in self._losses.items():
            if name not in merged and loss.known is not None:
                merged[name] = dataclasses.replace(
                    loss.known, health=Health.UNHEALTHY.value, message="the worker that holds it is being restarted")
        return {name: self._detailed(name, status) for name, status in sorted(merged.items())}

    def _detailed(self, name: str, status: NamespaceStatus) -> NamespaceStatus:
        details = dict(status.details)
        if status.durability == VOLATILE:
            details["volatile"] = True
        loss = self._losses.get(name)
        if loss is not None:
            details["restarts"] = loss.restarts
            if loss.lost_at is not None:
                details["lost_at"] = loss.lost_at
        return dataclasses.replace(status, details=details)
