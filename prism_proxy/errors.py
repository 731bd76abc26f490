"""The one error type of the data plane, and the one place that turns it into what a caller sees.

Any room raises `PrismError`; `describe` encodes it as gRPC status, `google.rpc.ErrorInfo`, `google.rpc.RetryInfo` and
`prism.common.Error` in `grpc-status-details-bin`. gRPC status is the only error channel.
"""

from __future__ import annotations

import time
import uuid
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from prism.common import errors_pb2

StatusCode = grpc.StatusCode
MAX_MESSAGE_CHARS = 1024  # keeps the trailers of a failed call within any client's header limit
MAX_VALUE_CHARS = 64  # of a caller's value quoted back
MAX_CAUSES = 8
DOMAIN = "prism.proxy.v1"
RESUME_TRAILER = "x-prism-resume"


@dataclass(frozen=True, slots=True)
class Quota:
    """The limit a call ran into; `reset_time` (Unix seconds) is when the caller starts afresh."""

    dimension: str
    current: int
    limit: int
    reset_time: float


@dataclass(eq=False)
class PrismError(Exception):
    """A call failed.

    `reason` is a stable UPPER_SNAKE name; `message` says what to change; `retry_after` (seconds) makes it retryable.
    `metadata` keys with a meaning: `namespace`, `backend`, `operation`, and `outcome`, which is `not_executed` or
    `unknown` where the caller cannot tell. `__cause__` is passed on by type only: its text may quote a payload.
    `resume` is where a stream that ends with it can go on: trailer `x-prism-resume`.
    """

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    field_name: str | None = None
    invalid_value: str | None = None
    constraint: str | None = None
    interface: str | None = None
    supported: tuple[str, ...] = ()
    quota: Quota | None = None
    domain: str = DOMAIN
    resume: str | None = None

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def invalid(
    field_name: str, message: str, *, reason: str = "INVALID_ARGUMENT", value: str | None = None,
    constraint: str | None = None,
) -> PrismError:
    """INVALID_ARGUMENT about one field of the request."""
    return PrismError(StatusCode.INVALID_ARGUMENT, reason, message, field_name=field_name, invalid_value=value,
                      constraint=constraint)


def interface_not_supported(
    interface: str, backend: str, supported: tuple[str, ...], switch: str = ""
) -> PrismError:
    """UNIMPLEMENTED: the backend of the namespace lacks an interface. `supported` lists those it has, `switch` names a
    setting that gives more."""
    return PrismError(
        StatusCode.UNIMPLEMENTED, "INTERFACE_NOT_SUPPORTED",
        f"backend {backend} of this namespace does not implement {interface}; it implements {', '.join(supported)}"
        + (f"; {switch}" if switch else ""),
        {"interface": interface, "backend": backend}, interface=interface, supported=supported)


# gRPC status -> (prism.common.ErrorCode, ErrorCategory, ErrorSeverity)
_FORMS: dict[grpc.StatusCode, tuple[int, int, int]] = {
    StatusCode.CANCELLED: (500, 2, 2),
    StatusCode.UNKNOWN: (500, 2, 4),
    StatusCode.INVALID_ARGUMENT: (400, 8, 3),
    StatusCode.DEADLINE_EXCEEDED: (504, 5, 3),
    StatusCode.NOT_FOUND: (404, 1, 2),
    StatusCode.ALREADY_EXISTS: (409, 10, 3),
    StatusCode.PERMISSION_DENIED: (403, 7, 3),
    StatusCode.RESOURCE_EXHAUSTED: (429, 6, 3),
    StatusCode.FAILED_PRECONDITION: (412, 1, 3),
    StatusCode.ABORTED: (409, 10, 3),
    StatusCode.OUT_OF_RANGE: (400, 8, 3),
    StatusCode.UNIMPLEMENTED: (501, 1, 3),
    StatusCode.INTERNAL: (500, 2, 4),
    StatusCode.UNAVAILABLE: (503, 2, 4),
    StatusCode.DATA_LOSS: (500, 2, 5),
    StatusCode.UNAUTHENTICATED: (401, 7, 3),
}
# reasons whose form is more exact than that of their status
_REASONS: dict[str, tuple[int, int, int]] = {
    "INVALID_KEY": (422, 8, 3),
    "INTERFACE_NOT_SUPPORTED": (602, 1, 3),
    "SLOT_ERROR": (603, 1, 4),
    "MESSAGE_TOO_LARGE": (413, 1, 3),
    "STORE_FULL": (507, 9, 4),
    "BACKEND_UNAVAILABLE": (600, 3, 4),
    "POOL_EXHAUSTED": (503, 3, 5),
    "CIRCUIT_OPEN": (604, 3, 4),
}
_BY_NUMBER = {code.value[0]: code for code in StatusCode}


def kind_of(status: int) -> tuple[str, str, str]:
    """What prism.common.Error says of a gRPC status by its number, in words: category, code, severity."""
    from prism.common import errors_pb2

    code, category, severity = _FORMS[_BY_NUMBER[status]]
    return (errors_pb2.ErrorCategory.Name(category).removeprefix("ERROR_CATEGORY_"),
            errors_pb2.ErrorCode.Name(code).removeprefix("ERROR_CODE_"),
            errors_pb2.ErrorSeverity.Name(severity).removeprefix("ERROR_SEVERITY_"))


