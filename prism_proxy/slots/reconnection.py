"""Waiting for a driver that has lost its backend and is reconnecting.

A driver says so in its health, and reconnects by itself; DEGRADED may mean that it has some of its connections again.
For a moment after the loss calls wait here rather than fail, because most losses are restarts and failovers; later ones
fail at once. When the driver is better than it was, those who wait try again, and an open circuit need not sit out its
time.

Health is looked at when a call failed or is refused, and every 20 ms while calls wait; never while all is well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.slots.circuit import Circuit, State
from prism_proxy.slots.options import ReconnectOptions

LOOK_S = 0.02


class Reconnection:
    """`clock` is monotonic seconds."""

    def __init__(self, health: Callable[[], HealthReport], circuit: Circuit, options: ReconnectOptions,
                 clock: Callable[[], float]) -> None:
        self._health = health
        self._circuit = circuit
        self._options = options
        self._clock = clock
        self._status = Health.HEALTHY
        self._worth_until = 0.0
        self._look_at = 0.0
        self._waiters: dict[asyncio.Future[None], None] = {}  # in the order of their coming
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def expected(self) -> bool:
        """Whether a call should wait for the backend's return, rather than fail."""
        now = self._clock()
        if now >= self._look_at:
            self.look()
        return now < self._worth_until and (
            self._status is not Health.HEALTHY or not self._circuit.closed)

    def look(self) -> None:
        """Ask the driver how it is."""
        now = self._clock()
        self._look_at = now + LOOK_S
        report = self._health()
        before, self._status = self._status, report.status
        if report.closed:
            self._worth_until = now
            self._wake()
        elif before is Health.HEALTHY and self._status is not Health.HEALTHY:
            self._worth_until = now + self._options.wait_s
        if self._status.value < before.value:
            self._circuit.backend_returned()
            self._wake()

    async def wait(self, remaining_s: float | None) -> bool:
        """Wait for a change, at most `remaining_s`. False when the time is over, or too many wait: give up."""
        left = self._worth_until - self._clock()
        if remaining_s is not None:
            left = min(left, remaining_s)
        if left <= 0 or len(self._waiters) >= self._options.max_waiting:
            return False
        changed = asyncio.get_running_loop().create_future()
        self._waiters[changed] = None
        self._watch()
        try:
            async with asyncio.timeout(left):
                await changed
        except TimeoutError:
            return False
        finally:
            self._waiters.pop(changed, None)
        return True

    def circuit_changed(self, state: State) -> None:
        if state is State.CLOSED:
            self._wake()

    def _wake(self) -> None:
        for changed in self._waiters:
            if not changed.done():
                changed.set_result(None)
        self._waiters.clear()

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._looked)

    def _looked(self) -> None:
        self._timer = None
        self.look()
        if self._waiters:
            self._watch()
