"""The audit hook: a function of an installed package that hears of every call of a namespace, when it has ended.

Nothing is written by default. A package offers its function as an entry point of the group `prism.audit`, and the
setting `audit_hook` names it. It runs on the loop, so that it must not wait: one that sends records elsewhere queues
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from prism_proxy._native.grpc.auth_context import identities
from prism_proxy._native.grpc.call_watch import EndedCall
from prism_proxy.errors import StatusCode

GROUP = "prism.audit"
_NAMES = {code.value[0]: code.name for code in StatusCode}


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """`session` is the connection, by the address of its other end; `principal` the name in its certificate, empty
    without one; `resource` the namespace; `outcome` the gRPC status. `at` is Unix time, in seconds, of the end."""

    at: float
    session: str
    principal: str
    operation: str
    resource: str
    outcome: str
    request_id: str


def load_hook(name: str) -> Callable[[EndedCall], None]:
    """What a watch gives ended calls to. ValueError when there is no such hook, or it cannot be loaded."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise ValueError(f"audit_hook is {name!r}: installed packages offer {', '.join(sorted(found)) or 'none'} "
                         f"(entry points of the group {GROUP})")
    try:
        hook: Callable[[AuditRecord], None] = found[name].load()
    except Exception as error:  # whatever somebody's module raises
        raise ValueError(f"audit_hook {name!r} cannot be loaded: {error!r}") from error
    return lambda call: hook(_record(call))


def _record(call: EndedCall) -> AuditRecord:
    _, names = identities(call.connection) if call.connection is not None else (None, None)
    principal = names[0].decode("utf-8", "replace") if names else ""
    request_id = next((str(value) for key, value in call.metadata if key == "x-request-id"), "")
    return AuditRecord(call.ended_ns / 1e9, call.peer, principal, f"{call.service}/{call.operation}", call.namespace,
                       _NAMES[call.code], request_id)
