"""What proxies say of their backends: whose data any proxy reaches, and whose can be moved.

The admin knows no product. A backend is shared only where the proxy that serves it says so; in doubt its data are where
that proxy is, and stay there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prism import control_plane_pb2 as pb
from prism_admin.storage.namespaces import Namespace
from prism_admin.storage.proxies import Proxy

SHARED = "shared"
MOVES_DATA_LABEL = "moves_data"  # of a registration's metadata: "1" where the proxy can hand data over


@dataclass(frozen=True, slots=True)
class Backend:
    """Whatever its settings."""

    shared: bool
    movable: bool = False


# Of proxies that say nothing of their backends: those of the versions that did not had these, and third parties'.
_BEFORE: Mapping[str, Backend] = {
    "redis": Backend(shared=True), "memstore": Backend(shared=False, movable=True),
    "sqlite": Backend(shared=False, movable=True)}
_UNKNOWN = Backend(shared=False)


def to_json(declared: Iterable[pb.BackendDeclaration]) -> dict[str, Any]:
    """What is stored of a registration."""
    return {found.backend_type: {"state": found.state, "movable": found.movable} for found in declared}


def backend_of(proxy: Proxy | None, name: str) -> Backend:
    """A backend as a proxy has it."""
    if proxy is None or not proxy.backends:
        return _BEFORE.get(name, _UNKNOWN)
    found = proxy.backends.get(name)
    return Backend(found["state"] == SHARED, bool(found["movable"])) if found is not None else _UNKNOWN


def is_local(namespace: Namespace, owner: Proxy | None) -> bool:
    """Whether its data are where its owner is, so that it cannot simply be served elsewhere."""
    return any(not backend_of(owner, name).shared for name in _backends(namespace))


def why_unmovable(namespace: Namespace, proxy: Proxy) -> str:
    """Why a proxy can neither hand over nor take the data of a namespace; empty when it can."""
    if str(proxy.metadata.get(MOVES_DATA_LABEL, "")) != "1":
        return f"{proxy.proxy_id} is of an older version, which moves no data"
    for name in _backends(namespace):
        found = backend_of(proxy, name)
        if not found.shared and not found.movable:
            return f"the data of backend {name} cannot be moved"
    return ""


def _backends(namespace: Namespace) -> Iterable[str]:
    return sorted({str(backend.get("backendType", "")) for backend in namespace.config.get("backends", {}).values()})
