"""Calls of prism.ControlPlane on their way from the worker that took them to the member of the cluster, and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControlCall:
    """The method's name and its message."""

    method: str
    message: bytes


@dataclass(frozen=True, slots=True)
class ControlReply:
    """The answer's bytes; or, with a `code` other than 0, the gRPC status, its reason and its text."""

    message: bytes = b""
    code: int = 0
    reason: str = ""
    text: str = ""


ControlCallHandler = Callable[[ControlCall], Awaitable[ControlReply]]
