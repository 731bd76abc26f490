"""A slot holds the driver that serves one role of a pattern.

Every call of a driver goes through `Slot.call`, so that raw errors become `PrismError` in one place, and retries,
circuit breaking, shedding and waiting for connections have exactly one home (`resilience`). A local store needs none of
them and pays nothing for them: it is called once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec, TypeVar

from prism_proxy.contracts.driver import Driver
from prism_proxy.contracts.pattern import SlotDeclaration
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.slots.circuit import Circuit
from prism_proxy.slots.concurrency_limiter import ConcurrencyLimiter
from prism_proxy.slots.operation import Caller, Operation
from prism_proxy.slots.options import SlotOptions
from prism_proxy.slots.outcome import finalize, with_context
from prism_proxy.slots.resilience import Resilience
from prism_proxy.slots.spans import begin, end
from prism_proxy.slots.stall_clock import StallCompensatedClock

DriverT = TypeVar("DriverT", bound=Driver)
ResultT = TypeVar("ResultT")
Args = ParamSpec("Args")


class Slot(Generic[DriverT]):
    """`name` is the slot's name in its pattern, `namespace` the one it serves; both appear in errors.

    `running` is shared by the slots of a process, or one timer each watches its stalls. `resilience` is None for a
    driver of local state. PrismError SLOT_ERROR when the driver lacks an interface that the pattern `needs`.
    """

    def __init__(
        self, name: str, namespace: str, driver: DriverT, needs: SlotDeclaration | None = None,
        options: SlotOptions | None = None, clock: Callable[[], float] = time.monotonic,
        running: StallCompensatedClock | None = None,
    ) -> None:
        declared = driver.declaration
        lacks = needs.lacks(declared.interfaces) if needs is not None else None
        if lacks is not None:
            raise PrismError(
                StatusCode.FAILED_PRECONDITION, "SLOT_ERROR",
                f"slot {name} of namespace {namespace!r} needs {lacks}, which backend "
                f"{declared.name} does not implement: choose another backend",
                {"namespace": namespace, "slot": name, "backend": declared.name})
        self.name = name
        self.namespace = namespace
        self.driver = driver
        self._where = {"namespace": namespace, "backend": declared.name, "slot": name}
        self.resilience: Resilience | None = None if declared.state == "local" else Resilience(
            self._where, driver.health, options or SlotOptions(), clock,
            StallCompensatedClock(clock) if running is None else running)
        self._patient = self.resilience.patient() if self.resilience is not None else None

    @property
    def circuit(self) -> Circuit | None:
        """What native handlers of the same backend consult and report to."""
        return None if self.resilience is None else self.resilience.circuit

    @property
    def limiter(self) -> ConcurrencyLimiter | None:
        """Where native handlers get theirs."""
        return None if self.resilience is None else self.resilience.limiter

    async def call(
        self, operation: Operation, caller: Caller | None, command: Callable[Args, Awaitable[ResultT]],
        *args: Args.args, **kwargs: Args.kwargs,
    ) -> ResultT:
        """Run one driver command for `caller`, whose deadline bounds every wait; None has all the time.

        PrismError names backend, phase, attempt and outcome; CIRCUIT_OPEN and LOAD_SHED are the slot's own. What the
        driver does not know as its backend's error is a defect and passes unchanged, as cancellation does.
        """
        return await self._run(self.resilience, operation, caller, command, *args, **kwargs)

    async def blocking(
        self, operation: Operation, caller: Caller | None, command: Callable[Args, Awaitable[ResultT]],
        *args: Args.args, **kwargs: Args.kwargs,
    ) -> ResultT:
        """As `call`, for a command that may wait for something to arrive: it takes no permit of the concurrency
        limiter, to whom a long poll would look like a slow backend, and its time is no sample of latency."""
        return await self._run(self._patient, operation, caller, command, *args, **kwargs)

    async def stream(
        self, operation: Operation, caller: Caller | None, command: Callable[Args, Awaitable[ResultT]],
        *args: Args.args, **kwargs: Args.kwargs,
    ) -> ResultT:
        """As `blocking`, for a command that opens a subscription, a read or a membership and returns when the backend
        has confirmed it. It is made again only while nothing came of it. From then on reconnecting is the driver's
        matter; what it tells of the end is put in the caller's terms by `stream_error`."""
        return await self._run(self._patient, operation, caller, command, *args, **kwargs)

    def stream_error(self, operation: Operation, raw: Exception) -> PrismError | None:
        """The caller's error for what ended an open stream; None when it is a defect of ours."""
        error = self._meaning(raw)
        return None if error is None else with_context(error, self._where, operation.name, 1)

    async def _run(
        self, guard: Resilience | None, operation: Operation, caller: Caller | None,
        command: Callable[Args, Awaitable[ResultT]], *args: Args.args, **kwargs: Args.kwargs,
    ) -> ResultT:
        if guard is not None:
            return await self._resilient(guard, operation, caller, command, *args, **kwargs)
        span = begin(caller, self._where, operation, 1)
        try:
            result = await command(*args, **kwargs)
        except Exception as raw:
            error = self._meaning(raw)
            end(span, error)
            if error is None:
                raise
            try:
                raise with_context(error, self._where, operation.name, 1) from _cause(raw)
            finally:
                del error  # its cause holds this frame: see `_resilient`
        end(span)
        return result

    async def _resilient(
        self, guard: Resilience, operation: Operation, caller: Caller | None,
        command: Callable[Args, Awaitable[ResultT]], *args: Args.args, **kwargs: Args.kwargs,
    ) -> ResultT:
        """An error that a frame holds, and that holds the frame, would keep the caller and its route until the next
        run of the garbage collector, and a driver that is not used any more open for as long."""
        guard.budget.call()
        attempt = 1
        error: PrismError | None = None
        failure: PrismError | None = None
        try:
            while True:
                try:
                    permit = await guard.admit(operation, caller)
                except PrismError as refusal:
                    raise failure or with_context(refusal, self._where, operation.name, attempt) from _cause(failure)
                began = guard.now()
                span = begin(caller, self._where, operation, attempt)
                try:
                    result = await command(*args, **kwargs)
                except Exception as raw:
                    error = self._meaning(raw)
                    end(span, error)
                    if error is None:
                        guard.cancelled(permit)
                        raise
                    guard.failed(permit, began, error)
                    failure = finalize(
                        with_context(error, self._where, operation.name, attempt), operation, guard.retry_after())
                    failure.__cause__ = _cause(raw)
                    if not await guard.should_retry(error, operation, attempt, caller):
                        raise failure from _cause(raw)
                    attempt += 1
                except BaseException:
                    guard.cancelled(permit)
                    raise
                else:
                    end(span)
                    guard.succeeded(permit, began)
                    return result
        finally:
            del error, failure

    def _meaning(self, error: Exception) -> PrismError | None:
        return error if isinstance(error, PrismError) else self.driver.classify(error)


def _cause(raw: Exception | None) -> BaseException | None:
    """What the caller's error was made of: a PrismError of the driver stands for its own cause."""
    return raw.__cause__ if isinstance(raw, PrismError) else raw
