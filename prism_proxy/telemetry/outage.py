"""Says once that something is gone, and once that it is back, with how long it was gone. What happens between is
nobody's news: a backend that is away makes every call and every attempt to connect fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prism_runtime.log import Log


class Outage:
    """`gone` and `back` are the events of the two lines; `fields` stand in both."""

    def __init__(self, log: Log, gone: str, back: str, clock: Callable[[], float] = time.monotonic,
                 **fields: Any) -> None:
        self._log = log
        self._gone, self._back = gone, back
        self._clock = clock
        self._fields = fields
        self._since: float | None = None

    def begin(self, **why: Any) -> None:
        """It is gone. Nothing, when that is known."""
        if self._since is None:
            self._since = self._clock()
            self._log.warning(self._gone, **self._fields, **why)

    def end(self) -> None:
        """It is there. Nothing, when it never was away."""
        if self._since is not None:
            self._log.info(self._back, **self._fields, seconds=round(self._clock() - self._since, 3))
            self._since = None
