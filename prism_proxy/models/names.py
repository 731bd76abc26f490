"""Names that clients give: topics, patterns, streams, queues. What a broker keeps for itself never passes.

The rules are those of the strictest broker, so that a namespace can change its backend.
"""

from __future__ import annotations

from prism_proxy.envelope.attributes import has_control
from prism_proxy.errors import PrismError, invalid

MAX_BYTES = 255
_RESERVED = ("$", "_INBOX", "__")
RULE = (f"1 to {MAX_BYTES} bytes, without spaces and control characters, not beginning with $, _INBOX or __, in tokens "
        "between dots that are not empty")


def topic(text: str, field: str = "topic") -> str:
    """A topic that is published to or read. PrismError INVALID_ARGUMENT."""
    tokens = _tokens(text, field)
    if any("*" in token or ">" in token for token in tokens):
        raise _invalid(field, "has a wildcard: only patterns may", text)
    return text


def pattern(text: str, field: str = "pattern") -> str:
    """A topic in which * stands for one token and a last > for one or more. PrismError INVALID_ARGUMENT."""
    tokens = _tokens(text, field)
    for at, token in enumerate(tokens):
        if token in ("*", ">"):
            if token == ">" and at < len(tokens) - 1:
                raise _invalid(field, "has > before its end", text)
        elif "*" in token or ">" in token:
            raise _invalid(field, "has a wildcard within a token: it must be the whole token", text)
    return text


def identity(text: str, field: str) -> str:
    """What a caller calls itself, or a key; empty where it leaves that to the proxy."""
    if len(text.encode()) > MAX_BYTES or has_control(text):
        raise invalid(field, f"{field} has at most {MAX_BYTES} bytes and no control character", value=text)
    return text


def _tokens(text: str, field: str) -> list[str]:
    if not text:
        raise _invalid(field, "is empty", text)
    if len(text.encode()) > MAX_BYTES:
        raise _invalid(field, f"has {len(text.encode())} bytes", text)
    if text.startswith(_RESERVED):
        raise _invalid(field, "begins as names that brokers keep for themselves do", text)
    if any(char.isspace() for char in text) or has_control(text):
        raise _invalid(field, "has a space or a control character", text)
    tokens = text.split(".")
    if not all(tokens):
        raise _invalid(field, "has an empty token", text)
    return tokens


def _invalid(field: str, problem: str, text: str) -> PrismError:
    return invalid(field, f"{field} {problem}: it must have {RULE}", value=text, constraint=RULE)
