"""The gRPC status of each error, with one violation a problem."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from prism_schema_registry.errors import RegistryError

DOMAIN = "prism.schema_registry.v1"
_CODES = {404: grpc.StatusCode.NOT_FOUND, 422: grpc.StatusCode.INVALID_ARGUMENT,
          409: grpc.StatusCode.FAILED_PRECONDITION, 500: grpc.StatusCode.UNAVAILABLE}
_EXACT = {40901: (grpc.StatusCode.ALREADY_EXISTS, "VERSION_EXISTS"), 409: (None, "BREAKING_CHANGE"),
          42205: (grpc.StatusCode.FAILED_PRECONDITION, "NOT_PERMITTED"),
          42206: (grpc.StatusCode.FAILED_PRECONDITION, "REFERENCE_EXISTS"), 42201: (None, "INVALID_SCHEMA")}


async def abort(context: Any, code: grpc.StatusCode, message: str) -> NoReturn:
    """End a call."""
    await context.abort(code, message)
    raise AssertionError("abort returned")


async def abort_with(context: Any, error: RegistryError) -> NoReturn:
    """End a call with the status of an error, an ErrorInfo, and what was found as violations."""
    exact, reason = _EXACT.get(error.code, (None, "INVALID_REQUEST"))
    code = exact or _CODES.get(error.status, grpc.StatusCode.INTERNAL)
    status = status_pb2.Status(code=code.value[0], message=error.message[:1024])
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"error_code": str(error.code)})
    details: list[Any] = [info]
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        details.append(error_details_pb2.BadRequest(field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="schema_content", description=problem[:512])
            for problem in (error.problems or (error.message,))[:16]]))
    elif error.problems:
        details.append(error_details_pb2.PreconditionFailure(violations=[
            error_details_pb2.PreconditionFailure.Violation(type=reason, description=problem[:512])
            for problem in error.problems[:16]]))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort returned")
