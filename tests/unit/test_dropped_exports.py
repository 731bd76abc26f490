"""What is not delivered to a collector is counted to the last span, and told once a minute."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from prism_proxy.telemetry.dropped_exports import DroppedExports, ExporterLog
from prism_proxy.telemetry.metrics import Sample
from prism_proxy.telemetry.otel_spans import QUEUE_VARIABLE, BoundedSpans

QUEUE = 600


class Exporter(SpanExporter):
    """Takes batches as told: FAILURE, SUCCESS, or an exception."""

    def __init__(self, result: SpanExportResult | Exception) -> None:
        self.result = result
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if isinstance(self.result, Exception):
            raise self.result
        self.taken += len(spans)
        return self.result


def counts(dropped_exports: DroppedExports) -> dict[tuple[str, ...], float]:
    metric, = dropped_exports.collect()
    return {tuple(value for _, value in sample.labels): sample.value for sample in metric.samples
            if isinstance(sample, Sample) and sample.value}


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__["prism_fields"] for record in caplog.records if record.name == "prism.telemetry"]


@pytest.fixture(autouse=True)
def a_small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUEUE_VARIABLE, str(QUEUE))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")    # batches go by size, and when they are asked for


def make(spans: BoundedSpans, count: int) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(spans)
    tracer = provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("one").end()


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, OSError("away")])
def test_every_span_of_a_batch_that_failed_is_counted(result: SpanExportResult | Exception) -> None:
    dropped_exports = DroppedExports()
    spans = BoundedSpans(Exporter(result), dropped_exports)
    make(spans, 100)
    spans.force_flush()
    assert counts(dropped_exports) == {("spans", "collector"): 100}
    spans.shutdown()


def test_what_is_delivered_is_not_counted_and_makes_room() -> None:
    dropped_exports = DroppedExports()
    spans = BoundedSpans(exporter := Exporter(SpanExportResult.SUCCESS), dropped_exports)
    for _ in range(5):
        make(spans, 500)
        spans.force_flush()
    assert exporter.taken == 2500
    assert counts(dropped_exports) == {}
    spans.shutdown()


def test_a_full_queue_takes_nothing_and_what_is_left_at_the_end_is_lost() -> None:
    """Spans in the hands of an exporter that hangs are part of the bound."""
    dropped_exports = DroppedExports()
    spans = BoundedSpans(Exporter(SpanExportResult.SUCCESS), dropped_exports)
    spans._batches._batch_processor._export_lock.acquire()  # as an export that does not return
    make(spans, QUEUE + 250)
    assert counts(dropped_exports) == {("spans", "queue"): 250}
    spans.abandon()
    assert counts(dropped_exports) == {("spans", "queue"): 250, ("spans", "end"): QUEUE}
    spans._batches._batch_processor._export_lock.release()
    spans.shutdown()


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_size_of_the_queue_that_cannot_be_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUEUE_VARIABLE, text)
    with pytest.raises(ValueError, match=QUEUE_VARIABLE):
        BoundedSpans(Exporter(SpanExportResult.SUCCESS), DroppedExports())


def test_losses_are_told_at_once_and_then_once_a_minute_with_all_that_came_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    dropped_exports = DroppedExports(clock=lambda: now)
    for _ in range(600):
        dropped_exports.add("spans", "queue", 2)
        now += 0.1      # a minute
    assert [line["spans_queue"] for line in lines(caplog)] == [2]
    dropped_exports.add("metrics", "collector", 7)
    assert lines(caplog)[1:] == [{"last_error": None, "metrics_collector": 7, "spans_queue": 1198}]


@pytest.fixture
def exporter_log() -> Iterator[DroppedExports]:
    dropped_exports = DroppedExports()
    handler = ExporterLog(dropped_exports)
    yield dropped_exports
    handler.close()


def test_what_exporters_say_is_part_of_our_line(exporter_log: DroppedExports, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[logging.LogRecord] = []     # by the root; caplog hears loggers that do not propagate, too
    root = logging.Handler()
    root.emit = heard.append    # type: ignore[method-assign]
    logging.getLogger().addHandler(root)
    said = logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter")
    for number in range(100):
        said.error("no answer from %s", number)
    logging.getLogger().removeHandler(root)
    assert not heard
    exporter_log.add("spans", "collector", 1)
    assert lines(caplog) == [{"last_error": "no answer from 99", "spans_collector": 1}]
