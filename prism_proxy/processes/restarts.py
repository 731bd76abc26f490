"""When a worker that ended is started again, and when the proxy gives up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

DEATHS = 5
WINDOW_SECONDS = 60.0
FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 5.0
STEADY_SECONDS = 5.0  # who served so long did not end of its start


class Restarts:
    """The deaths of one worker. One that served steadily is started again at once, and so is one after its first death
    in a minute; else the waits grow. The fifth death in a minute is the last. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: deque[float] = deque()
        self._serves_since: float | None = None
        self.total = 0

    def serves(self) -> None:
        self._serves_since = self._clock()

    def died(self) -> float | None:
        """Seconds to wait before the restart; None when there should be none."""
        now = self._clock()
        steady = self._serves_since is not None and now - self._serves_since >= STEADY_SECONDS
        self._serves_since = None
        self.total += 1
        self._deaths.append(now)
        while self._deaths[0] <= now - WINDOW_SECONDS:
            self._deaths.popleft()
        recent = len(self._deaths)
        if recent >= DEATHS:
            return None
        return 0.0 if steady or recent == 1 else min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (recent - 2))
