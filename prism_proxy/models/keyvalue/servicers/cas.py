"""prism.interfaces.keyvalue.KeyValueCASInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_cas_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.keyvalue.contract import CAS


class KeyValueCasServicer(NamespacedServicer):
    """CompareAndSwap, CompareAndDelete. A failed comparison is an answer, not an error."""

    interface = CAS

    @answers
    async def CompareAndSwap(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        expected = request.expected if request.HasField("expected") else None
        result = await self.implementation(context).compare_and_swap(request.key, expected, request.value, context)
        return pb.CompareAndSwapResponse(swapped=result.done, actual=result.actual)

    @answers
    async def CompareAndDelete(self, request: Any, context: Any) -> Any:  # noqa: N802
        result = await self.implementation(context).compare_and_delete(request.key, request.expected, context)
        return pb.CompareAndDeleteResponse(deleted=result.done, actual=result.actual)
