"""Which proxies live, judged by their heartbeats on the monotonic clock.

    unknown (read from storage after a start) --heartbeat--> healthy --45 s of silence--> unhealthy --heartbeat-->
    healthy
       |                                                                 ^
       +-- 45 s after the start without a word --------------------------+

A proxy that stops says so, and has `left` at once; like an unhealthy one it must register again.

Only the step to `unhealthy` moves partitions. When more than half of the proxies, and at least two, fall silent in one
sweep, the fault is more likely ours: nothing moves, and `Sweep.alarm` says so until fewer are silent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 45.0
SWEEP_SECONDS = 5.0


class Status(Enum):
    """As stored in the table of proxies."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    LEFT = "left"

    @property
    def gone(self) -> bool:
        """Not there, as far as anybody knows."""
        return self in (Status.UNHEALTHY, Status.LEFT)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one look found: `lost` have just been declared unhealthy; with `alarm` nobody was, and `silent` names
    them."""

    lost: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    alarm: bool = False


class Membership:
    """Proxies and when each was last heard of. `clock` is monotonic, in seconds."""

    def __init__(self, stale_s: float = STALE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_s = stale_s
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._status: dict[str, Status] = {}

    def restore(self, proxies: Mapping[str, Status]) -> None:
        """Proxies known from before a restart: unknown until heard from, and not silent for `stale_s` from now. Those
        declared dead before stay dead: their partitions were given away, so they must register again."""
        now = self._clock()
        for proxy, status in proxies.items():
            self._heard[proxy] = now
            self._status[proxy] = status if status.gone else Status.UNKNOWN

    def heard(self, proxy: str) -> bool:
        """A registration or heartbeat has come; True when the proxy was not healthy before."""
        self._heard[proxy] = self._clock()
        returned = self._status.get(proxy) is not Status.HEALTHY
        self._status[proxy] = Status.HEALTHY
        return returned

    def left(self, proxy: str) -> None:
        """The proxy has said that it stops."""
        self._status[proxy] = Status.LEFT

    def forget(self, proxy: str) -> None:
        """The proxy was removed on purpose."""
        self._heard.pop(proxy, None)
        self._status.pop(proxy, None)

    def knows(self, proxy: str) -> bool:
        return proxy in self._status

    def status(self, proxy: str) -> Status:
        return self._status.get(proxy, Status.UNKNOWN)

    def members(self) -> list[str]:
        """Those that count in a layout: healthy, or not yet heard from after a restart."""
        return sorted(proxy for proxy, status in self._status.items() if not status.gone)

    def sweep(self) -> Sweep:
        """Look for silence. Those in `lost` are unhealthy from now on."""
        latest = self._clock() - self._stale_s
        members = self.members()
        silent = tuple(proxy for proxy in members if self._heard[proxy] < latest)
        if len(silent) >= 2 and 2 * len(silent) > len(members):
            return Sweep(silent=silent, alarm=True)
        for proxy in silent:
            self._status[proxy] = Status.UNHEALTHY
        return Sweep(lost=silent)
