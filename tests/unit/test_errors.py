"""Every error as a caller decodes it: status, message, ErrorInfo, RetryInfo, prism.common.Error."""

from __future__ import annotations

from base64 import b64decode
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from prism.common import errors_pb2
from prism_proxy.errors import (
    MAX_MESSAGE_CHARS,
    PrismError,
    describe,
    interface_not_supported,
    invalid,
    status_of,
)

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
# the mapping of the specification, read the other way: which codes a status may carry
HTTP_STYLE = {
    grpc.StatusCode.INVALID_ARGUMENT: {400, 422}, grpc.StatusCode.UNAUTHENTICATED: {401},
    grpc.StatusCode.PERMISSION_DENIED: {403}, grpc.StatusCode.NOT_FOUND: {404, 410},
    grpc.StatusCode.ALREADY_EXISTS: {409}, grpc.StatusCode.ABORTED: {409}, grpc.StatusCode.FAILED_PRECONDITION: {412},
    grpc.StatusCode.RESOURCE_EXHAUSTED: {413, 429, 507}, grpc.StatusCode.INTERNAL: {500, 600},
    grpc.StatusCode.UNIMPLEMENTED: {405, 501, 602}, grpc.StatusCode.UNAVAILABLE: {502, 503, 600, 604},
    grpc.StatusCode.DEADLINE_EXCEEDED: {504},
}


def decoded(
    error: PrismError, request_id: str | None = None
) -> tuple[Any, error_details_pb2.ErrorInfo, errors_pb2.Error]:
    """(status, ErrorInfo, rich error) as grpcio's own helper reads them from a failed call."""
    code, message, trailers = status_of(error, request_id)
    call = SimpleNamespace(code=lambda: code, details=lambda: message, trailing_metadata=lambda: trailers)
    status = rpc_status.from_call(call)
    info, rich = error_details_pb2.ErrorInfo(), errors_pb2.Error()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(rich)
    return status, info, rich


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_every_code(code: grpc.StatusCode) -> None:
    error = PrismError(code, "SOME_REASON", "what to change", {"namespace": "orders"})
    status, info, rich = decoded(error, "request-1")
    assert (status.code, status.message) == (code.value[0], "what to change")
    assert (info.reason, info.domain, dict(info.metadata)) == ("SOME_REASON", "prism.proxy.v1", {"namespace": "orders"})
    assert rich.code in errors_pb2.ErrorCode.values()
    assert rich.code in HTTP_STYLE.get(code, {rich.code})
    assert rich.category != errors_pb2.ERROR_CATEGORY_UNSPECIFIED
    assert rich.severity != errors_pb2.ERROR_SEVERITY_UNSPECIFIED
    assert (rich.message, rich.request_id, rich.namespace) == ("what to change", "request-1", "orders")
    assert rich.timestamp.seconds > 1_700_000_000
    assert not rich.retry_policy.retryable


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_both_servers_are_told_the_same(code: grpc.StatusCode) -> None:
    error = PrismError(code, "SOME_REASON", "message", retry_after=0.25)
    number, message, raw = describe(error, "request-1")
    native = {key.decode(): value for key, value in raw}
    reference = dict(status_of(error, "request-1")[2])
    assert (number, message) == (code.value[0], "message")
    assert native.keys() == reference.keys() == {"grpc-status-details-bin", "x-request-id", "grpc-retry-pushback-ms"}
    details = native["grpc-status-details-bin"]
    one = status_pb2.Status.FromString(b64decode(details + b"=" * (-len(details) % 4)))
    other = status_pb2.Status.FromString(bytes(reference["grpc-status-details-bin"]))
    assert one.details[:2] == other.details[:2]  # the third holds the time of day
    assert native["x-request-id"] == b"request-1"
    assert native["grpc-retry-pushback-ms"] == b"250"


def test_native_errors_come_as_tuples() -> None:
    number, message, trailers = describe((5, "NAMESPACE_NOT_FOUND", "there is no namespace 'x' on this proxy"))
    assert (number, message) == (5, "there is no namespace 'x' on this proxy")
    assert {key for key, _ in trailers} == {b"grpc-status-details-bin", b"x-request-id"}


def test_retryable_errors_say_when() -> None:
    error = PrismError(grpc.StatusCode.UNAVAILABLE, "POOL_EXHAUSTED", "wait", retry_after=10.0)
    status, _, rich = decoded(error)
    retry = error_details_pb2.RetryInfo()
    assert [detail.Unpack(retry) for detail in status.details].count(True) == 1
    assert retry.retry_delay.ToMilliseconds() == 10_000
    assert rich.retry_policy.retryable
    assert rich.retry_policy.retry_after.ToMilliseconds() == 10_000
    assert rich.retry_policy.backoff_multiplier == 2.0


def test_a_request_id_is_made_up_when_there_is_none() -> None:
    ids = {dict(status_of(PrismError(grpc.StatusCode.INTERNAL, "R", "m"))[2])["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_an_invalid_key_is_a_validation_error_about_its_field() -> None:
    error = invalid("key", "only letters", reason="INVALID_KEY", value="a b" + "x" * 500, constraint="[a-z]+")
    _, info, rich = decoded(error)
    assert info.reason == "INVALID_KEY"
    assert rich.code == errors_pb2.ERROR_CODE_UNPROCESSABLE_ENTITY
    assert rich.category == errors_pb2.ERROR_CATEGORY_VALIDATION_ERROR
    violation = rich.details[0].field_violation
    assert (violation.field, violation.description, violation.constraint) == ("key", "only letters", "[a-z]+")
    assert violation.invalid_value == ("a b" + "x" * 500)[:64]


def test_err2_a_missing_interface_lists_what_there_is() -> None:
    _, info, rich = decoded(interface_not_supported("keyvalue_ttl", "plain", ("keyvalue_basic", "keyvalue_scan")))
    assert info.reason == "INTERFACE_NOT_SUPPORTED"
    assert rich.code == errors_pb2.ERROR_CODE_INTERFACE_NOT_SUPPORTED
    assert not rich.retry_policy.retryable
    pattern = rich.details[0].pattern_error
    assert pattern.interface_name == "keyvalue_ttl"
    assert list(pattern.supported_operations) == ["keyvalue_basic", "keyvalue_scan"]


def test_err5_a_backend_error_names_backend_and_causes_but_quotes_no_text() -> None:
    error = PrismError(grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", "is down",
                       {"backend": "store", "operation": "Get"}, retry_after=5.0)
    error.__cause__ = ConnectionError("password=secret")
    error.__cause__.__cause__ = TimeoutError("payload")
    _, _, rich = decoded(error, "request-1")
    backend = rich.details[0].backend_error
    assert (backend.backend_type, backend.operation) == ("store", "Get")
    assert backend.backend_error_code == "BACKEND_UNAVAILABLE"
    assert [(cause.message, cause.source) for cause in rich.causes] == [
        ("ConnectionError", "store"), ("TimeoutError", "store")]
    assert b"secret" not in rich.SerializeToString()


def test_long_messages_are_cut() -> None:
    _, message, trailers = status_of(PrismError(grpc.StatusCode.INTERNAL, "R", "x" * 5000))
    assert len(message) == MAX_MESSAGE_CHARS
    assert sum(len(value) for _, value in trailers) < 8192
