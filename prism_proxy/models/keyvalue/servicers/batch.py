"""prism.interfaces.keyvalue.KeyValueBatchInterface."""

from __future__ import annotations

from typing import Any

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_batch_pb2 as pb
from prism_proxy.errors import PrismError
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.keyvalue.contract import BATCH


class KeyValueBatchServicer(NamespacedServicer):
    """BatchSet, BatchGet, BatchDelete. Errors of single items travel in their results."""

    interface = BATCH

    @answers
    async def BatchSet(self, request: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        items = [(item.key, item.value) for item in request.requests]
        errors = await self.implementation(context).batch_set(items, context)
        results = [basic.SetResponse(success=error is None, error=str(error or "")) for error in errors]
        return pb.BatchSetResponse(results=results, all_success=all(item.success for item in results))

    @answers
    async def BatchGet(self, request: Any, context: Any) -> Any:  # noqa: N802
        values = await self.implementation(context).batch_get(list(request.keys), context)
        results = [
            basic.GetResponse(error=str(value)) if isinstance(value, PrismError)
            else basic.GetResponse(found=value is not None, value=value or b"") for value in values]
        return pb.BatchGetResponse(results=results, found_count=sum(item.found for item in results))

    @answers
    async def BatchDelete(self, request: Any, context: Any) -> Any:  # noqa: N802
        deleted = await self.implementation(context).batch_delete(list(request.keys), context)
        results = [
            basic.DeleteResponse(success=False, error=str(item)) if isinstance(item, PrismError)
            else basic.DeleteResponse(success=True) for item in deleted]
        return pb.BatchDeleteResponse(results=results, all_success=all(item.success for item in results))
