"""Calls that wait for a permit: a queue that absorbs bursts and never stands.

After CoDel and Facebook's adaptive LIFO: calls are served in order and may wait 100 ms, which covers a burst. When the
queue has not been empty for 100 ms, more calls arrive than the backend takes, and waiting makes all of them late. From
then until the queue is empty the newest call is served first, and none waits longer than `patience`: few calls are
late, and those that are shed learn it at once.

While the limit is not settled yet, a queue says nothing about the backend: calls are served in order and wait up to a
second for the limit to grow.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

INTERVAL_S = 0.1
UNSETTLED_S = 1.0


class PermitFuture(Protocol):
    """What stands in the queue: a Future, or what a native handler has for one. `done`: nobody wants it any more."""

    def done(self) -> bool: ...

    def set_result(self, result: bool, /) -> None: ...


class _Waiter(NamedTuple):
    since: float
    permit: PermitFuture


class AdmissionQueue:
    """Times are monotonic seconds; `now` never goes back."""

    def __init__(self, now: float) -> None:
        self._waiters: deque[_Waiter] = deque()  # the oldest on the left
        self._overloaded = False
        self._settled = True
        self._changed = now  # when the queue last became empty, or ceased to be
        self._empty = True

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self, permit: PermitFuture, now: float) -> None:
        """`permit` becomes True when it is the caller's permit, False when there will be none."""
        self._waiters.append(_Waiter(now, permit))
        self._notice(now)

    def serve(self) -> bool:
        """Give the next call its permit; False when none waits any more."""
        while self._waiters:
            permit = (self._waiters.pop() if self._overloaded else self._waiters.popleft()).permit
            if not permit.done():  # its caller may have gone
                permit.set_result(True)
                return True
        return False

    def expire(self, now: float, patience: float, *, settled: bool = True) -> int:
        """Give up calls that have waited too long; how many. `settled`: it is known what the backend takes."""
        self._settled = settled
        self._notice(now)
        oldest = now - (patience if self._overloaded else INTERVAL_S if settled else UNSETTLED_S)
        given_up = 0
        while self._waiters and (self._waiters[0].since <= oldest or self._waiters[0].permit.done()):
            permit = self._waiters.popleft().permit
            if not permit.done():
                permit.set_result(False)
                given_up += 1
        self._notice(now)
        return given_up

    def _notice(self, now: float) -> None:
        if self._empty is bool(self._waiters):
            self._empty = not self._waiters
            self._changed = now
        if now - self._changed >= INTERVAL_S:
            self._overloaded = self._settled and not self._empty
