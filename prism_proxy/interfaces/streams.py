"""The open streams of a namespace, which last as long as their callers want: subscriptions, reads that follow, members.

    open ---> items ---> the source ends, or the caller cancels
               |
               +-- the proxy or the connection drains, the driver changes, the namespace goes:
                   UNAVAILABLE, RetryInfo, and where to go on in the trailer x-prism-resume

Whoever must end them says so to `OpenStreams`; nobody waits for a caller to notice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from prism_proxy.errors import PrismError, StatusCode, status_of

ItemT = TypeVar("ItemT")
Resume = Callable[[], str | None]

RETRY_S = 0.1
WRITE_S = 1.0  # for a caller that takes nothing to take what was offered, before its stream ends all the same


def ended(reason: str, message: str) -> PrismError:
    """What a stream ends with that its caller did not end: it can go on elsewhere, at once."""
    return PrismError(StatusCode.UNAVAILABLE, reason, message, {"outcome": "unknown"}, retry_after=RETRY_S)


class Endable(Protocol):
    """An open stream, of a servicer or a native handler."""

    def end(self, error: PrismError) -> None:
        """End it with this error. It may be called again, and after the stream's own end."""
        ...


class OpenStreams:
    """Those of one namespace over one set of drivers; routes over the same drivers share them."""

    def __init__(self) -> None:
        self._open: set[Endable] = set()
        self._ended: PrismError | None = None

    def __len__(self) -> int:
        return len(self._open)

    def add(self, stream: Endable) -> None:
        """The stream is open. One that comes too late ends at once."""
        self._open.add(stream)
        if self._ended is not None:
            stream.end(self._ended)

    def discard(self, stream: Endable) -> None:
        """The stream has ended."""
        self._open.discard(stream)

    def drain(self, stream: Endable) -> None:
        """The connection of this one is to end."""
        stream.end(ended("DRAINING", "this proxy closes the connection: open the stream again"))

    def end(self, error: PrismError) -> None:
        """End all of them, and those that calls in progress still open: there is a newer route, or none."""
        self._ended = error
        self.end_open(error)

    def end_open(self, error: PrismError) -> None:
        """End those that are open."""
        for stream in list(self._open):
            stream.end(error)


class ServicerStream:
    """The stream of one call that a servicer serves; made within the call's task. `resume` says where the caller can go
    on, in a form that only the model knows; None where it cannot."""

    def __init__(self, context: Any, streams: OpenStreams, resume: Resume = lambda: None) -> None:
        self._context = context
        self._streams = streams
        self._resume = resume
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._error: PrismError | None = None
        self._inside = False  # the source works; else the caller is being written to
        self._cancelled = False
        self._timer: asyncio.TimerHandle | None = None

    def _drained(self) -> None:
        self._streams.drain(self)

    def end(self, error: PrismError) -> None:
        if self._error is not None or self._task is None:
            return
        self._error = error
        if self._inside:
            self._cancelled = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(WRITE_S, self._abandon)

    async def over(self, source: AsyncIterator[ItemT]) -> AsyncGenerator[ItemT, None]:
        """The items of a source, until it ends or the stream is to. PrismError says where to go on."""
        outlast = getattr(self._context, "outlast", None)  # grpc.aio's own contexts have none
        if outlast is not None:
            outlast(self._drained)
        self._streams.add(self)
        try:
            while True:
                self._check()
                self._inside = True
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    return
                finally:
                    self._inside = False
                yield item
        except asyncio.CancelledError:
            if not self._cancelled or self._task is None:
                raise
            self._task.uncancel()
            self._check()
        except PrismError as error:
            if error.resume is not None:
                raise
            raise replace(error, resume=self._resume()) from error.__cause__
        finally:
            self._streams.discard(self)
            if self._timer is not None:
                self._timer.cancel()
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    def _check(self) -> None:
        if self._error is not None:
            raise replace(self._error, resume=self._resume())

    def _abandon(self) -> None:
        """The caller takes nothing: end the call under its servicer."""
        assert self._error is not None
        assert self._task is not None
        code, message, trailers = status_of(replace(self._error, resume=self._resume()))
        with contextlib.suppress(StopIteration, Exception):  # it raises to end the servicer, which is not running
            self._context.abort(code, message, trailers).send(None)
        self._task.cancel()
