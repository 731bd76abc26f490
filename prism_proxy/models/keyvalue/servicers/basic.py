"""prism.interfaces.keyvalue.KeyValueBasicInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.keyvalue.contract import BASIC


class KeyValueBasicServicer(NamespacedServicer):
    """Set, Get, Delete, Exists."""

    interface = BASIC

    @answers
    async def Set(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        await self.implementation(context).set(request.key, request.value, context)
        return pb.SetResponse(success=True)

    @answers
    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        value = await self.implementation(context).get(request.key, context)
        return pb.GetResponse(found=value is not None, value=value or b"")

    @answers
    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self.implementation(context).delete(request.key, context)
        return pb.DeleteResponse(success=True)

    @answers
    async def Exists(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ExistsResponse(exists=await self.implementation(context).exists(request.key, context))
