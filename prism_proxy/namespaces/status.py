"""The state of a namespace as operators see it.

The supervisor of workers uses it too, so it must not import what serves calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prism_proxy.contracts.driver import Health


@dataclass(frozen=True, slots=True)
class NamespaceStatus:
    """`health` is the value of a `contracts.driver.Health`; `details` are further facts for operators. `stored_bytes`
    are those of local drivers, 0 where they do not tell."""

    backend: str
    health: int
    message: str
    state: str
    durability: str
    details: Mapping[str, Any] = field(default_factory=dict)
    stored_bytes: int = 0

    @property
    def serving(self) -> bool:
        return self.health != Health.UNHEALTHY.value

    def shown(self) -> dict[str, Any]:
        """The form of `/ready`."""
        return {"backend": self.backend, "health": Health(self.health).name.lower(), "message": self.message,
                "state": self.state, "durability": self.durability, **self.details}


def readiness(state: str, namespaces: Mapping[str, NamespaceStatus]) -> tuple[bool, dict[str, object]]:
    """Ready while calls are served. A namespace takes readiness away only when none can be served, each for a reason of
    this process or machine: the same calls may succeed elsewhere, which is not so of a shared backend."""
    stranded = bool(namespaces) and all(
        status.state == "local" and not status.serving for status in namespaces.values())
    return state == "running" and not stranded, {
        "state": state, "namespaces": {name: status.shown() for name, status in namespaces.items()}}
