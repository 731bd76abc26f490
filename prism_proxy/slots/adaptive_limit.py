"""How many calls may be at a backend at once: an additive-increase, multiplicative-decrease limit driven by delay.

The signal is that of TCP Vegas: what a call takes beyond the time it takes on an idle backend is time in a queue. Every
window of 100 ms compares the median of its calls with the baseline, the least median of late:

    delay below half the slack   the limit was used up: grow by half its square root
    delay above the slack        shrink in proportion to the excess, at most by half
    in between                   stay: the backend is busy, and its queue is short

The slack is half the baseline, and no less than 5 ms: some queue must stand or capacity is wasted. Medians, because one
slow call says nothing; delay rather than errors, because errors come when it is too late. A limit that is not in use is
left alone.

What speaks against a backend is timed by the seconds of the stall-compensated clock, and the baseline, which speaks
for it, by the wall's: a call answered while nothing ran here must not pass for a fast one.

It begins small, as TCP does, and doubles until calls become slower, by windows of 20 ms: what is first measured is then
near the truth even when the process starts into an overload, and honest callers wait no longer than for a burst.

The baseline must be able to rise, or a backend that became slower for good would be throttled for ever: after 1 s, 2 s,
4 s and at last every 30 s one window runs at half the limit, where the proxy causes no queue, and measures it. And
where half the limit did not make calls faster, the time is the backend's own, and is taken as the baseline at once.
"""

from __future__ import annotations

import math

from prism_proxy.slots.options import ConcurrencyOptions

WINDOW_S, FIRST_WINDOW_S = 0.1, 0.02
MEASURE_FIRST_S, MEASURE_EVERY_S = 1.0, 30.0
SLACK_S = 0.005


class AdaptiveLimit:
    """`opened` is when it begins: seconds of the stall-compensated clock, as all times but `at_most`. Windows are
    kept by `ConcurrencyCore`: they last `window_s`, and end before with 1,000 calls, and not before there are 10."""

    def __init__(self, options: ConcurrencyOptions, opened: float) -> None:
        self._options = options
        self._limit = float(options.initial_limit)
        self._measure_every = MEASURE_FIRST_S
        self._measure_at = opened + self._measure_every
        self.starting = True
        self._kept: float | None = None  # the limit to return to, while one window measures the baseline
        self._shrinking: tuple[float, float] | None = None  # limit and latency when it began
        self.baseline = math.inf
        self.current = options.initial_limit

    @property
    def slack(self) -> float:
        """Seconds in the backend's queue that are tolerated."""
        return SLACK_S if math.isinf(self.baseline) else max(SLACK_S, self.baseline / 2)

    @property
    def settled(self) -> bool:
        """Whether calls became slower when more were at the backend, or as many are there as may be."""
        return not self.starting or self.current >= self._options.max_limit

    @property
    def window_s(self) -> float:
        return FIRST_WINDOW_S if self.starting else WINDOW_S

    def window_closed(self, latency: float, at_most: float, peak: int, now: float) -> None:
        """The medians of its calls, `at_most` that on the wall, and how many were at the backend at once."""
        if self._kept is not None:
            self._set(self._kept)
            self._kept = None
            self._rebase(at_most, now)
        elif now >= self._measure_at and peak >= self._limit / 2:
            self._kept = self._limit
            self._set(self._limit / 2)
        elif now >= self._measure_at:
            self._rebase(at_most, now)
        else:
            self.baseline = min(self.baseline, at_most)
            self._adjust(latency, peak)

    def _rebase(self, latency: float, now: float) -> None:
        self.baseline = latency
        self._measure_every = min(2 * self._measure_every, MEASURE_EVERY_S)
        self._measure_at = now + self._measure_every
        self._shrinking = None

    def _adjust(self, latency: float, peak: int) -> None:
        delay = latency - self.baseline
        if peak < self._limit / 2 or delay <= self.slack:
            self._shrinking = None
            if peak >= 0.9 * self._limit and delay < self.slack / 2:
                self._set(self._limit * 2 if self.starting else self._limit + math.sqrt(self._limit) / 2)
            return
        self.starting = False
        if self._shrinking is None:
            self._shrinking = self._limit, latency
        before, first = self._shrinking
        if self._limit <= before / 2 and latency > 0.75 * first:
            self.baseline = latency
            self._shrinking = None
        else:
            self._set(self._limit * min(0.95, max(0.5, (self.baseline + self.slack) / latency)))

    def _set(self, limit: float) -> None:
        self._limit = min(max(limit, self._options.min_limit), self._options.max_limit)
        self.current = int(self._limit)
