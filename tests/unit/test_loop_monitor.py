"""The loop monitor against a clock and a loop of our own making."""

import asyncio

import pytest

from prism_proxy._native.grpc.metrics import Histogram
from prism_proxy.telemetry.loop_monitor import PERIOD_SECONDS, LoopMonitor

PERIOD_NS = int(PERIOD_SECONDS * 1e9)


class Timers:
    """Stands for the loop: holds what was scheduled last."""

    def call_later(self, delay: float, callback, *args):
        assert delay == PERIOD_SECONDS
        self.fire = lambda: callback(*args)
        return self

    def cancel(self) -> None:
        self.fire = None


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    timers = Timers()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: timers)
    return timers


def test_lateness_is_observed_and_long_stalls_are_counted(timers: Timers) -> None:
    now = [0]
    histogram = Histogram()
    monitor = LoopMonitor(histogram, now_ns=lambda: now[0])
    monitor.start()
    for late_ns in (-1000, 0, 40_000, 1_900_000, 30_000_000):
        now[0] += PERIOD_NS + late_ns
        timers.fire()
    counts, total = histogram.snapshot()
    assert counts[-1] == 5
    assert counts[0] == 3  # early, on time, 40 µs
    assert total == pytest.approx(0.03194)
    assert monitor.long_stalls == 1


def test_stop_ends_it(timers: Timers) -> None:
    monitor = LoopMonitor(Histogram())
    monitor.start()
    monitor.stop()
    assert timers.fire is None


async def test_a_blocked_loop_is_seen() -> None:
    import time

    histogram = Histogram()
    monitor = LoopMonitor(histogram)
    monitor.start()
    time.sleep(PERIOD_SECONDS + 0.02)  # noqa: ASYNC251 - blocking the loop is what is under test
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    monitor.stop()
    counts, total = histogram.snapshot()
    assert counts[-1] == 1
    assert total >= 0.015
    assert monitor.long_stalls == 1
