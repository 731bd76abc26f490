"""Whether namespaces of our own partitions are still on their way to us.

A registration's answer has room for so many; the admin pushes the rest, and no message says which push is the last one.

    answer without the rest --> expected --no push for `quiet_s`, or `most_s` in all--> everything is here
                                   ^  |
                                   +--+ a push; the admin being away, until it answers again

Until then a namespace that is not known here may exist, so its calls are UNAVAILABLE rather than NOT_FOUND.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PUSH_SECONDS = 5.0  # the deadline of a push: one that fails is made again after the next heartbeat
MOST_SECONDS = 300.0


class InitialSync:
    """`changed` is called when `expected` has changed."""

    def __init__(self, quiet_s: float, changed: Callable[[], None], most_s: float = MOST_SECONDS) -> None:
        self._quiet_s = quiet_s
        self._most_s = most_s
        self._changed = changed
        self._quiet: asyncio.TimerHandle | None = None
        self._most: asyncio.TimerHandle | None = None
        self.expected = False

    def registered(self, *, complete: bool) -> None:
        """The admin answered, with everything or not."""
        self.pause()
        if not complete:
            loop = asyncio.get_running_loop()
            self._quiet = loop.call_later(self._quiet_s, self._set, False)
            self._most = loop.call_later(self._most_s, self._set, False)
        self._set(not complete)

    def arrived(self) -> None:
        """A push has brought something: there may be more."""
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = asyncio.get_running_loop().call_later(self._quiet_s, self._set, False)

    def pause(self) -> None:
        """The admin is away: nothing comes, and its next answer starts over."""
        for timer in (self._quiet, self._most):
            if timer is not None:
                timer.cancel()
        self._quiet = self._most = None

    def _set(self, expected: bool) -> None:
        if not expected:
            self.pause()
        if expected != self.expected:
            self.expected = expected
            self._changed()
