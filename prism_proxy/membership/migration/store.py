"""Finds the data of a namespace that can move to another proxy."""

from __future__ import annotations

from typing import Any

from prism_proxy.contracts.movable import Movable
from prism_proxy.membership.migration.target_client import MoveError
from prism_proxy.namespaces.snapshot import LOCAL, Route


def movable(route: Route) -> Movable:
    """The one driver whose data are in this process. MoveError when there are several, or its data cannot move."""
    local = [slot for slot in route.slots.values() if slot.driver.declaration.state == LOCAL]
    if len(local) != 1:
        raise MoveError(f"namespace {route.namespace!r} has {len(local)} stores in this proxy: only one can move")
    driver: Any = local[0].driver
    if not hasattr(driver, "outgoing"):
        raise MoveError(f"backend {driver.declaration.name} of namespace {route.namespace!r} cannot hand over its data")
    found: Movable = driver
    return found
