"""Where the object of a claim is. The proxy derives it, and refuses a claim that says anything else.

    {namespace}/{topic}/{claim_id}            while the message is where it was published
    _dead/{namespace}/{topic}/{claim_id}      a copy, from the moment at which it may become a dead letter

What is no letter, digit, `_`, `-` or `.` in a name is escaped as `!XX`, and so are a `.` and a `_` at its beginning: no
part of a key is `.` or `..`, has a slash, or needs an escape of the store's own. A long part is cut and ends with the
SHA-256 of the name: no part has more than 200 bytes, which every file system takes.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

DEAD = "_dead"
MAX_PART = 200
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_claim_id(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def part(name: str) -> str:
    """A name as one part of a key; different names have different parts. ValueError for an empty one."""
    if not name:
        raise ValueError("an empty name is no part of a key")
    escaped = quote(name, safe="").replace("~", "%7E").replace("%", "!")
    if escaped[0] in "._":
        escaped = f"!{ord(escaped[0]):02X}{escaped[1:]}"
    if len(escaped) <= MAX_PART:
        return escaped
    return f"{escaped[:MAX_PART - 66]}!-{hashlib.sha256(name.encode()).hexdigest()}"  # `!-` escapes nothing


def prefix(namespace: str) -> str:
    """That of all claims of a namespace, and of no other one's."""
    return f"{part(namespace)}/"


def dead_prefix(namespace: str) -> str:
    return f"{DEAD}/{prefix(namespace)}"


def key(namespace: str, topic: str, claim_id: str) -> str:
    return f"{prefix(namespace)}{part(topic)}/{claim_id}"


def dead_key(namespace: str, topic: str, claim_id: str) -> str:
    return f"{DEAD}/{key(namespace, topic, claim_id)}"