def describe(
    error: PrismError | tuple[int, str, str], request_id: str | None = None
) -> tuple[int, str, list[tuple[bytes, bytes]]]:
    """(gRPC status number, message, trailing metadata) of an error, ready for the wire.

    The trailers hold `grpc-status-details-bin` and `x-request-id`, which is made up when the caller sent none.
    """
    if isinstance(error, tuple):
        number, reason, text = error
        error = PrismError(_BY_NUMBER[number], reason, text)
    request_id = request_id or uuid.uuid4().hex
    message = error.message[:MAX_MESSAGE_CHARS]
    details = _status_details(error, message, request_id)
    trailers = [
        (b"grpc-status-details-bin", b2a_base64(details, newline=False).rstrip(b"=")),
        (b"x-request-id", request_id.encode("ascii", "replace")),
    ]
    pushback = _pushback(error)
    if pushback is not None:
        trailers.append((b"grpc-retry-pushback-ms", pushback.encode()))
    if error.resume is not None:
        trailers.append((RESUME_TRAILER.encode(), error.resume.encode()))
    return int(error.code.value[0]), message, trailers


def status_of(
    error: PrismError, request_id: str | None = None
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """As `describe`, in grpcio's terms: what `abort` of a servicer context takes."""
    request_id = request_id or uuid.uuid4().hex
    message = error.message[:MAX_MESSAGE_CHARS]
    trailers: list[tuple[str, str | bytes]] = [
        ("grpc-status-details-bin", _status_details(error, message, request_id)), ("x-request-id", request_id)]
    pushback = _pushback(error)
    if pushback is not None:
        trailers.append(("grpc-retry-pushback-ms", pushback))
    if error.resume is not None:
        trailers.append((RESUME_TRAILER, error.resume))
    return error.code, message, tuple(trailers)


def _pushback(error: PrismError) -> str | None:
    """What stock retry policies read: milliseconds to wait, or a negative number for calls not to be retried."""
    if error.retry_after is not None:
        return str(int(error.retry_after * 1000))
    never = error.quota is not None or error.metadata.get("outcome") == "unknown"
    return "-1" if never else None


def _status_details(error: PrismError, message: str, request_id: str) -> bytes:
    """A serialized google.rpc.Status with ErrorInfo, RetryInfo (when retryable) and prism.common.Error."""
    # Imported here: most processes start without ever failing a call, and these cost milliseconds.
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status(code=error.code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=error.domain, metadata=dict(error.metadata))
    status.details.add().Pack(info)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after * 1e9))
        status.details.add().Pack(retry)
    status.details.add().Pack(_rich_error(error, message, request_id))
    return bytes(status.SerializeToString())


def _rich_error(error: PrismError, message: str, request_id: str) -> errors_pb2.Error:
    from prism.common import errors_pb2

    form: tuple[Any, Any, Any] = _REASONS.get(error.reason) or _FORMS.get(error.code, (500, 2, 4))
    code, category, severity = form
    rich = errors_pb2.Error(
        code=code, message=message, request_id=request_id, category=category, severity=severity, source="prism-proxy",
        namespace=error.metadata.get("namespace", ""), metadata=dict(error.metadata))
    rich.timestamp.FromNanoseconds(time.time_ns())
    rich.retry_policy.retryable = error.retry_after is not None
    if error.retry_after is not None:
        rich.retry_policy.retry_after.FromNanoseconds(int(error.retry_after * 1e9))
        rich.retry_policy.max_retries = 3 if error.quota is None else 10
        rich.retry_policy.backoff_strategy = (
            errors_pb2.BACKOFF_STRATEGY_EXPONENTIAL if error.quota is None else errors_pb2.BACKOFF_STRATEGY_LINEAR)
        rich.retry_policy.backoff_multiplier = 2.0
    if error.field_name is not None:
        rich.details.add().field_violation.CopyFrom(errors_pb2.FieldViolation(
            field=error.field_name, description=message, constraint=error.constraint or "",
            invalid_value=(error.invalid_value or "")[:MAX_VALUE_CHARS]))
    if error.quota is not None:
        quota = errors_pb2.QuotaViolation(
            dimension=error.quota.dimension, current=error.quota.current, limit=error.quota.limit)
        quota.reset_time.FromMilliseconds(int(error.quota.reset_time * 1000))
        rich.details.add().quota_violation.CopyFrom(quota)
    if error.interface is not None:
        rich.details.add().pattern_error.CopyFrom(errors_pb2.PatternError(
            interface_name=error.interface, semantic_error=message, supported_operations=error.supported))
    elif "backend" in error.metadata:
        rich.details.add().backend_error.CopyFrom(errors_pb2.BackendError(
            backend_type=error.metadata["backend"], backend_error_code=error.reason, backend_error_message=message,
            operation=error.metadata.get("operation", "")))
    cause = error.__cause__
    while cause is not None and len(rich.causes) < MAX_CAUSES:
        rich.causes.add(message=type(cause).__name__, request_id=request_id,
                        source=error.metadata.get("backend", "prism-proxy"))
        cause = cause.__cause__
    return rich
