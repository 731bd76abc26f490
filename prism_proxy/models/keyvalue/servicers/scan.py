"""prism.interfaces.keyvalue.KeyValueScanInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.keyvalue import keyvalue_scan_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.keyvalue.contract import SCAN


class KeyValueScanServicer(NamespacedServicer):
    """Scan, ScanKeys, Count."""

    interface = SCAN

    @answers
    async def Scan(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - names of the contract
        model, cursor = self.implementation(context), _cursor(request)
        async for item in model.scan(request.prefix, request.limit, cursor, context, values=True):
            yield pb.ScanResponse(key=item.key, value=item.value, cursor=item.cursor)

    @answers
    async def ScanKeys(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model, cursor = self.implementation(context), _cursor(request)
        async for item in model.scan(request.prefix, request.limit, cursor, context, values=False):
            yield pb.ScanKeysResponse(key=item.key, cursor=item.cursor)

    @answers
    async def Count(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.CountResponse(count=await self.implementation(context).count(request.prefix, context))


def _cursor(request: Any) -> bytes | None:
    return request.cursor if request.HasField("cursor") else None
