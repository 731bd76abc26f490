"""A slot holds the driver that serves one role of a pattern.

Every call of a driver goes through `Slot.call`, so that raw errors become `PrismError` in one place, and retries, circuit
breaking and connection checkout have exactly one home. Local stores need none of the three, and pay nothing for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Generic, TypeVar

from prism_proxy.contracts.driver import Driver
from prism_proxy.errors import PrismError, StatusCode

DriverT = TypeVar("DriverT", bound=Driver)
ResultT = TypeVar("ResultT")


class Slot(Generic[DriverT]):
    """`name` is the slot's name in its pattern, `namespace` the one it serves; both appear in errors."""

    def __init__(self, name: str, namespace: str, driver: DriverT) -> None:
        self.name = name
        self.namespace = namespace
        self.driver = driver

    async def call(self, operation: str, command: Awaitable[ResultT]) -> ResultT:
        """Await one driver command. PrismError names backend, phase and attempt; cancellation passes."""
        try:
            return await command
        except (PrismError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the one place where a driver's errors end
            raise self._classified(operation, error) from error

    def _classified(self, operation: str, error: Exception) -> PrismError:
        backend = self.driver.declaration.name
        found = self.driver.classify(error)
        if found is None:
            found = PrismError(StatusCode.INTERNAL, "BACKEND_DEFECT",
                               f"the {backend} driver failed unexpectedly in {operation}: {type(error).__name__}")
        found.metadata = {**found.metadata, "namespace": self.namespace, "backend": backend, "slot": self.name,
                          "operation": operation, "phase": "execute", "attempt": "1"}
        return found
