"""Headers as NATS has them, and as a message of ours has them.

    prism-message-id   <->  Prism-Message-ID       and all prism-*, x-prism-*
    colour             <->  colour
    a name that NATS cannot carry  <->  Prism-Name-%C3%A4...
    Nats-*             is the server's own: written where JetStream reads it, never shown
"""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections.abc import Mapping

from prism_proxy._native.nats.connection import headers_block, parse_headers
from prism_proxy.models.messages import StoredMessage

MESSAGE_ID, ENVELOPE_ID = b"Nats-Msg-Id", "prism-message-id"
_ESCAPED = "Prism-Name-"
_PLAIN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = ("prism-", "x-prism-")
_LARGE = frozenset({"id", "url", "pii", "ttl"})


@functools.lru_cache(maxsize=4096)
def wire_name(name: str) -> bytes:
    """The name of a header at the server."""
    lower = name.lower()
    if lower.startswith(_OURS) and name == lower and _PLAIN.fullmatch(name) and not lower.startswith("prism-name-"):
        return "-".join(part.upper() if part in _LARGE else part.capitalize() for part in name.split("-")).encode()
    if _PLAIN.fullmatch(name) and not lower.startswith((*_OURS, "nats-")):
        return name.encode()
    return (_ESCAPED + urllib.parse.quote(name, safe="")).encode()


@functools.lru_cache(maxsize=4096)
def own_name(name: bytes) -> str | None:
    """The name of a header of a message; None for those of the server."""
    text = name.decode("utf-8", "replace").strip()
    lower = text.lower()
    if lower.startswith("nats-"):
        return None
    if text.startswith(_ESCAPED):
        return urllib.parse.unquote(text.removeprefix(_ESCAPED))
    return lower if lower.startswith(_OURS) else text


def to_wire(message: StoredMessage, *more: tuple[bytes, bytes], stored: bool = False) -> bytes | None:
    """The block of a message; None where it needs none. `stored`: JetStream keeps it, and looks for duplicates."""
    pairs = [(wire_name(name), value.encode()) for name, value in message.headers.items()]
    pairs += more
    if stored or pairs or message.deduplication_id:
        pairs.append((MESSAGE_ID, (message.deduplication_id or message.message_id).encode()))
    return headers_block(pairs) if pairs else None


def from_wire(block: bytes | None) -> dict[str, str]:
    """The headers of a message. What is malformed is left out: other programs' messages are never refused."""
    if block is None:
        return {}
    try:
        _, _, pairs = parse_headers(block)
    except ValueError:
        return {}
    found: dict[str, str] = {}
    for name, value in pairs:
        text = own_name(name)
        if text is not None:
            found[text] = value.decode("utf-8", "replace")
    return found


def server_header(block: bytes | None, name: bytes) -> str:
    """A header of the server's own, such as Nats-Msg-Id; empty without it."""
    if block is None:
        return ""
    try:
        _, _, pairs = parse_headers(block)
    except ValueError:
        return ""
    wanted = name.lower()
    return next((value.decode("utf-8", "replace") for found, value in pairs if found.lower() == wanted), "")


def message_id_of(headers: Mapping[str, str], block: bytes | None) -> str:
    """By which a message is known: its own id, or the one that JetStream looks for duplicates by."""
    return headers.get(ENVELOPE_ID, "") or server_header(block, MESSAGE_ID)
