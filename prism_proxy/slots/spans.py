"""What a slot did for a call, noted where the call's context keeps spans: one for each attempt at the backend.

Whether anybody sees them is decided when the call ends; a context that keeps none costs one look.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from prism_proxy.errors import PrismError
from prism_proxy.slots.operation import Caller, Operation

MAX_SPANS = 64  # of one call, as a scan may have thousands of pages


class Attempt(NamedTuple):
    """An attempt in progress, and where it will be noted."""

    spans: list[Any]
    name: str
    began_ns: int
    attributes: dict[str, str | int]


def begin(caller: Caller | None, where: Mapping[str, str], operation: Operation, attempt: int) -> Attempt | None:
    """The attempt that begins now; None when the caller keeps no spans."""
    spans = getattr(caller, "spans", None)
    if spans is None or len(spans) >= MAX_SPANS:
        return None
    return Attempt(spans, f"{where['backend']} {operation.name}", time.time_ns(), {
        "db.system.name": where["backend"], "db.operation.name": operation.name, "prism.slot": where["slot"],
        "prism.attempt": attempt})


def end(attempt: Attempt | None, error: PrismError | None = None) -> None:
    """The attempt is over; `error` says how it failed."""
    if attempt is not None:
        attempt.spans.append((attempt.name, attempt.began_ns, time.time_ns(), attempt.attributes,
                              error.reason if error is not None else ""))
