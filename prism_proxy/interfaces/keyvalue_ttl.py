"""prism.interfaces.keyvalue.KeyValueTTLInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_ttl_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_ttl_pb2_grpc as rpc
from prism_proxy.contracts.keyvalue import TTL
from prism_proxy.interfaces.base import answers
from prism_proxy.interfaces.keyvalue_base import KeyValueServicer


class KeyValueTTLServicer(KeyValueServicer, rpc.KeyValueTTLInterfaceServicer):
    """Expire, GetTTL, Persist."""

    interface = TTL

    @answers
    async def Expire(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        existed = await self.pattern(context).expire(request.key, request.ttl_seconds, context)
        return pb.ExpireResponse(success=True, key_existed=existed)

    @answers
    async def GetTTL(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.GetTTLResponse(ttl_seconds=await self.pattern(context).get_ttl(request.key, context))

    @answers
    async def Persist(self, request: Any, context: Any) -> Any:  # noqa: N802
        removed = await self.pattern(context).persist(request.key, context)
        return pb.PersistResponse(success=True, expiration_removed=removed)
