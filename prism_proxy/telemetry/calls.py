"""Single calls worth a word: the failures that are ours, and the slow ones, as log lines; and as spans, when traced.

The native watch picks them when they end; what it does not pick is never seen here. Payloads and keys are never logged.
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from prism_proxy._native.grpc.call_watch import CallWatch, EndedCall
from prism_proxy.errors import StatusCode
from prism_proxy.telemetry import trace
from prism_runtime import log

REPORTS_PER_S = 1000
LINES_PER_S = 10.0
_OURS = (StatusCode.UNKNOWN, StatusCode.DEADLINE_EXCEEDED, StatusCode.INTERNAL, StatusCode.UNAVAILABLE,
         StatusCode.DATA_LOSS)
_NAMES = {code.value[0]: code.name for code in StatusCode}
Export = Callable[[EndedCall], None]


def make_watch(
    log_calls: str, slow_s: float, sample_ratio: float, export: Export | None,
    waits: Callable[[str], bool] = lambda path: False, audit: Export | None = None,
) -> CallWatch | None:
    """The watch of a server; None when nobody wants to hear of any call.

    `audit` is given every call of a namespace. `log_calls` is none, errors or all; `export` is given what is traced.
    Methods that `waits(path)` names may take their time: they wait for something to arrive.
    """
    if log_calls == "none" and export is None and audit is None:
        return None
    reports = CallReports(log_calls, slow_s, export, waits=waits)
    statuses = range(1, 17) if export is not None else [code.value[0] for code in _OURS]
    return CallWatch(
        reports.ended, range(17) if log_calls == "all" else statuses, slow_s=slow_s, traces=export is not None,
        share=sample_ratio if export is not None else 0, reports_per_s=REPORTS_PER_S, audit=audit)


class CallReports:
    """Log lines are bounded in number; those left out are counted and told with the next one."""

    def __init__(
        self, log_calls: str, slow_s: float, export: Export | None, clock: Callable[[], float] = time.monotonic,
        waits: Callable[[str], bool] = lambda path: False,
    ) -> None:
        self._log = log.get("prism.calls")
        self._log_calls = log_calls
        self._slow_ns = slow_s * 1e9
        self._export = export
        self._clock = clock
        self._waits = waits
        self._tokens = LINES_PER_S
        self._refilled = clock()
        self._suppressed = 0

    def ended(self, call: EndedCall) -> None:
        """A call the watch picked."""
        if self._export is not None:
            self._export(call)
        failed = call.code in _OURS_NUMBERS
        slow = call.elapsed_ns > self._slow_ns and not call.streaming and not self._waits(
            f"/{call.service}/{call.operation}")
        if self._log_calls == "all" or (self._log_calls == "errors" and (failed or slow)):
            self._write(call, failed=failed, slow=slow)

    def _write(self, call: EndedCall, *, failed: bool, slow: bool) -> None:
        now = self._clock()
        if self._log_calls != "all":
            self._tokens = min(LINES_PER_S, self._tokens + (now - self._refilled) * LINES_PER_S)
            self._refilled = now
            if self._tokens < 1:
                self._suppressed += 1
                return
            self._tokens -= 1
        reason, made_up = _told(call.trailers)
        fields: dict[str, Any] = {
            "request_id": next((value for name, value in call.metadata if name == "x-request-id"), made_up),
            "namespace": call.namespace, "operation": f"{call.service}/{call.operation}", "backend": call.backend,
            "status": _NAMES[call.code], **({"reason": reason} if reason else {}),
            "latency_ms": round(call.elapsed_ns / 1e6, 3),
            **trace.log_fields(call.trace, call.metadata)}
        if self._suppressed:
            fields["suppressed"], self._suppressed = self._suppressed, 0
        event = "a call failed" if failed else "a call was slow" if slow else "a call ended"
        (self._log.warning if failed or slow else self._log.info)(event, **fields)


def _told(trailers: Sequence[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """(reason, request id) that the caller was given; the id is ours where it sent none."""
    fields = dict(trailers)
    request_id = fields.get(b"x-request-id")
    return _reason(fields.get(b"grpc-status-details-bin")), request_id.decode("latin-1") if request_id else None


def _reason(details: bytes | None) -> str | None:
    """The reason in the details of an error; None where a servicer of somebody else made something else of them."""
    if details is None:
        return None
    from google.rpc import error_details_pb2, status_pb2  # here: most processes start without ever failing a call

    info = error_details_pb2.ErrorInfo()
    try:
        status = status_pb2.Status.FromString(b64decode(details + b"=" * (-len(details) % 4)))
        found = next((packed for packed in status.details if packed.Unpack(info)), None)
    except (ValueError, DecodeError):
        return None
    return None if found is None else info.reason


_OURS_NUMBERS = frozenset(code.value[0] for code in _OURS)
