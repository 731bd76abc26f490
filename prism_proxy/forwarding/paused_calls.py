"""Calls of a namespace wait here for a moment while its data go over to another proxy.

    pause --> calls queue, within their deadlines --release--> the owner in the routing table

Reads wait too: the time is short, and a read after a write that waits must see it.
"""

from __future__ import annotations

import asyncio

from prism_proxy._native.forward.handler import ForwardHandler
from prism_proxy.errors import PrismError, StatusCode

MAX_SECONDS = 2.0
MAX_CALLS = 65_536
MAX_BYTES = 64 * 1024 * 1024
RETRY_SECONDS = 1.0


class PausedCalls:
    """`handler` stands in the route of the namespace; it queues as for an owner who has not been reached yet."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.handler = ForwardHandler(
            asyncio.get_running_loop(), namespace, int(MAX_SECONDS * 1e9), MAX_CALLS, MAX_BYTES, lambda: None,
            self._failure, b"1", True)
        self.handler.holding = True

    @property
    def waiting(self) -> int:
        return self.handler.waiting

    def release(self) -> None:
        """Once the table names another handler."""
        self.handler.release()

    def _failure(self, phase: str, executed: bool, message: str) -> PrismError:
        return PrismError(
            StatusCode.UNAVAILABLE, "MOVING",
            f"the data of namespace {self._namespace!r} are moving to another proxy, longer than a call waits",
            {"phase": phase, "outcome": "not_executed"}, retry_after=RETRY_SECONDS)
