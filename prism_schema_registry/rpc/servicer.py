"""The methods of `prism.schema.v1.SchemaRegistryService`, thin. It runs under grpc.aio and under the native server."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from prism.schema.v1 import schema_registry_pb2 as pb
from prism.schema.v1 import schema_registry_pb2_grpc as rpc
from prism_schema_registry.access import Access, Role
from prism_schema_registry.errors import RegistryError, malformed
from prism_schema_registry.governed import Governed, id_of, number_of, shown, subject_of, topic_of
from prism_schema_registry.metrics import Metrics
from prism_schema_registry.rpc.messages import KINDS, LEVELS, details_of, metadata_of, stamp, validation_of
from prism_schema_registry.rpc.status import abort, abort_with

MAX_PAGE, PAGE = 1000, 100


def answers(operation: str, *, writes: bool = False) -> Callable[[Any], Any]:
    """A method of the service: callers are checked before it, and a RegistryError becomes its status."""

    def decorate(method: Any) -> Any:
        @functools.wraps(method)
        async def call(self: SchemaRegistry, request: Any, context: Any) -> Any:
            await self.check_caller(context, writes)
            try:
                reply = await method(self, request)
            except RegistryError as error:
                self.count(operation, error.status)
                await abort_with(context, error)
                raise
            self.count(operation, 200)
            return reply

        return call

    return decorate


class Replies(Protocol):
    """Where answers to GetSchema are kept until something changes, by the bytes of request and reply."""

    def admit(self, authorization: str) -> None: ...

    def put(self, request: bytes, reply: bytes) -> None: ...


class SchemaRegistry(rpc.SchemaRegistryServiceServicer):
    """`url` is what schema URLs begin with."""

    def __init__(self, governed: Governed, access: Access, metrics: Metrics, url: str, replies: Replies) -> None:
        self._governed = governed
        self._access = access
        self._metrics = metrics
        self._url = url
        self._replies = replies

    @answers("register", writes=True)
    async def RegisterSchema(self, request: Any) -> Any:
        found = await self._governed.register(
            subject_of(request.namespace, request.topic), request.version, _kind(request.format),
            request.schema_content, LEVELS.get(request.compatibility), details_of(request.metadata))
        version = found.version
        return pb.RegisterSchemaResponse(
            schema_id=id_of(version), validation=validation_of(found.validation),
            schema_url=f"{self._url}/subjects/{version.subject}/versions/{version.number}/schema")

    @answers("get_version")
    async def GetSchema(self, request: Any) -> Any:
        registry = self._governed.registry
        version = registry.version(subject_of(request.namespace, request.topic), number_of(request.version))
        reply = pb.GetSchemaResponse(
            schema_id=id_of(version), version=shown(version), format=KINDS[version.schema.kind],
            schema_content=version.schema.text.encode(),
            metadata=metadata_of(version, registry.levels.level(version.subject)))
        # Nothing was awaited since the look-up: what is kept is current.
        self._replies.put(request.SerializeToString(), reply.SerializeToString())
        return reply

    @answers("list_schemas")
    async def ListSchemas(self, request: Any) -> Any:
        token = request.page_token or "0"
        if not (token.isascii() and token.isdecimal() and len(token) < 10):
            raise malformed("page_token is none that a reply had")
        offset = int(token)
        size = min(request.page_size, MAX_PAGE) if request.page_size > 0 else PAGE
        found = list(self._governed.list(request.namespace, request.topic))
        listed = pb.ListSchemasResponse()
        for version, last in found[offset:offset + size]:
            namespace, topic = topic_of(version.subject)
            listed.schemas.add(
                namespace=namespace, topic=topic, version=shown(version), schema_id=id_of(version),
                format=KINDS[version.schema.kind], status="current" if last else "deprecated",
                published_at=stamp(version.created_at))
        if offset + size < len(found):
            listed.next_page_token = str(offset + size)
        return listed

    @answers("check")
    async def CheckCompatibility(self, request: Any) -> Any:
        found = await self._governed.check(
            subject_of(request.namespace, request.topic), request.version, _kind(request.format),
            request.schema_content, LEVELS.get(request.compatibility))
        return pb.CheckCompatibilityResponse(validation=validation_of(found))

    @answers("delete_version", writes=True)
    async def DeleteSchema(self, request: Any) -> Any:
        if not request.version:
            raise malformed("version is empty: name the one to delete")
        number = await self._governed.delete(
            subject_of(request.namespace, request.topic), request.version, permanent=request.permanent)
        return pb.DeleteSchemaResponse(version=f"v{number}")

    async def check_caller(self, context: Any, writes: bool) -> None:
        """Ends the call unless its token allows it."""
        if not self._access.asks:
            return
        authorization = dict(context.invocation_metadata() or ()).get("authorization", "")
        role = self._access.role_of(authorization if isinstance(authorization, str) else "")
        if role is None:
            await abort(context, grpc.StatusCode.UNAUTHENTICATED, "send authorization: Bearer TOKEN")
        if writes and role is not Role.WRITE:
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, "this token may read; the method needs one that "
                                                                   "may write")
        self._replies.admit(authorization)

    def count(self, operation: str, status: int) -> None:
        self._metrics.count_call(operation, status)


def _kind(number: int) -> Any:
    found = next((kind for kind, value in KINDS.items() if value == number), None)
    if found is None:
        raise malformed("format must be SCHEMA_FORMAT_PROTOBUF, SCHEMA_FORMAT_JSON_SCHEMA or SCHEMA_FORMAT_AVRO")
    return found
