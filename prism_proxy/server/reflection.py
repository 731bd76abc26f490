"""Server reflection, v1 and v1alpha, so that grpcurl and ghz need no files.

The two versions have the same messages under different packages; the v1 descriptor is made from that of v1alpha, which
is what the grpcio-reflection package ships.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2 as messages

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
METHOD = "ServerReflectionInfo"


def add_reflection(server: Any, services: Iterable[str]) -> None:
    """Offer reflection of `services` (full names) and of itself on `server`."""
    pool = descriptor_pool.Default()
    _register_v1(pool)
    answers = _Answers([*services, V1, V1ALPHA], pool)
    handler = grpc.stream_stream_rpc_method_handler(
        answers.stream, messages.ServerReflectionRequest.FromString,
        messages.ServerReflectionResponse.SerializeToString)
    for service in (V1, V1ALPHA):
        server.add_registered_method_handlers(service, {METHOD: handler})


def _register_v1(pool: descriptor_pool.DescriptorPool) -> None:
    """Add the v1 file to the pool: that of v1alpha under the package of v1."""
    proto = descriptor_pb2.FileDescriptorProto.FromString(messages.DESCRIPTOR.serialized_pb)
    old, new = proto.package, V1.rpartition(".")[0]
    proto.name = "grpc/reflection/v1/reflection.proto"
    proto.package = new
    for message in proto.message_type:
        for item in (item for item in message.field if item.type_name):
            item.type_name = item.type_name.replace(old, new)
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)
    pool.AddSerializedFile(proto.SerializeToString())


class _Answers:
    def __init__(self, services: list[str], pool: descriptor_pool.DescriptorPool) -> None:
        self._services = sorted(services)
        self._pool = pool

    async def stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            reply = self._answer(request)
            reply.valid_host = request.host
            reply.original_request.CopyFrom(request)
            yield reply

    def _answer(self, request: Any) -> Any:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            return messages.ServerReflectionResponse(list_services_response=messages.ListServiceResponse(
                service=[messages.ServiceResponse(name=name) for name in self._services]))
        finders: dict[str, Callable[[Any], Any]] = {
            "file_by_filename": lambda r: self._files(self._pool.FindFileByName(r.file_by_filename)),
            "file_containing_symbol": lambda r: self._files(
                self._pool.FindFileContainingSymbol(r.file_containing_symbol)),
            "file_containing_extension": self._extension,
            "all_extension_numbers_of_type": self._extension_numbers,
        }
        finder = finders.get(kind)
        if finder is None:
            return _error(grpc.StatusCode.INVALID_ARGUMENT, "the request asks for nothing")
        try:
            return finder(request)
        except KeyError as error:
            return _error(grpc.StatusCode.NOT_FOUND, f"not found: {error.args[0] if error.args else kind}")

    def _extension(self, request: Any) -> Any:
        wanted = request.file_containing_extension
        message = self._pool.FindMessageTypeByName(wanted.containing_type)
        extension: Any = self._pool.FindExtensionByNumber(message, wanted.extension_number)
        return self._files(extension.file)

    def _extension_numbers(self, request: Any) -> Any:
        name = request.all_extension_numbers_of_type
        message = self._pool.FindMessageTypeByName(name)
        numbers = [extension.number for extension in self._pool.FindAllExtensions(message)]
        return messages.ServerReflectionResponse(all_extension_numbers_response=messages.ExtensionNumberResponse(
            base_type_name=name, extension_number=numbers))

    def _files(self, descriptor: Any) -> Any:
        """A file and everything it imports, each once."""
        seen: dict[str, bytes] = {}
        queue = [descriptor]
        while queue:
            file = queue.pop()
            if file.name not in seen:
                seen[file.name] = file.serialized_pb
                queue.extend(file.dependencies)
        return messages.ServerReflectionResponse(
            file_descriptor_response=messages.FileDescriptorResponse(file_descriptor_proto=list(seen.values())))


def _error(code: grpc.StatusCode, message: str) -> Any:
    return messages.ServerReflectionResponse(
        error_response=messages.ErrorResponse(error_code=code.value[0], error_message=message))
