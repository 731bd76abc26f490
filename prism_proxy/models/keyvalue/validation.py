"""What a KeyValue request may contain. Every refusal names the field and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Sized

from prism_proxy.errors import PrismError, invalid

MAX_KEY_BYTES = 64 * 1024
MAX_BATCH_ITEMS = 10_000
# 285 years: what a store that counts nanoseconds in 64 bits can hold. One bound for all stores, so that none cuts.
MAX_TTL_SECONDS = 9_000_000_000
NARROW_KEY = re.compile(r"[a-zA-Z0-9:_-]+")


def key(text: str, *, narrow: bool = False) -> bytes:
    """The key as bytes: 1 byte to 64 KiB of UTF-8, and with `narrow` only letters, digits, colon, '_' and '-'."""
    encoded = _encoded("key", text)
    if not encoded:
        raise _invalid_key("key", "key must not be empty", text, "1 byte to 64 KiB")
    if narrow and not NARROW_KEY.fullmatch(text):
        raise _invalid_key("key", "this namespace allows letters, digits, ':', '_' and '-' in keys only", text,
                           NARROW_KEY.pattern)
    return encoded


def prefix(text: str) -> bytes:
    """The prefix of keys as bytes; it may be empty."""
    return _encoded("prefix", text)


def _encoded(field_name: str, text: str) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise _invalid_key(field_name, f"{field_name} is not valid Unicode", ascii(text), "UTF-8") from None
    if len(encoded) > MAX_KEY_BYTES:
        raise _invalid_key(field_name, f"{field_name} has {len(encoded)} bytes; at most {MAX_KEY_BYTES} are allowed",
                           text, "at most 64 KiB")
    return encoded


def _invalid_key(field_name: str, message: str, value: str, constraint: str) -> PrismError:
    return invalid(field_name, message, reason="INVALID_KEY", value=value, constraint=constraint)


def batch(items: Sized, field_name: str) -> None:
    if len(items) > MAX_BATCH_ITEMS:
        raise invalid(field_name, f"{field_name} has {len(items)} items; at most {MAX_BATCH_ITEMS} are allowed",
                      constraint=f"at most {MAX_BATCH_ITEMS}")


def limit(value: int) -> int:
    if value < 0:
        raise invalid("limit", f"limit is {value}; use 0 for all, or a positive number", constraint=">= 0")
    return value


def ttl(seconds: int) -> int:
    if not 0 <= seconds <= MAX_TTL_SECONDS:
        raise invalid("ttl_seconds", f"ttl_seconds is {seconds}; use 0 to expire now, or at most "
                      f"{MAX_TTL_SECONDS}; Persist removes an expiry", constraint=f"0 to {MAX_TTL_SECONDS}")
    return seconds
