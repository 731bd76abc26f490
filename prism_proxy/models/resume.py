"""Where an ended stream goes on: opaque text that its caller sends back as request metadata of the same name."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from prism_proxy.errors import RESUME_TRAILER, invalid

_VERSION = b"\x01"
MAX_CHARS = 8192


def token(kind: bytes, position: bytes) -> str:
    """`kind` tells what it resumes, so that it fits nothing else."""
    return urlsafe_b64encode(_VERSION + bytes([len(kind)]) + kind + position).decode().rstrip("=")


def position_in(caller: Any, kind: bytes) -> bytes | None:
    """The position that the call wants to go on at; None when it says nothing. INVALID_ARGUMENT for another's."""
    sent = next((value for key, value in caller.invocation_metadata() or () if key == RESUME_TRAILER), None) \
        if caller is not None else None
    if sent is None:
        return None
    wrong = invalid(RESUME_TRAILER, f"{RESUME_TRAILER} is not of such a stream: send what its end said, or nothing")
    if not isinstance(sent, str) or len(sent) > MAX_CHARS:
        raise wrong
    try:
        data = urlsafe_b64decode(sent + "=" * (-len(sent) % 4))
    except (binascii.Error, ValueError):
        raise wrong from None
    head = _VERSION + bytes([len(kind)]) + kind
    if not data.startswith(head):
        raise wrong
    return data[len(head):]
