"""prism.interfaces.stream.StreamRetentionInterface."""

from __future__ import annotations

import math
from typing import Any

from prism.interfaces.stream import stream_retention_pb2 as pb
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.stream.contract import RETENTION


class StreamRetentionServicer(NamespacedServicer):
    """SetRetention, GetRetention, Compact."""

    interface = RETENTION

    @answers
    async def SetRetention(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        await self.implementation(context).set_retention(
            request.stream, request.max_age_seconds, request.max_bytes, request.max_records, context)
        return pb.SetRetentionResponse(success=True)

    @answers
    async def GetRetention(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = await self.implementation(context).get_retention(request.stream, context)
        return pb.GetRetentionResponse(max_age_seconds=math.ceil(found.max_age_s), max_bytes=found.max_bytes,
                                       max_records=found.max_records)

    @answers
    async def Compact(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.CompactResponse(removed=await self.implementation(context).compact(
            request.stream, context, keep_latest_per_key=request.keep_latest_per_key))
