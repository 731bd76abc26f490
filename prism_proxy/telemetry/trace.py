"""W3C trace context: reading `traceparent` and `tracestate`, and making the context of a child span."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
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
        return TraceContext(self.trace_id, secrets.token_hex(8), self.sampled, self.state)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def parse(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """The caller's context, or None when there is none or it is malformed (a new trace begins then)."""
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1), _state(tracestate))


def start() -> TraceContext:
    """A new trace, not sampled."""
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8), sampled=False)


def _state(tracestate: str | None) -> str:
    """The tracestate when it is well formed; the specification lets a malformed one be dropped, alone."""
    if not tracestate or len(tracestate) > MAX_TRACESTATE_CHARS:
        return ""
    members = [member.strip() for member in tracestate.split(",") if member.strip()]
    if len(members) > MAX_TRACESTATE_MEMBERS or any("=" not in member for member in members):
        return ""
    return ",".join(members)
