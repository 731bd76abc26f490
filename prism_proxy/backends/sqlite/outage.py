"""Whether the file can be written now, and since when not; the log hears once of each loss and each return."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from prism_proxy.backends.sqlite.errors import closed
from prism_proxy.errors import PrismError
from prism_runtime import log

_LOG = log.get("prism.sqlite")


class Outage:
    """`reason` is why writes are refused, None while they are not. Written by the writer's thread only."""

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self._began: float | None = None
        self._served = False
        self.reason: PrismError | None = closed()

    def begin(self, reason: PrismError) -> None:
        self.reason = reason
        if self._began is None:
            self._began = time.monotonic()
            if self._served:  # the code that opens a file reports it itself, with the namespace
                _LOG.error("a store's file was lost", path=str(self._path()), reason=reason.message)

    def end(self) -> None:
        self.reason = None
        self._served = True
        if self._began is not None:
            _LOG.info("a store's file was opened again", path=str(self._path()),
                      seconds=round(time.monotonic() - self._began, 1))
            self._began = None

    def refusal(self) -> PrismError:
        """A new object for each caller: an exception collects the traces of all who raise it."""
        reason = self.reason or closed()
        return PrismError(reason.code, reason.reason, reason.message, reason.metadata, reason.retry_after)
