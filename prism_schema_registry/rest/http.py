"""Requests and replies of the HTTP face, as bytes on the wire have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

JSON_TYPE = "application/vnd.schemaregistry.v1+json"
ACCEPTED_TYPES = frozenset({
    "", "application/json", "application/octet-stream", "application/vnd.schemaregistry+json", JSON_TYPE})


@dataclass(frozen=True, slots=True)
class Request:
    """`target` is the path with its query, undecoded; names of `headers` are in lower case."""

    method: bytes
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    keep: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """`operation` names the request in metrics."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    operation: str = ""


def error_reply(status: int, code: int, message: str, operation: str = "",
                headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """The body that clients read errors from."""
    return Reply(status, encode({"error_code": code, "message": message}), headers=headers, operation=operation)


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def wire(reply: Reply, *, close: bool = False, head_only: bool = False) -> bytes:
    """The reply as it is sent."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
    head = (f"HTTP/1.1 {reply.status} {_phrase(reply.status)}\r\ncontent-type: {reply.content_type}\r\n"
            f"content-length: {len(reply.body)}\r\n{extra}{_CLOSE if close else ''}\r\n")
    return head.encode() + (b"" if head_only else reply.body)


_CLOSE = "connection: close\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
