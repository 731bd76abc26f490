"""prism.interfaces.storage.StorageObjectInterface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.interfaces.storage import storage_object_pb2 as pb
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.object.contract import STORAGE
from prism_proxy.models.object.servicers.messages import first_of, milliseconds
from prism_proxy.object_stores.contract import ObjectInfo


class StorageObjectServicer(NamespacedServicer):
    """PutObject, GetObject, DeleteObject, ListObjects, HeadObject."""

    interface = STORAGE

    @answers
    async def PutObject(self, requests: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        model = self.implementation(context)
        first = await first_of(requests)
        result = await model.put(first.bucket, first.key, _chunks(first, requests), first.content_type, first.metadata,
                                 caller=context)
        return pb.PutObjectResponse(etag=result.etag, size=result.size, version_id=result.version_id)

    @answers
    async def GetObject(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model = self.implementation(context)
        if request.limit < 0:
            raise invalid("limit", "it must not be negative: 0 is all")
        download = await model.get(request.bucket, request.key, request.offset, request.limit or None, context)
        async with download:
            left = download.end - download.start
            async for piece in model.pieces(download):
                left -= len(piece)
                yield pb.GetObjectResponse(data=piece, is_final_chunk=left == 0)
            if download.end == download.start:
                yield pb.GetObjectResponse(is_final_chunk=True)

    @answers
    async def DeleteObject(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self.implementation(context)
        if request.version_id:
            raise PrismError(StatusCode.UNIMPLEMENTED, "VERSIONS_NOT_SUPPORTED",
                             "versions of objects are the store's own matter: leave version_id empty",
                             field_name="version_id")
        return pb.DeleteObjectResponse(deleted=await model.delete(request.bucket, request.key, context))

    @answers
    async def ListObjects(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model = self.implementation(context)
        async for info in model.walk(request.bucket, request.prefix, request.max_keys, request.continuation_token,
                                     context):
            yield _metadata(info)

    @answers
    async def HeadObject(self, request: Any, context: Any) -> Any:  # noqa: N802
        return _metadata(await self.implementation(context).head(request.bucket, request.key, context))


def _metadata(info: ObjectInfo) -> Any:
    return pb.ObjectMetadata(
        key=info.key, size=info.size, last_modified=milliseconds(info.last_modified), etag=info.etag,
        content_type=info.content_type, metadata=info.metadata)


async def _chunks(first: Any, requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """A stream that ends without the mark of the last chunk has lost some of them."""
    yield first.data
    over = first.is_final_chunk
    async for request in requests:
        if over:
            raise invalid("is_final_chunk", "a message followed the one with is_final_chunk")
        if (request.bucket, request.key) not in (("", ""), (first.bucket, first.key)):
            raise invalid("key", "all messages of a stream are of one object: leave bucket and key empty")
        yield request.data
        over = request.is_final_chunk
    if not over:
        raise invalid("is_final_chunk", "the stream ended without a message with is_final_chunk: nothing was stored")
