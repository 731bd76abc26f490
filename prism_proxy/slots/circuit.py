"""The circuit breaker of a slot: leaves a failing backend alone, and finds out when it is well again.

              max_failures in a row                time over, or backend returned:
                                                   the next call is the probe
    closed ──────────────────────────▶ open ──────────────────────────────────▶ half open
      ▲                                 ▲                                        │     │
      │                                 └────────────── probe failed ────────────┘     │
      └──────────────────────────────────────────────── probe succeeded ───────────────┘

One probe at a time; a probe that was given up (its caller went away) frees the place for the next. A report of a call
that began before the last change of state says nothing of the present one, and is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from prism_proxy._native.slots.circuit import CircuitCore
from prism_proxy.slots.options import CircuitOptions


class State(Enum):
    """Values are those of the metric `prism_circuit_state`."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Circuit(CircuitCore):
    """`clock` is monotonic seconds; `on_change` hears of every change of state.

    A call is `admit`ted, which gives a permit (or None), and reports `succeeded`, `failed` or `released` with it.
    """

    def __init__(self, options: CircuitOptions, clock: Callable[[], float],
                 on_change: Callable[[State], None] = lambda state: None) -> None:
        super().__init__(options.max_failures)
        self._reset_timeout_s = options.reset_timeout_s
        self._clock = clock
        self._on_change = on_change
        self._epoch = 0  # counts changes of state; a permit is the epoch it was given in
        self._probing = False
        self._probe_at = 0.0
        self.state = State.CLOSED
        self.opened = 0  # times
        self.last_failure = ""  # the reason of the error that opened it

    def allows(self) -> bool:
        """Whether `admit` would give a permit now."""
        if self.closed:
            return True
        if self.state is State.OPEN:
            return self._clock() >= self._probe_at
        return not self._probing

    def admit(self) -> int | None:
        """A permit; None when the call must not be made. Unless closed, a permit makes the call the probe."""
        if self.closed:
            return self._epoch
        if not self.allows():
            return None
        if self.state is State.OPEN:
            self._enter(State.HALF_OPEN)
        self._probing = True
        return self._epoch

    def succeeded(self, permit: int) -> None:
        if permit != self._epoch:
            return
        if self.closed:
            self.record_success()
        else:
            self._enter(State.CLOSED)

    def failed(self, permit: int, reason: str) -> None:
        """The call failed by the backend's fault."""
        if permit != self._epoch:
            return
        if self.closed:
            self.record_failure(reason)
        else:
            self.tripped(reason)

    def released(self, permit: int) -> None:
        """The call ended without saying anything about the backend."""
        if permit == self._epoch:
            self._probing = False

    def tripped(self, reason: str) -> None:
        self.last_failure = reason
        self.opened += 1
        self._probe_at = self._clock() + self._reset_timeout_s
        self._enter(State.OPEN)

    def backend_returned(self) -> None:
        """The driver had lost its backend and has it again: no need to sit out the time."""
        if self.state is State.OPEN:
            self._probe_at = self._clock()

    def retry_after(self) -> float:
        """Seconds until a call refused now has a chance."""
        return max(0.0, self._probe_at - self._clock()) if self.state is State.OPEN else 0.0

    def _enter(self, state: State) -> None:
        self.state = state
        self._epoch += 1
        self._probing = False
        self.set_closed(state is State.CLOSED)
        self._on_change(state)
