"""toy.interfaces.counter.CounterBasicInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from toy.interfaces.counter import counter_basic_pb2 as pb

from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_toy.declaration import BASIC


class CounterBasicServicer(NamespacedServicer):
    """Add, Value, Watch."""

    interface = BASIC

    @answers
    async def Add(self, request: Any, context: Any) -> Any:
        return pb.AddResponse(value=await self.implementation(context).add(request.name, request.by, context))

    @answers
    async def Value(self, request: Any, context: Any) -> Any:
        return pb.AddResponse(value=await self.implementation(context).value(request.name, context))

    @answers
    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        last = None

        def resume() -> str | None:
            return None if last is None else str(last)

        async for last in self.stream(context, self.implementation(context).watch(request.name), resume):
            yield pb.AddResponse(value=last)
