"""What is kept of a call once it has ended: its audit entry, and its figures."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict

from prism_admin.masking import masked
from prism_admin.security import principal_of, role_of
from prism_admin.storage.audit import Audit, Entry
from prism_admin.storage.clock import now

Context = Any  # grpc.aio.ServicerContext
MUTATING = {  # method -> kind of resource, field that names it
    "RegisterProxy": ("proxy", "proxy_id"),
    "CreateNamespace": ("namespace", "name"),
    "UpdateNamespace": ("namespace", "name"),
    "DeleteNamespace": ("namespace", "name"),
    "ReassignNamespace": ("namespace", "name"),
    "Rebalance": ("partitions", "leave"),
}
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(slots=True)
class Duration:
    """A histogram of seconds: `counts` by bucket, the last one for all that is longer than any bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Observed:
    """A call in progress; `response` is its answer, once there is one."""

    response: Any = None


class Observer:
    """Audits every call that changes something, and every one that was not allowed to."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self.requests: Counter[tuple[str, str]] = Counter()  # (operation, status)
        self.durations: dict[str, Duration] = defaultdict(Duration)
        self.limited = 0

    @contextmanager
    def __call__(self, method: str, request: Any, context: Context) -> Iterator[Observed]:
        began = time.perf_counter()
        observed = Observed()
        failure: BaseException | None = None
        try:
            yield observed
        except BaseException as error:
            failure = error
            raise
        finally:
            elapsed = time.perf_counter() - began
            code = _code(context, failure)
            operation = method.rpartition("/")[2]
            self.requests[operation, code.name] += 1
            self.durations[operation].add(elapsed)
            self.limited += code is grpc.StatusCode.RESOURCE_EXHAUSTED
            if operation in MUTATING or code in _DENIED:
                self._audit.log(_entry(method, request, context, observed.response, code, elapsed))


def _code(context: Context, failure: BaseException | None) -> grpc.StatusCode:
    found = context.code()
    if isinstance(found, grpc.StatusCode) and found is not grpc.StatusCode.OK:
        return found
    numbered = {code.value[0]: code for code in grpc.StatusCode}
    if found in numbered and found:
        return numbered[found]
    return grpc.StatusCode.OK if failure is None else grpc.StatusCode.UNKNOWN


def _entry(method: str, request: Any, context: Context, response: Any, code: grpc.StatusCode, elapsed: float) -> Entry:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    operation = method.rpartition("/")[2]
    kind, name_field = MUTATING.get(operation, ("", ""))
    body = masked(_plain(request))
    namespace = str(body.get("namespace") or (body.get("name") if kind == "namespace" else "") or "")
    answer = masked(_plain(response)) if response is not None else None
    if operation == "RegisterProxy" and answer is not None:
        answer.pop("initial_namespaces", None)  # large, and already in the entries of their creation
    traceparent = metadata.get("traceparent", "").split("-")
    return Entry(
        action=operation, resource_type=kind or "call", timestamp=now(),
        user=principal_of(context) or metadata.get("x-admin-user", ""),
        resource_id=str(body.get(name_field) or namespace), namespace=namespace, method="gRPC", path=method,
        status_code=code.value[0], request_body=body, response_body=answer,
        error="" if code is grpc.StatusCode.OK else str(_text(context.details())),
        duration_ms=round(elapsed * 1000), client_ip=context.peer(), user_agent=metadata.get("user-agent", ""),
        request_id=metadata.get("x-request-id", metadata.get("request-id", "")),
        actor_groups=(role_of(context),) if role_of(context) else (),
        trace_id=traceparent[1] if len(traceparent) == 4 else "")


def _plain(message: Any) -> dict[str, Any]:
    try:
        return MessageToDict(message, preserving_proto_field_name=True)
    except ValueError as error:  # a time that is none: the call is kept all the same
        return {"unreadable": str(error)}


def _text(details: Any) -> str:
    return details.decode(errors="replace") if isinstance(details, bytes) else str(details or "")
