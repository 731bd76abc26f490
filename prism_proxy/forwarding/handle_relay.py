"""Takes calls about a handle to the worker that holds its state, where every worker serves the namespace.

What a handle names lives in one process. A call that meets another worker is made there again, and
its answer passed on as it is. Rare enough to be made with Python objects; hot calls are forwarded natively.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc

from prism_proxy._native.grpc.client import CallError
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.handles import worker_of
from prism_proxy.server.channel import Channel
from prism_proxy.server.limits import Limits

_OWN_FIELDS = {"te", "content-type", "user-agent", "x-prism-forwarded"}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
RETRY_SECONDS = 1.0
ASKED = "x-prism-asked"  # by another worker, on behalf of its caller


class HandleRelay:
    """`addresses` are those at which each worker takes calls of the others; this process is `worker`."""

    def __init__(self, worker: int, addresses: Sequence[str], limits: Limits) -> None:
        self._worker = worker
        self._channels = [Channel(address, limits=limits) for address in addresses]

    def elsewhere(self, handle: str) -> int | None:
        """The other worker that a handle names; None when it is for this one to answer."""
        worker = worker_of(handle)
        if worker is None or worker == self._worker or worker >= len(self._channels):
            return None
        return worker

    async def ask_others(self, path: str, request: bytes, context: Any) -> bytes | None:
        """The reply of the worker that has what a request is about, where no handle names it; None: no other has it.
        Each is asked once, and asks nobody itself. A worker that cannot be reached has lost what it held."""
        if any(name == ASKED for name, _ in context.invocation_metadata() or ()):
            return None
        metadata = (*self._metadata(context), (ASKED, "1"))
        others = [channel for worker, channel in enumerate(self._channels) if worker != self._worker]
        found = await asyncio.gather(*(
            channel.unary(path, request, metadata, context.time_remaining()) for channel in others),
            return_exceptions=True)
        for reply in found:
            if isinstance(reply, bytes):
                return reply
            if not isinstance(reply, CallError):
                raise reply
        return None

    async def call(self, worker: int, path: str, request: bytes, context: Any) -> bytes:
        """The reply of that worker. Its error ends the call of `context` as it came.

        PrismError UNAVAILABLE when the worker ends meanwhile: what it held is gone, and a Commit may have been applied.
        """
        try:
            return await self._channels[worker].unary(
                path, request, self._metadata(context), context.time_remaining())
        except CallError as error:
            if any(name == "grpc-status-details-bin" for name, _ in error.trailers):
                await context.abort(_CODES[error.code], error.message, error.trailers)
            if error.code != StatusCode.UNAVAILABLE.value[0]:
                raise PrismError(_CODES[error.code], "RELAY_FAILED", error.message) from error
            raise PrismError(
                StatusCode.UNAVAILABLE, "OWNER_LOST" if error.executed else "OWNER_RESTARTING",
                f"worker {worker}, which holds its state, cannot be reached: {error.message}",
                {"outcome": "unknown" if error.executed else "not_executed"},
                retry_after=None if error.executed else RETRY_SECONDS) from error

    @staticmethod
    def _metadata(context: Any) -> tuple[tuple[str, str | bytes], ...]:
        """The caller's, for a worker that believes us."""
        return (*((name, value) for name, value in context.invocation_metadata() or ()
                  if name not in _OWN_FIELDS and not name.startswith(("grpc-", ":"))), ("x-prism-forwarded", "1"))

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
