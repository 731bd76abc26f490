"""The active limits of a namespace: the quota that native code applies to every call, and the error of a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from prism_proxy._native.grpc.quota import NamespaceQuota, SharedQuotaTable
from prism_proxy.errors import PrismError, Quota, StatusCode
from prism_proxy.namespaces.limits import LoadLimits

_REASONS = {
    "requests_per_second": "RATE_LIMITED", "concurrent_calls": "TOO_MANY_CALLS", "bytes_in_flight": "TOO_MANY_BYTES"}


def make_quota(page: SharedQuotaTable, namespace: str, limits: LoadLimits) -> NamespaceQuota | None:
    """The quota of a namespace, or None when it is unlimited. ValueError when the page has no room for it."""
    if not limits.limited:
        return None
    return page.quota(namespace, limits, partial(refusal, namespace, limits))


def refusal(
    namespace: str, limits: LoadLimits, dimension: str, current: int, *, retry_after: float | None,
    reset_after: float, executed: bool = False, fits: bool = True,
) -> PrismError:
    """RESOURCE_EXHAUSTED for a call over a limit, times being seconds from now.

    `executed`: the call is a stream that had begun, so its outcome is unknown. Not `fits`: one message is larger than
    all that the limit allows, and to try again is useless.
    """
    limit = int(getattr(limits, dimension))
    reset = datetime.now(UTC) + timedelta(seconds=reset_after)
    metadata = {
        "namespace": namespace, "dimension": dimension, "current": str(current), "limit": str(limit),
        "reset_time": reset.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "outcome": "unknown" if executed else "not_executed",
    }
    if retry_after is not None:
        metadata["retry_after_ms"] = str(round(retry_after * 1000))
    return PrismError(
        StatusCode.RESOURCE_EXHAUSTED, _REASONS[dimension], _message(namespace, limits, dimension, limit, fits=fits),
        metadata, retry_after=retry_after, quota=Quota(dimension, current, limit, reset.timestamp()))


def _message(namespace: str, limits: LoadLimits, dimension: str, limit: int, *, fits: bool) -> str:
    if not fits:
        return (f"the message is larger than the {limit} bytes that namespace {namespace!r} admits for all calls: "
                "raise limits.bytes_in_flight, or send large payloads by claim check")
    if dimension == "requests_per_second":
        return (f"namespace {namespace!r} admits {limits.requests_per_second:g} requests per second, and "
                f"{limits.burst_size} at once: call less often, or raise limits.requests_per_second")
    what = "calls at once" if dimension == "concurrent_calls" else "bytes of requests in progress"
    return f"namespace {namespace!r} admits {limit} {what}: wait until some are done, or raise limits.{dimension}"
