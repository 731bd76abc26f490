"""prism.interfaces.keyvalue.KeyValueCASInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_cas_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_cas_pb2_grpc as rpc
from prism_proxy.contracts.keyvalue import CAS
from prism_proxy.interfaces.base import answers
from prism_proxy.interfaces.keyvalue_base import KeyValueServicer


class KeyValueCasServicer(KeyValueServicer, rpc.KeyValueCASInterfaceServicer):
    """CompareAndSwap, CompareAndDelete. A failed comparison is an answer, not an error."""

    interface = CAS

    @answers
    async def CompareAndSwap(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        expected = request.expected if request.HasField("expected") else None
        result = await self.pattern(context).compare_and_swap(request.key, expected, request.value, context)
        return pb.CompareAndSwapResponse(swapped=result.done, actual=result.actual)

    @answers
    async def CompareAndDelete(self, request: Any, context: Any) -> Any:  # noqa: N802
        result = await self.pattern(context).compare_and_delete(request.key, request.expected, context)
        return pb.CompareAndDeleteResponse(deleted=result.done, actual=result.actual)
