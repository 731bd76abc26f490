"""Any object store as the driver of a slot. `objects` is the store itself."""

from __future__ import annotations

import time
from typing import Protocol

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError
from prism_proxy.object_stores.contract import ObjectStore
from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError, classify

DEGRADED_S = 10.0  # after a failure
_AWAY = (ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT)


class ObjectsConfig(Protocol):
    """Settings of an object store as a driver."""

    @property
    def declaration(self) -> Declaration: ...

    def store(self) -> ObjectStore:
        """A new store, not open yet. ModuleNotFoundError where its extra is not installed."""
        ...


class ObjectsDriver:
    """A `Driver`. Its health is what the calls of the last seconds met: a store that nobody asks is not watched."""

    def __init__(self, config: ObjectsConfig) -> None:
        self.declaration = config.declaration
        self.objects = config.store()
        self._closed = False
        self._failed: tuple[float, str] | None = None

    async def open(self) -> None:
        await self.objects.open()

    async def drain(self, deadline_s: float) -> None:
        """Calls end by themselves."""

    async def close(self) -> None:
        self._closed = True
        await self.objects.close()

    def health(self) -> HealthReport:
        if self._failed is not None and time.monotonic() - self._failed[0] < DEGRADED_S:
            return HealthReport(Health.DEGRADED, self._failed[1], closed=self._closed)
        return HealthReport(Health.HEALTHY, closed=self._closed)

    def classify(self, error: Exception) -> PrismError | None:
        if isinstance(error, ObjectStoreError) and error.code in _AWAY:
            self._failed = time.monotonic(), error.message
        return classify(error, self.declaration.name)
