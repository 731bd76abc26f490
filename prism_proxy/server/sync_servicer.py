"""Adapts synchronous servicer methods to coroutines, so that the native server knows one kind only.

The method runs in a bounded thread pool; everything it asks of its context is done on the loop. Behaviour follows what
grpc.aio does with synchronous handlers.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from typing import Any

import grpc

_END = object()


def adapt(handler: grpc.RpcMethodHandler[Any, Any], executor: Executor) -> Callable[..., Any]:
    """The behaviour of `handler` as an async function or async generator of (request or iterator, context)."""
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour):
        return behaviour  # type: ignore[no-any-return]
    if handler.response_streaming:
        return _streaming(behaviour, handler.request_streaming, executor)
    return _unary(behaviour, handler.request_streaming, executor)


def _unary(behaviour: Callable[..., Any], request_streaming: bool, executor: Executor) -> Callable[..., Any]:
    async def call(request: Any, context: Any) -> Any:
        loop = asyncio.get_running_loop()
        sync = SyncContext(context, loop)
        argument = _BlockingIterator(request, loop) if request_streaming else request
        result = await loop.run_in_executor(executor, behaviour, argument, sync)
        # A method may be an async one behind a plain callable (a partial, a decorator): finish it here.
        return await result if inspect.isawaitable(result) else result

    return call


def _streaming(behaviour: Callable[..., Any], request_streaming: bool, executor: Executor) -> Callable[..., Any]:
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        sync = SyncContext(context, loop)
        argument = _BlockingIterator(request, loop) if request_streaming else request
        responses = await loop.run_in_executor(executor, behaviour, argument, sync)
        if hasattr(responses, "__anext__"):
            async for response in responses:
                yield response
            return
        iterator = iter(responses)
        while (response := await loop.run_in_executor(executor, next, iterator, _END)) is not _END:
            yield response

    return call


class _BlockingIterator(Iterator[Any]):
    """The request stream for a method that runs in a thread."""

    def __init__(self, messages: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._messages = messages
        self._loop = loop

    def __next__(self) -> Any:
        async def step() -> Any:
            return await anext(self._messages, _END)

        message = asyncio.run_coroutine_threadsafe(step(), self._loop).result()
        if message is _END:
            raise StopIteration
        return message


class SyncContext:
    """`grpc.ServicerContext` for a method in a thread, over the call's own context on the loop."""

    def __init__(self, context: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop

    def _on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        async def run() -> Any:
            return function(*args)

        return self._await(run())

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:
        self._await(self._context.abort(code, details, trailing_metadata))

    def abort_with_status(self, status: Any) -> None:
        self._await(self._context.abort_with_status(status))

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._await(self._context.send_initial_metadata(initial_metadata))

    def is_active(self) -> bool:
        return not self._context.done()

    def cancel(self) -> None:
        self._on_loop(self._context.cancel)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if self._context.done():
            return False
        self._on_loop(self._context.add_done_callback, lambda _: callback())
        return True

    def __getattr__(self, name: str) -> Any:
        """The rest of the interface neither waits nor touches the transport."""
        return getattr(self._context, name)
