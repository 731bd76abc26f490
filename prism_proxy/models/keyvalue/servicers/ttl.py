"""prism.interfaces.keyvalue.KeyValueTTLInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_ttl_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.keyvalue.contract import TTL


class KeyValueTTLServicer(NamespacedServicer):
    """Expire, GetTTL, Persist."""

    interface = TTL

    @answers
    async def Expire(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        existed = await self.implementation(context).expire(request.key, request.ttl_seconds, context)
        return pb.ExpireResponse(success=True, key_existed=existed)

    @answers
    async def GetTTL(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.GetTTLResponse(ttl_seconds=await self.implementation(context).get_ttl(request.key, context))

    @answers
    async def Persist(self, request: Any, context: Any) -> Any:  # noqa: N802
        removed = await self.implementation(context).persist(request.key, context)
        return pb.PersistResponse(success=True, expiration_removed=removed)
