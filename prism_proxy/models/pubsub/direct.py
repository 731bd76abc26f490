"""The sink of a subscription whose messages go to the stream of its call at once, by native code.

It behaves as `Subscriber` does. What waits is in an `Outlet`, which native code of a driver may fill without a Python
object a message. Messages that pass steps, a filter or a position need `Subscriber`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from prism_proxy._native.envelope.framed import FramedMessage
from prism_proxy.errors import PrismError
from prism_proxy.models.framing import Opened
from prism_proxy.models.messages import Active, Delivery
from prism_proxy.models.pubsub.subscriber import GAP_HEADER, SubscriberOptions

if TYPE_CHECKING:
    from prism_proxy._native.grpc.outlet import Outlet, OutletCounters
    from prism_proxy._native.grpc.replies import QueuedTotal


class Direct(Protocol):
    """The stream of a call that takes messages which are framed already."""

    def outlet(self, counters: OutletCounters, total: QueuedTotal, options: SubscriberOptions) -> Outlet: ...

    def frame(self, opened: Opened) -> FramedMessage: ...


class DirectSubscriber:
    """`open_` makes of a delivery what its receiver sees; None: nothing."""

    def __init__(
        self, subscription_id: str, options: SubscriberOptions, direct: Direct, outlet: Outlet,
        on_missed: Callable[[int | None, str], None], open_: Callable[[Delivery], Opened | None],
    ) -> None:
        self.subscription_id = subscription_id
        self.options = options
        self.outlet = outlet
        self.active: Active | None = None
        self._frame = direct.frame
        self._open = open_
        self._on_missed = on_missed

    # --- the driver's side --------------------------------------------------------------------------------------------

    @property
    def credit(self) -> int:
        return self.outlet.credit

    def push(self, delivery: Delivery) -> bool:
        if self.outlet.ended:
            return True
        opened = self._open(delivery)
        return opened is None or self.outlet.push(self._frame(opened), opened.expires_ms)

    async def room(self) -> None:
        await self.outlet.room()

    def missed(self, count: int | None, why: str) -> None:
        self._on_missed(count, why)
        if self.options.gap_notice:
            told = {GAP_HEADER: "unknown" if count is None else str(count)}
            self.outlet.notice(self._frame(Opened(b"", told, "", 0, "")))

    def end(self, error: PrismError | None) -> None:
        self.outlet.end(error)

    # --- the caller's side --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Return when the subscription has ended, and the stream has its messages. PrismError when it failed."""
        self.outlet.start()
        await self.outlet.finished()

    def resume(self) -> str | None:
        """Nothing is kept for the caller."""
        return None
