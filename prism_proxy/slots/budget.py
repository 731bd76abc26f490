"""The retry budget of a slot: retries may add only so much to the load, however many calls fail.

Without one, three attempts a call treble the load of a backend at the moment it can bear least.
"""

from __future__ import annotations

from collections.abc import Callable

WINDOW_S = 10


class RetryBudget:
    """At most `ratio` retries for each call of the last 10 s, and `floor_per_s` a second besides.

    `clock` is monotonic seconds. The window advances in whole seconds.
    """

    def __init__(self, ratio: float, floor_per_s: float, clock: Callable[[], float]) -> None:
        self._ratio = ratio
        self._floor = floor_per_s * WINDOW_S
        self._clock = clock
        self._second = int(clock())
        self._calls = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self.exhausted = 0  # retries refused so far
        self.retried = 0  # attempts after the first, those that only waited for a connection included

    def call(self) -> None:
        """A first attempt was made."""
        self._advance()
        self._calls[self._second % WINDOW_S] += 1

    def retry(self) -> bool:
        """Whether one more retry may be made; it is counted if so."""
        self._advance()
        if sum(self._retries) + 1 > self._floor + self._ratio * sum(self._calls):
            self.exhausted += 1
            return False
        self._retries[self._second % WINDOW_S] += 1
        return True

    def _advance(self) -> None:
        now = int(self._clock())
        if now == self._second:
            return
        for second in range(max(self._second + 1, now - WINDOW_S + 1), now + 1):
            self._calls[second % WINDOW_S] = 0
            self._retries[second % WINDOW_S] = 0
        self._second = now
