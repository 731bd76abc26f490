"""What errors of obstore mean. It has few types and long texts; of a text only a code and a status are read."""

from __future__ import annotations

import re

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from prism_proxy.object_stores.errors import (
    AccessDenied,
    BucketNotFound,
    ErrorCode,
    ObjectNotFound,
    ObjectStoreError,
    QuotaExceeded,
)

_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>|\"(?:code|reason)\":\s*\"(\w+)\"")
_STATUS = re.compile(r"status code: (\d{3})")
_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
_QUOTA = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "StorageFull",
          "ServiceQuotaExceeded"}
_FULL_STATUS = {"507"}
_CORRUPT = {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "XAmzContentChecksumMismatch", "InvalidPart",
            "Md5Mismatch", "IncompleteBody"}
_BUSY = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "ServerBusy"}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_TIMEOUT = re.compile(r"kind: Timeout|operation timed out|deadline has elapsed|timed out", re.IGNORECASE)
_TRANSPORT = re.compile(r"HTTP error|HttpError|connection|reset|closed|decoding response body|incomplete|eof",
                        re.IGNORECASE)
ERRORS = (BaseError, FileNotFoundError, OSError, ValueError)


def meaning(error: Exception) -> ObjectStoreError | None:
    """The contract's error; None for what is no error of a store."""
    if not isinstance(error, ERRORS):
        return None
    text = str(error)
    code = code_in(text)
    status = match[1] if (match := _STATUS.search(text)) else ""
    by_code = of_code(code, status)
    if by_code is not None:
        return by_code
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound("there is no such object")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return _denied()
    if isinstance(error, (PreconditionError, AlreadyExistsError)):
        return ObjectStoreError("the object is another one by now", ErrorCode.CHANGED)
    if isinstance(error, (InvalidPathError, ValueError)):
        return ObjectStoreError("the store does not take this name", ErrorCode.INVALID_NAME)
    if isinstance(error, (NotSupportedError, NotImplementedError)):
        return ObjectStoreError("the store does not do this", ErrorCode.UNSUPPORTED)
    if _TIMEOUT.search(text):
        return timed_out()
    if not status and _TRANSPORT.search(text):
        return away()
    return ObjectStoreError("the object store refused the request", ErrorCode.FAILED)


def code_in(text: str) -> str:
    """The error code of an answer of S3, GCS or Azure; empty when it has none."""
    found = _CODE.search(text)
    return next((part for part in found.groups() if part), "") if found is not None else ""


def of_code(code: str, status: str) -> ObjectStoreError | None:
    """What a store's own error code and HTTP status mean; None where they do not decide it."""
    if code in _BUCKET:
        return BucketNotFound("there is no such bucket: create it")
    if code in ("NoSuchKey", "BlobNotFound"):
        return ObjectNotFound("there is no such object")
    if code == "NoSuchUpload":
        return ObjectStoreError("the upload was aborted, or completed", ErrorCode.UPLOAD_NOT_FOUND)
    if code in ("KeyTooLongError", "InvalidObjectName", "InvalidBucketName"):
        return ObjectStoreError("the store does not take this name", ErrorCode.INVALID_NAME)
    if code == "EntityTooLarge":
        return ObjectStoreError("the store takes no object of this size: raise part_bytes", ErrorCode.TOO_LARGE)
    if code in _QUOTA or status in _FULL_STATUS:
        return QuotaExceeded("the object store is full, or the share of this account: delete objects or raise it")
    if code in _CORRUPT:
        return ObjectStoreError("other bytes came to the store than were sent", ErrorCode.CORRUPT)
    if code == "PreconditionFailed" or status == "412":
        return ObjectStoreError("the object is another one by now", ErrorCode.CHANGED)
    if code == "InvalidRange" or status == "416":
        return ObjectStoreError("the range begins behind the end of the object", ErrorCode.INVALID_RANGE)
    if code in _DENIED or status in ("401", "403"):
        return _denied()
    if code in _BUSY or status in ("429", "500", "502", "503", "504"):
        return ObjectStoreError("the object store cannot serve the request now", ErrorCode.UNAVAILABLE)
    return None


def away() -> ObjectStoreError:
    return ObjectStoreError("there is no connection to the object store, or it broke: look at its endpoint",
                            ErrorCode.UNAVAILABLE)


def timed_out() -> ObjectStoreError:
    return ObjectStoreError("the object store was silent for longer than the setting timeout", ErrorCode.TIMEOUT)


def _denied() -> ObjectStoreError:
    return AccessDenied("the object store refuses these credentials, or what they may do: correct access_key, "
                        "secret_key and the policy of the bucket")
