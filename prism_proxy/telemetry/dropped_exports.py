"""Spans and metrics that were made and not delivered: counted, and logged at most once a minute.

The exporters of OpenTelemetry log every attempt that failed; while a collector is away that would be all there is in
the log, so the last of it becomes a field of our one line.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from prism_proxy.telemetry.metrics import Metric, Sample
from prism_runtime import log

TELL_SECONDS = 60.0
_EXPORTERS = "opentelemetry.exporter"
_SERIES = (("spans", "queue"), ("spans", "collector"), ("spans", "end"), ("metrics", "collector"))


class DroppedExports:
    """`add` is called from any thread. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log.get("prism.telemetry")
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._untold: Counter[tuple[str, str]] = Counter()
        self._told = -TELL_SECONDS
        self.last_error = ""

    def add(self, signal: str, reason: str, count: int) -> None:
        """`count` items of a signal are lost: the `queue` was full, the `collector` took none, or the `end` came."""
        with self._lock:
            self._counts[signal, reason] += count
            self._untold[signal, reason] += count
            now = self._clock()
            if now - self._told < TELL_SECONDS:
                return
            self._told = now
            untold, self._untold = self._untold, Counter()
        lost: dict[str, Any] = {f"{signal}_{reason}": number for (signal, reason), number in sorted(untold.items())}
        self._log.warning("spans or metrics were not delivered", last_error=self.last_error or None, **lost)

    def collect(self) -> Iterable[Metric]:
        yield Metric("prism_telemetry_dropped_total", "counter",
                     "Spans, and points of metrics, that were not delivered to the collector.",
                     [Sample((("signal", signal), ("reason", reason)), self._counts[signal, reason])
                      for signal, reason in _SERIES])


class ExporterLog(logging.Handler):
    """Takes what the exporters say, and keeps the last of it."""

    def __init__(self, dropped_exports: DroppedExports) -> None:
        super().__init__(logging.WARNING)
        self._dropped_exports = dropped_exports
        exporters = logging.getLogger(_EXPORTERS)
        exporters.addHandler(self)
        exporters.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self._dropped_exports.last_error = record.getMessage()

    def close(self) -> None:
        exporters = logging.getLogger(_EXPORTERS)
        exporters.removeHandler(self)
        exporters.propagate = True
        super().close()
