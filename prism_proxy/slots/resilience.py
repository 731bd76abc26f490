"""Guards a shared backend: circuit breaker, concurrency limiter, retry budget, and waiting for a lost connection.

A call is admitted, made, and reported. After a failure `should_retry` waits for the backoff and says whether to make
the call again. This module knows no command and no result.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Mapping

from prism_proxy.contracts.driver import HealthReport
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.slots.budget import RetryBudget
from prism_proxy.slots.circuit import Circuit, State
from prism_proxy.slots.concurrency_limiter import ConcurrencyLimiter
from prism_proxy.slots.operation import Caller, Operation
from prism_proxy.slots.options import SlotOptions
from prism_proxy.slots.outcome import NOT_EXECUTED, backend_failed, repeatable, transient, with_context
from prism_proxy.slots.reconnection import Reconnection
from prism_proxy.slots.stall_clock import Moment, StallCompensatedClock
from prism_proxy.telemetry.outage import Outage
from prism_runtime import log

RETRY_SOON_S = 0.1
RETRY_SHED_S = 1.0


class Resilience:
    """`where` names namespace, backend and slot. `clock` is monotonic seconds, of which `running` knows those in which
    this process ran; `jitter(low, high)` draws a number between."""

    def __init__(self, where: Mapping[str, str], health: Callable[[], HealthReport], options: SlotOptions,
                 clock: Callable[[], float], running: StallCompensatedClock,
                 jitter: Callable[[float, float], float] = random.uniform) -> None:
        self._where = where
        self._namespace, self._backend = where["namespace"], where["backend"]
        self._retries = options.retries
        self._jitter = jitter
        self.now = running.now
        self._outage = Outage(log.get("prism.slots"), "circuit opened", "circuit closed", clock, **where)
        self.circuit = Circuit(options.circuit, clock, self._circuit_changed)
        self.reconnection = Reconnection(health, self.circuit, options.reconnect, clock)
        self.limiter = (ConcurrencyLimiter(options.concurrency, running, self._refusal)
                        if options.concurrency.adaptive else None)
        self.budget = RetryBudget(options.retries.budget_ratio, options.retries.budget_floor_per_s, clock)

    @property
    def retried(self) -> int:
        return self.budget.retried

    def patient(self) -> Resilience:
        """The same, for calls that last as long as their caller wants: they take no permit, and say nothing of how
        quick the backend is."""
        other = copy.copy(self)
        other.limiter = None
        return other

    async def admit(self, operation: Operation, caller: Caller | None) -> int:
        """A permit to call the backend. PrismError CIRCUIT_OPEN or LOAD_SHED: the call must not be made."""
        circuit, limiter = self.circuit, self.limiter
        while True:
            if not circuit.closed and not circuit.allows():
                if not self.reconnection.expected() or not await self.reconnection.wait(_remaining(caller)):
                    raise self._circuit_open()
                continue
            if (limiter is not None and not limiter.enter(bulk=operation.bulk)
                    and not await limiter.wait(bulk=operation.bulk)):
                raise self._shed()
            permit = circuit.admit()
            if permit is not None:
                return permit
            if limiter is not None:
                limiter.leave()

    def succeeded(self, permit: int, began: Moment) -> None:
        self.circuit.succeeded(permit)
        self._left(began)

    def failed(self, permit: int, began: Moment, error: PrismError) -> None:
        """The call ended with an error, which need not be the backend's fault."""
        if transient(error):
            self.reconnection.look()
        if not backend_failed(error):
            self.circuit.succeeded(permit)  # it answered; a refusal is fast, and says nothing of how busy it is
            self._left(None)
            return
        self.circuit.failed(permit, error.reason)
        # What failed at once must not pass for fast.
        self._left(began if error.code is StatusCode.DEADLINE_EXCEEDED else None)

    def cancelled(self, permit: int) -> None:
        """The call ended without telling anything of the backend: its caller went away, or a defect ended it."""
        self.circuit.released(permit)
        self._left(None)

    async def should_retry(self, error: PrismError, operation: Operation, attempt: int, caller: Caller | None) -> bool:
        """Whether to make a call again that failed, after waiting as long as is fit within the caller's deadline."""
        if not repeatable(error, operation, writes=self._retries.retry_writes):
            return False
        remaining = _remaining(caller)
        if self.reconnection.expected():
            # What waits for the link adds nothing to the backend's load: time bounds it, not attempts or the budget.
            again = await self.reconnection.wait(remaining)
        elif attempt >= self._retries.max_attempts:
            again = False
        else:
            pause = self._jitter(0, self._ceiling(attempt))
            again = ((remaining is None or pause < remaining) and self.circuit.allows() and self.budget.retry())
            if again:
                await asyncio.sleep(pause)
        self.budget.retried += again
        return again

    def retry_after(self) -> float:
        """Seconds after which a caller may try again what failed."""
        return max(self._retries.backoff_max_s, self.circuit.retry_after())

    def _ceiling(self, attempt: int) -> float:
        return min(self._retries.backoff_max_s, self._retries.backoff_first_s * 2.0 ** (attempt - 1))

    def _left(self, began: Moment | None) -> None:
        if self.limiter is not None:
            self.limiter.leave(began)

    def _circuit_changed(self, state: State) -> None:
        self.reconnection.circuit_changed(state)
        if state is State.OPEN:
            self._outage.begin(reason=self.circuit.last_failure, failures=self.circuit.max_failures)
        elif state is State.CLOSED:
            self._outage.end()

    def _circuit_open(self) -> PrismError:
        after = max(RETRY_SOON_S, self.circuit.retry_after())
        return PrismError(
            StatusCode.UNAVAILABLE, "CIRCUIT_OPEN",
            f"backend {self._backend} of namespace {self._namespace!r} failed {self.circuit.max_failures} times in a "
            f"row, last with {self.circuit.last_failure}: calls are refused until it answers a probe",
            {"outcome": NOT_EXECUTED, "phase": "admit", "last_failure": self.circuit.last_failure}, after)

    def _refusal(self, operation: str) -> PrismError:
        """What a native handler tells a call that got no permit."""
        return with_context(self._shed(), self._where, operation, 1)

    def _shed(self) -> PrismError:
        return PrismError(
            StatusCode.RESOURCE_EXHAUSTED, "LOAD_SHED",
            f"backend {self._backend} of namespace {self._namespace!r} gets more calls than it can take: slow down",
            {"outcome": NOT_EXECUTED, "phase": "admit"}, self._jitter(RETRY_SHED_S / 2, RETRY_SHED_S))


def _remaining(caller: Caller | None) -> float | None:
    return None if caller is None else caller.time_remaining()
