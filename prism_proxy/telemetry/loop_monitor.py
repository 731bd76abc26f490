"""Measures how late the event loop runs what is due, always."""

from __future__ import annotations

import asyncio

from prism_proxy._native.metrics import Histogram

PERIOD_SECONDS = 0.05


class LoopMonitor:
    """Every period, the lateness of a timer goes into the histogram `prism_loop_stall_seconds`."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._schedule(asyncio.get_running_loop())

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(PERIOD_SECONDS, self._fired, loop, loop.time() + PERIOD_SECONDS)

    def _fired(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._histogram.observe_ns(max(0, int((loop.time() - due) * 1e9)))
        self._schedule(loop)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
