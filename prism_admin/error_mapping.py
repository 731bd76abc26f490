"""The one place that gives errors of the admin their gRPC status."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2

from prism_admin.coordinator import UnknownProxyError
from prism_admin.registry import InvalidNamespaceError, NamespaceRefusedError, NoOwnerError
from prism_admin.storage.errors import AlreadyExistsError, ConflictError, NotFoundError
from prism_runtime.storage.errors import LeaseLostError, StorageError

DOMAIN = "admin.prism"
_ANSWERS: dict[type[Exception], tuple[grpc.StatusCode, str]] = {  # the first that fits
    NamespaceRefusedError: (grpc.StatusCode.INVALID_ARGUMENT, "NAMESPACE_REFUSED"),
    InvalidNamespaceError: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_NAMESPACE"),
    NoOwnerError: (grpc.StatusCode.FAILED_PRECONDITION, "NO_PROXY"),
    UnknownProxyError: (grpc.StatusCode.NOT_FOUND, "UNKNOWN_PROXY"),
    NotFoundError: (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    AlreadyExistsError: (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    ConflictError: (grpc.StatusCode.ABORTED, "CONFLICT"),
    LeaseLostError: (grpc.StatusCode.UNAVAILABLE, "LEASE_LOST"),
    StorageError: (grpc.StatusCode.INTERNAL, "STORAGE_FAILED"),
    ValueError: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
}
ANSWERED = tuple(_ANSWERS)


async def abort_with(context: Any, error: Exception) -> NoReturn:
    """End the call as `error`, one of ANSWERED, is answered."""
    code, reason = next(answer for kind, answer in _ANSWERS.items() if isinstance(error, kind))
    await abort(context, code, reason, str(error))


async def abort(context: Any, code: grpc.StatusCode, reason: str, text: str) -> NoReturn:
    """End the call with a status and its machine-readable reason (google.rpc.ErrorInfo)."""
    status = status_pb2.Status(code=code.value[0], message=text)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, text)
    raise AssertionError("abort raises")
