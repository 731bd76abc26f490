"""What a registration says of this proxy's backends, so that the admin need not know any product.

A backend that says nothing without an instance counts as local and not movable: its data stay where they are.
"""

from __future__ import annotations

from prism import control_plane_pb2 as pb
from prism_proxy import standard
from prism_runtime import log


def declared_backends() -> list[pb.BackendDeclaration]:
    """All backends that can be loaded here, third parties' included."""
    found = []
    for name in standard.backends():
        try:
            declared = standard.declares(name)
        except Exception as error:  # noqa: BLE001 - a third party's module may raise anything, and costs only its backend
            log.get("prism.membership").error("a backend cannot be loaded", backend=name, exc_info=error)
            continue
        found.append(pb.BackendDeclaration(
            backend_type=name, state=declared.state if declared is not None else "local",
            movable=declared is not None and declared.movable))
    return found
