"""What reflection answers: files of contracts by name, symbol and extension, from the pools of descriptors.

The two versions have the same messages under different packages; the v1 descriptor is made from that of v1alpha, which
is what the grpcio-reflection package ships, and kept in a pool of its own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2 as messages


class ReflectionReplies:
    """Answers from the default descriptor pool, which holds every imported contract."""

    def __init__(self, services: Callable[[], Iterable[str]], load: Callable[[], None]) -> None:
        self._services = services
        self._load = load
        self._pools = (descriptor_pool.Default(), _v1_pool())

    def reply(self, data: bytes) -> bytes:
        """The encoded reply to one encoded request."""
        try:
            request = messages.ServerReflectionRequest.FromString(data)
        except DecodeError:
            return bytes(_error(
                grpc.StatusCode.INVALID_ARGUMENT, "the request is no ServerReflectionRequest").SerializeToString())
        reply = self._answer(request)
        reply.valid_host = request.host
        reply.original_request.CopyFrom(request)
        return bytes(reply.SerializeToString())

    def _answer(self, request: Any) -> Any:
        self._load()
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            return messages.ServerReflectionResponse(list_services_response=messages.ListServiceResponse(
                service=[messages.ServiceResponse(name=name) for name in sorted(self._services())]))
        finders: dict[str, Callable[[Any], Any]] = {
            "file_by_filename": lambda r: self._files(self._find("FindFileByName", r.file_by_filename)),
            "file_containing_symbol": lambda r: self._files(self._file_of(r.file_containing_symbol)),
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
        message = self._find("FindMessageTypeByName", wanted.containing_type)
        return self._files(self._find("FindExtensionByNumber", message, wanted.extension_number).file)

    def _extension_numbers(self, request: Any) -> Any:
        name = request.all_extension_numbers_of_type
        message = self._find("FindMessageTypeByName", name)
        numbers = sorted({found.number for pool in self._pools for found in pool.FindAllExtensions(message)})
        return messages.ServerReflectionResponse(all_extension_numbers_response=messages.ExtensionNumberResponse(
            base_type_name=name, extension_number=numbers))

    def _file_of(self, symbol: str) -> Any:
        """The file that declares a symbol. KeyError when none does."""
        try:
            return self._find("FindFileContainingSymbol", symbol)
        except KeyError:
            # The pool knows neither methods nor fields by name; what declares them does.
            parent, _, name = symbol.rpartition(".")
            for kind, members in (("Service", "methods_by_name"), ("MessageType", "fields_by_name")):
                with contextlib.suppress(KeyError):
                    declaring = self._find(f"Find{kind}ByName", parent)
                    if name in getattr(declaring, members):
                        return declaring.file
            raise

    def _find(self, method: str, *key: Any) -> Any:
        """What the first pool has that knows the key. KeyError when none does."""
        for pool in self._pools[:-1]:
            try:
                return getattr(pool, method)(*key)
            except KeyError:
                continue
        return getattr(self._pools[-1], method)(*key)

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


@functools.cache
def _v1_pool() -> descriptor_pool.DescriptorPool:
    """A pool with grpc/reflection/v1/reflection.proto: the v1alpha file under its later name."""
    file = descriptor_pb2.FileDescriptorProto.FromString(messages.DESCRIPTOR.serialized_pb)
    old, new = f".{file.package}.", ".grpc.reflection.v1."
    file.package = "grpc.reflection.v1"
    file.name = "grpc/reflection/v1/reflection.proto"
    for message in file.message_type:
        for item in (item for item in message.field if item.type_name):
            item.type_name = item.type_name.replace(old, new)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
