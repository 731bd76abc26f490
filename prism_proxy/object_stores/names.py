"""Which names of buckets and objects every store takes alike. What is refused here reaches no store.

Keys are paths: a bucket would keep `a//b` or `../b` and a directory would not, so neither gets them. A backslash is a
slash to some servers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # settings name buckets before anything is served, and errors bring gRPC
    from prism_proxy.object_stores.errors import ObjectStoreError

MAX_KEY_BYTES = 1024
BUCKET_RULE = "3 to 63 lower case letters, digits, hyphens and dots, beginning and ending with a letter or digit"
KEY_RULE = (f"1 to {MAX_KEY_BYTES} bytes of UTF-8 without control characters and backslashes, and no part between "
            "slashes that is empty, . or ..")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def usable_bucket(bucket: str) -> bool:
    return _BUCKET.fullmatch(bucket) is not None and ".." not in bucket


def usable_key(key: str) -> bool:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:  # a lone surrogate
        return False
    if not 0 < size <= MAX_KEY_BYTES or _CONTROL.search(key):
        return False
    return not any(part in ("", ".", "..") for part in key.split("/"))


def check_bucket(bucket: str) -> None:
    """ObjectStoreError INVALID_NAME for a name that not every store takes."""
    if not usable_bucket(bucket):
        raise _invalid(f"the name of the bucket must be {BUCKET_RULE}")


def check_key(key: str) -> None:
    """As `check_bucket`, for an object."""
    if not usable_key(key):
        raise _invalid(f"the key of the object must be {KEY_RULE}")


def _invalid(message: str) -> ObjectStoreError:
    from prism_proxy.object_stores.errors import ErrorCode, ObjectStoreError

    return ObjectStoreError(message, ErrorCode.INVALID_NAME)
