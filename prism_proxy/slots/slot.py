"""A slot holds the driver that serves one role of a pattern.

Every call of a driver goes through `Slot.call`, so that raw errors become `PrismError` in one place, and retries,
circuit breaking and connection checkout have exactly one home. Local stores need none of the three, and pay nothing for
them: today every call is tried once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec, TypeVar

from prism_proxy.contracts.driver import Driver
from prism_proxy.errors import PrismError, StatusCode

DriverT = TypeVar("DriverT", bound=Driver)
ResultT = TypeVar("ResultT")
Args = ParamSpec("Args")


class Slot(Generic[DriverT]):
    """`name` is the slot's name in its pattern, `namespace` the one it serves; both appear in errors.

    PrismError SLOT_ERROR when the driver lacks an interface that the pattern cannot do without.
    """

    def __init__(self, name: str, namespace: str, driver: DriverT, required: frozenset[str] = frozenset()) -> None:
        missing = required - driver.declaration.interfaces
        if missing:
            raise PrismError(
                StatusCode.FAILED_PRECONDITION, "SLOT_ERROR",
                f"slot {name} of namespace {namespace!r} needs {', '.join(sorted(missing))}, which backend "
                f"{driver.declaration.name} does not implement: choose another backend",
                {"namespace": namespace, "slot": name, "backend": driver.declaration.name})
        self.name = name
        self.namespace = namespace
        self.driver = driver

    async def call(
        self, operation: str, command: Callable[Args, Awaitable[ResultT]], *args: Args.args, **kwargs: Args.kwargs
    ) -> ResultT:
        """Run one driver command. PrismError names backend, phase and attempt; what the driver does not know as its
        backend's error is a defect and passes unchanged, as cancellation does."""
        try:
            return await command(*args, **kwargs)
        except PrismError as error:
            raise self._located(error, operation) from error.__cause__
        except Exception as error:
            found = self.driver.classify(error)
            if found is None:
                raise
            raise self._located(found, operation) from error

    def _located(self, error: PrismError, operation: str) -> PrismError:
        where = {"namespace": self.namespace, "backend": self.driver.declaration.name, "slot": self.name,
                 "operation": operation, "phase": "execute", "attempt": "1"}
        return dataclasses.replace(error, metadata={**where, **error.metadata})
