"""What of a caller's words is refused before any of it reaches a store."""

from __future__ import annotations

import re
from collections.abc import Mapping

from prism_proxy.errors import invalid
from prism_proxy.object_stores.names import KEY_RULE, MAX_KEY_BYTES, usable_key

MAX_METADATA_BYTES = 2048  # what S3 takes
MAX_CONTENT_TYPE = 255
METADATA_RULE = (f"at most {MAX_METADATA_BYTES} bytes in all; keys of lower case letters, digits, - and _; values of "
                 "printable ASCII without a space at either end")
_KEY = re.compile(r"[a-z0-9_-]{1,128}")
_CONTENT_TYPE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def key(text: str, field: str = "key") -> str:
    if not usable_key(text):
        raise invalid(field, f"the key of an object must have {KEY_RULE}", reason="INVALID_KEY", constraint=KEY_RULE)
    return text


def prefix(text: str, field: str = "prefix") -> str:
    """Of keys; it may be empty, and end within a part of a key."""
    if len(text.encode()) > MAX_KEY_BYTES or any(ord(char) < 0x20 or char == "\x7f" for char in text):
        raise invalid(field, f"it must have at most {MAX_KEY_BYTES} bytes and no control characters")
    return text


def metadata(found: Mapping[str, str]) -> dict[str, str]:
    usable = all(_KEY.fullmatch(key) and (not value or _CONTENT_TYPE.fullmatch(value)) for key, value in found.items())
    if not usable or sum(len(key) + len(value) for key, value in found.items()) > MAX_METADATA_BYTES:
        raise invalid("metadata", f"the metadata of an object must be {METADATA_RULE}", constraint=METADATA_RULE)
    return dict(found)


def content_type(text: str) -> str:
    if text and (len(text) > MAX_CONTENT_TYPE or not _CONTENT_TYPE.fullmatch(text)):
        raise invalid("content_type", f"it must have at most {MAX_CONTENT_TYPE} characters of printable ASCII")
    return text
