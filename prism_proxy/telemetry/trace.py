"""W3C trace context: reading `traceparent` and `tracestate` of a caller, and what log lines say of a call's trace.

Pure functions. Malformed input never fails a call: a bad traceparent begins a new trace, a bad tracestate is dropped.
What goes on to another process is written natively (`_native.grpc.trace_context`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prism_proxy._native.grpc.call_watch import TraceIds

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(f"({_KEY})={_VALUE}")
MAX_TRACESTATE_CHARS = 512
MAX_TRACESTATE_MEMBERS = 32

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Ids are lower-case hex: 32 digits for the trace, 16 for the span."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""


def parse(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """The caller's context, or None when there is none or it is malformed (a new trace begins then)."""
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t")) if traceparent else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1), _state(tracestate))


def from_metadata(metadata: Metadata) -> TraceContext | None:
    """The context in the metadata of a call; None as in `parse`, and also when traceparent came twice."""
    parents, states = [], []
    for key, value in metadata:
        if isinstance(value, str):
            if key == "traceparent":
                parents.append(value)
            elif key == "tracestate":
                states.append(value)
    return parse(parents[0], ",".join(states)) if len(parents) == 1 else None


def log_fields(ids: TraceIds | None, metadata: Metadata) -> dict[str, Any]:
    """`trace_id` and `span_id` of a call with a span of ours, `ids` (see `call_watch.trace_ids`); of one without, the
    caller's `trace_id`, if it sent any."""
    if ids is not None:
        return {"trace_id": f"{ids[0]:032x}", "span_id": f"{ids[1]:016x}"}
    caller = from_metadata(metadata)
    return {"trace_id": caller.trace_id} if caller is not None else {}


def _state(tracestate: str | None) -> str:
    """The tracestate when it is well formed; the specification lets a malformed or long one be dropped, alone."""
    members = [member.strip(" \t") for member in (tracestate or "").split(",")]
    members = [member for member in members if member]
    keys = [match[1] for match in map(_MEMBER.fullmatch, members) if match]
    if len(keys) != len(members) or len(set(keys)) != len(keys) or len(members) > MAX_TRACESTATE_MEMBERS:
        return ""
    state = ",".join(members)
    return state if len(state) <= MAX_TRACESTATE_CHARS else ""
