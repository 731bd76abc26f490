"""What can go wrong at an object store, the same for every driver.

A driver raises these and nothing else; texts of a server are not quoted, they may repeat keys. `classify` is the one
place that says what a caller of the gateway sees.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from prism_proxy.errors import PrismError, StatusCode

RETRY_AFTER_S = 0.5


class ErrorCode(Enum):
    """The closed set of what an object store can answer beside success."""

    OBJECT_NOT_FOUND = "object_not_found"
    BUCKET_NOT_FOUND = "bucket_not_found"
    BUCKET_ALREADY_EXISTS = "bucket_already_exists"
    ACCESS_DENIED = "access_denied"
    QUOTA_EXCEEDED = "quota_exceeded"  # the store is full, or the caller's share of it
    UNAVAILABLE = "unavailable"  # no connection, or one that broke: the outcome of a write is unknown
    TIMEOUT = "timeout"
    CORRUPT = "corrupt"  # bytes are not those that were announced: length or checksum
    CHANGED = "changed"  # the object was replaced while it was read, or is not the one that was asked for
    UPLOAD_NOT_FOUND = "upload_not_found"
    INVALID_RANGE = "invalid_range"
    INVALID_NAME = "invalid_name"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"  # what no other code says


class ObjectStoreError(Exception):
    """`message` names what to change and quotes nothing of the server."""

    code: ErrorCode = ErrorCode.FAILED

    def __init__(self, message: str, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ObjectNotFound(ObjectStoreError):  # noqa: N818 - these five are names of the contract
    code = ErrorCode.OBJECT_NOT_FOUND


class BucketNotFound(ObjectStoreError):  # noqa: N818
    code = ErrorCode.BUCKET_NOT_FOUND


class BucketAlreadyExists(ObjectStoreError):  # noqa: N818
    """Somebody else has a bucket of this name."""

    code = ErrorCode.BUCKET_ALREADY_EXISTS


class AccessDenied(ObjectStoreError):  # noqa: N818
    code = ErrorCode.ACCESS_DENIED


class QuotaExceeded(ObjectStoreError):  # noqa: N818
    code = ErrorCode.QUOTA_EXCEEDED


class _Meaning(NamedTuple):
    code: StatusCode
    reason: str
    retry: bool = False


_MEANINGS = {
    ErrorCode.OBJECT_NOT_FOUND: _Meaning(StatusCode.NOT_FOUND, "OBJECT_NOT_FOUND"),
    ErrorCode.BUCKET_NOT_FOUND: _Meaning(StatusCode.NOT_FOUND, "BUCKET_NOT_FOUND"),
    ErrorCode.BUCKET_ALREADY_EXISTS: _Meaning(StatusCode.ALREADY_EXISTS, "BUCKET_ALREADY_EXISTS"),
    ErrorCode.ACCESS_DENIED: _Meaning(StatusCode.PERMISSION_DENIED, "OBJECT_STORE_ACCESS_DENIED"),
    ErrorCode.QUOTA_EXCEEDED: _Meaning(StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL"),
    ErrorCode.UNAVAILABLE: _Meaning(StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", retry=True),
    ErrorCode.TIMEOUT: _Meaning(StatusCode.UNAVAILABLE, "BACKEND_TIMEOUT", retry=True),
    ErrorCode.CORRUPT: _Meaning(StatusCode.DATA_LOSS, "OBJECT_CORRUPT"),
    ErrorCode.CHANGED: _Meaning(StatusCode.ABORTED, "OBJECT_CHANGED"),
    ErrorCode.UPLOAD_NOT_FOUND: _Meaning(StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND"),
    ErrorCode.INVALID_RANGE: _Meaning(StatusCode.OUT_OF_RANGE, "INVALID_RANGE"),
    ErrorCode.INVALID_NAME: _Meaning(StatusCode.INVALID_ARGUMENT, "INVALID_OBJECT_NAME"),
    ErrorCode.TOO_LARGE: _Meaning(StatusCode.RESOURCE_EXHAUSTED, "OBJECT_TOO_LARGE"),
    ErrorCode.UNSUPPORTED: _Meaning(StatusCode.UNIMPLEMENTED, "OBJECT_STORE_UNSUPPORTED"),
    ErrorCode.FAILED: _Meaning(StatusCode.INTERNAL, "BACKEND_ERROR"),
}


def classify(error: Exception, store: str = "object store") -> PrismError | None:
    """What a caller of the gateway sees of an error; None when it is none of an object store's."""
    if not isinstance(error, ObjectStoreError):
        return None
    meaning = _MEANINGS[error.code]
    made = PrismError(meaning.code, meaning.reason, error.message, {"backend": store, "error_code": error.code.value},
                      retry_after=RETRY_AFTER_S if meaning.retry else None)
    made.__cause__ = error
    return made
