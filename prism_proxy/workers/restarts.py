"""When a worker that ended is started again, and when the proxy gives up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

DEATHS = 5
WINDOW_SECONDS = 60.0
FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 5.0


class Restarts:
    """The deaths of one worker. The first in a minute is followed by a restart at once, the next ones by longer waits,
    the fifth by none. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: deque[float] = deque()
        self.total = 0

    def died(self) -> float | None:
        """Seconds to wait before the restart; None when there should be none."""
        now = self._clock()
        self.total += 1
        self._deaths.append(now)
        while self._deaths[0] <= now - WINDOW_SECONDS:
            self._deaths.popleft()
        recent = len(self._deaths)
        if recent >= DEATHS:
            return None
        return 0.0 if recent == 1 else min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (recent - 2))
