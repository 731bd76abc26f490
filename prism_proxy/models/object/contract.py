"""The Object interfaces, and what a driver offers for them: an object store as `driver.objects`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prism_proxy.contracts.driver import Driver

if TYPE_CHECKING:  # every proxy reads the names of the interfaces here
    from prism_proxy.object_stores.contract import ObjectStore

STORAGE = "storage_object"
SERVICE = "object_store"
ALL = frozenset({STORAGE, SERVICE})


class ObjectDriver(Driver, Protocol):
    @property
    def objects(self) -> ObjectStore: ...
