"""The end of a server's calls, within its limits and unless it is forced."""

from __future__ import annotations

import asyncio

from prism_proxy.server.limits import Limits
from prism_proxy.server.server import Server


async def drain(server: Server, limits: Limits, force: asyncio.Event) -> int | None:
    """For the drain's lead new calls are taken, then those in progress may finish until its timeout; all of it until
    `force` is set. The number of calls that were aborted; None when it was forced."""
    forced = asyncio.ensure_future(force.wait())
    if limits.drain_lead_s:
        await asyncio.wait({forced}, timeout=limits.drain_lead_s)
    stop = asyncio.ensure_future(server.stop(limits.drain_timeout_s))
    await asyncio.wait({stop, forced}, timeout=limits.drain_timeout_s + limits.drain_hard_s,
                       return_when=asyncio.FIRST_COMPLETED)
    forced.cancel()
    return stop.result() if stop.done() else None
