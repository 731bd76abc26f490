"""prism.objectstore.v1.ObjectStoreService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism.objectstore.v1 import objectstore_pb2 as pb
from prism_proxy.errors import invalid
from prism_proxy.interfaces.servicer import NamespacedServicer, answers
from prism_proxy.models.object.contract import SERVICE
from prism_proxy.models.object.servicers.messages import first_of, milliseconds
from prism_proxy.object_stores.contract import ObjectInfo


class ObjectStoreServicer(NamespacedServicer):
    """PutObject, GetObject, DeleteObject, ListObjects, HeadObject, GetPresignedURL, CopyObject."""

    interface = SERVICE

    def _model(self, request: Any, context: Any) -> Any:
        """The model of the call's namespace, which the message may repeat and not change."""
        model = self.implementation(context)
        if request.namespace not in ("", self.route(context).namespace):
            raise invalid("namespace", "the message names another namespace than the header x-namespace: send the same",
                          value=request.namespace)
        return model

    @answers
    async def PutObject(self, requests: Any, context: Any) -> Any:  # noqa: N802 - names of the contract
        self.implementation(context)
        first = await first_of(requests)
        model = self._model(first, context)
        ttl = first.ttl_seconds if first.HasField("ttl_seconds") else None
        result = await model.put(first.bucket, first.key, _chunks(first, requests), first.content_type, first.metadata,
                                 ttl, context)
        return pb.PutObjectResponse(object_id=f"{first.bucket}/{first.key}", etag=result.etag, size_bytes=result.size,
                                    version_id=result.version_id)

    @answers
    async def GetObject(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        model = self._model(request, context)
        start = request.range_start if request.HasField("range_start") else 0
        length = request.range_end - start + 1 if request.HasField("range_end") else None
        async with await model.get(request.bucket, request.key, start, length, context) as download:
            info = download.info
            reply = pb.GetObjectResponse(content_type=info.content_type, size_bytes=info.size, metadata=info.metadata,
                                         etag=info.etag)
            async for piece in model.pieces(download):
                reply.chunk = piece
                yield reply
                reply = pb.GetObjectResponse()
            if download.start == download.end:
                yield reply

    @answers
    async def DeleteObject(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._model(request, context)
        return pb.DeleteObjectResponse(deleted=await model.delete(request.bucket, request.key, context))

    @answers
    async def ListObjects(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._model(request, context)
        page = await model.page(request.bucket, request.prefix, request.max_results, request.continuation_token,
                                context)
        return pb.ListObjectsResponse(
            objects=[pb.ObjectMetadata(**_fields(info)) for info in page.objects],
            continuation_token=page.token or "", is_truncated=page.token is not None)

    @answers
    async def HeadObject(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._model(request, context)
        return pb.HeadObjectResponse(**_fields(await model.head(request.bucket, request.key, context)))

    @answers
    async def GetPresignedURL(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._model(request, context)
        found = await model.presign(request.method, request.bucket, request.key, request.expires_in_seconds, context)
        return pb.PresignedURLResponse(url=found.url, expires_at=found.expires_at)

    @answers
    async def CopyObject(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._model(request, context)
        result = await model.copy(request.source_bucket, request.source_key, request.bucket, request.key, context)
        return pb.CopyObjectResponse(etag=result.etag, size_bytes=result.size)


def _fields(info: ObjectInfo) -> dict[str, Any]:
    return {"key": info.key, "size_bytes": info.size, "etag": info.etag, "content_type": info.content_type,
            "last_modified": milliseconds(info.last_modified), "metadata": info.metadata}


async def _chunks(first: Any, requests: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    yield first.chunk
    async for request in requests:
        if (request.bucket, request.key) not in (("", ""), (first.bucket, first.key)):
            raise invalid("key", "all messages of a stream are of one object: leave bucket and key empty")
        yield request.chunk
