"""W3C trace context: reading `traceparent` and `tracestate`, and making the context of a child span.

Pure functions. Malformed input never fails a call: a bad traceparent begins a new trace, a bad tracestate is dropped.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(f"({_KEY})={_VALUE}")
MAX_TRACESTATE_CHARS = 512
MAX_TRACESTATE_MEMBERS = 32


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Ids are lower-case hex: 32 digits for the trace, 16 for the span."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""

    def child(self) -> TraceContext:
        """The context of a new span below this one."""
        return TraceContext(self.trace_id, _nonzero_hex(8), self.sampled, self.state)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """The caller's context, or None when there is none or it is malformed (a new trace begins then)."""
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t")) if traceparent else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1), _state(tracestate))


def start() -> TraceContext:
    """A new trace, not sampled."""
    return TraceContext(_nonzero_hex(16), _nonzero_hex(8), sampled=False)


def from_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """The context in the metadata of a call; None as in `parse`, and also when traceparent came twice."""
    parents, states = [], []
    for key, value in metadata:
        if isinstance(value, str):
            if key == "traceparent":
                parents.append(value)
            elif key == "tracestate":
                states.append(value)
    return parse(parents[0], ",".join(states)) if len(parents) == 1 else None


def _state(tracestate: str | None) -> str:
    """The tracestate when it is well formed; the specification lets a malformed or long one be dropped, alone."""
    members = [member.strip(" \t") for member in (tracestate or "").split(",")]
    members = [member for member in members if member]
    keys = [match[1] for match in map(_MEMBER.fullmatch, members) if match]
    if len(keys) != len(members) or len(set(keys)) != len(keys) or len(members) > MAX_TRACESTATE_MEMBERS:
        return ""
    state = ",".join(members)
    return state if len(state) <= MAX_TRACESTATE_CHARS else ""


def _nonzero_hex(size: int) -> str:
    """Random bytes as hex; ids of zeros alone are invalid."""
    while not (text := secrets.token_hex(size)).strip("0"):
        pass
    return text
