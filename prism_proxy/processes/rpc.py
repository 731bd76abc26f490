"""Requests of the supervisor that one worker answers with a reply; its end is an answer too."""

from __future__ import annotations

import asyncio

from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.processes.messages import Asked
from prism_proxy.processes.worker_process import WorkerProcess


class WorkerGoneError(RuntimeError):
    """The worker ended before it replied; what it did is not known."""


class Rpc:
    """`replied` and `gone` must be called for each answer and each end of a worker."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], asyncio.Future[ControlReply]] = {}
        self._number = 0

    async def ask(self, process: WorkerProcess | None, request: ControlCall, limit_s: float) -> ControlReply:
        """The reply. WorkerGoneError without one; TimeoutError, and the worker goes on."""
        if process is None:
            raise WorkerGoneError("the worker is being restarted")
        self._number += 1
        key = process.worker, self._number
        reply: asyncio.Future[ControlReply] = asyncio.get_running_loop().create_future()
        self._open[key] = reply
        try:
            process.send(Asked(self._number, request))
            async with asyncio.timeout(limit_s):
                return await reply
        finally:
            del self._open[key]

    def replied(self, worker: int, number: int, reply: ControlReply) -> None:
        waiting = self._open.get((worker, number))
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def gone(self, worker: int) -> None:
        for (asked, _), waiting in self._open.items():
            if asked == worker and not waiting.done():
                waiting.set_exception(WorkerGoneError("the worker ended"))
