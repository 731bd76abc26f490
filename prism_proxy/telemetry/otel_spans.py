"""The way of ended spans to a collector: bounded, and every span that does not arrive is counted.

The queue of the SDK drops in silence, so no span is put into it that it has no room for. Spans in an exporter's hands
count as waiting: an exporter that hangs holds no more memory than the queue was to hold.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from prism_proxy.telemetry.dropped_exports import DroppedExports

QUEUE_VARIABLE = "OTEL_BSP_MAX_QUEUE_SIZE"
QUEUE_SPANS = 2048


class BoundedSpans(SpanProcessor):
    """Hands ended spans to `exporter`, in batches and on a thread of the SDK's. ValueError when the environment says of
    the queue what cannot be."""

    def __init__(self, exporter: SpanExporter, dropped_exports: DroppedExports) -> None:
        self._dropped_exports = dropped_exports
        self._lock = threading.Lock()
        self._waiting = 0
        self._room = _queue_spans()
        self._batches = BatchSpanProcessor(_Counted(exporter, self._exported), max_queue_size=self._room)

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            full = self._waiting >= self._room
            self._waiting += not full
        if full:
            self._dropped_exports.add("spans", "queue", 1)
        else:
            self._batches.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    def abandon(self) -> None:
        """Nobody waits any longer for what is not sent."""
        with self._lock:
            left, self._waiting = self._waiting, 0
        if left:
            self._dropped_exports.add("spans", "end", left)

    def _exported(self, spans: int, delivered: bool) -> None:
        with self._lock:
            self._waiting = max(self._waiting - spans, 0)
        if not delivered:
            self._dropped_exports.add("spans", "collector", spans)


class _Counted(SpanExporter):
    """`exporter`, and how many spans of each batch it delivered: all or none."""

    def __init__(self, exporter: SpanExporter, exported: Callable[[int, bool], None]) -> None:
        self._exporter = exporter
        self._tell = exported

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._tell(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _queue_spans() -> int:
    text = os.environ.get(QUEUE_VARIABLE, "") or str(QUEUE_SPANS)
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"{QUEUE_VARIABLE} must be a whole number above 0, not {text!r}")
    return int(text)
