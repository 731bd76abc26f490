"""Who may do what: roles, what each method asks for, and how often a user may call.

A role is a set of scopes. Without an access file every identified caller has the role `admin`; with one, a caller that
it does not name has none.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

READ, WRITE, OPERATIONAL, AUDIT, PROXY = "admin:read", "admin:write", "admin:operational", "admin:audit", "proxy"
ROLES: Mapping[str, frozenset[str]] = {
    "admin": frozenset({READ, WRITE, OPERATIONAL, AUDIT, PROXY}),
    "operator": frozenset({READ, OPERATIONAL}),
    "viewer": frozenset({READ}),
    "proxy": frozenset({PROXY}),
}
_ADMIN, _CONTROL = "/prism.admin.v1.AdminService/", "/prism.ControlPlane/"
SCOPES: Mapping[str, str] = {
    **{_CONTROL + name: PROXY for name in ("RegisterProxy", "Heartbeat", "WatchPartitions", "CreateNamespace")},
    **{_ADMIN + name: READ for name in (
        "ListNamespaces", "GetNamespace", "ListProxies", "GetPartitionMap", "PlanRebalance", "GetVersion")},
    **{_ADMIN + name: WRITE for name in (
        "CreateNamespace", "UpdateNamespace", "DeleteNamespace", "ReassignNamespace")},
    _ADMIN + "Rebalance": OPERATIONAL,
    _ADMIN + "GetAuditLog": AUDIT,
}
EXPENSIVE = frozenset({_ADMIN + "PlanRebalance", _ADMIN + "Rebalance"})  # they look at every namespace and partition
WINDOW_SECONDS = 60.0
MAX_USERS = 10_000


@dataclass(frozen=True, slots=True)
class Access:
    """Roles by the name on a certificate (`*` for any other), and (name, role) by the SHA-256 of a token, in hex."""

    certificates: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def of_certificate(self, name: str) -> str:
        """The role; empty for none."""
        return self.certificates.get(name, self.certificates.get("*", ""))

    def of_token(self, shown: str) -> tuple[str, str] | None:
        """(name, role) of a token's bearer, or None."""
        digest = hashlib.sha256(shown.encode()).hexdigest()
        found = None
        for known, bearer in self.tokens.items():
            found = bearer if hmac.compare_digest(known, digest) else found
        return found


def permitted(method: str, role: str) -> bool:
    """Whether a role may call a method, by its full name. What is not in SCOPES is for admins."""
    return SCOPES.get(method, WRITE) in ROLES.get(role, frozenset())


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls of AdminService that a user may make within a minute; 0 is any number."""

    read: int = 1000
    write: int = 100
    expensive: int = 10

    def of(self, method: str) -> tuple[str, int]:
        """(kind, how many); proxies' own calls are not limited."""
        if not method.startswith(_ADMIN):
            return "", 0
        if method in EXPENSIVE:
            return "expensive", self.expensive
        return ("write", self.write) if SCOPES.get(method) == WRITE else ("read", self.read)


class RateLimiter:
    """Counts calls by user and kind over the last minute. `clock` is monotonic, in seconds."""

    def __init__(self, rates: Rates, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = rates
        self._clock = clock
        self._calls: dict[tuple[str, str], deque[float]] = {}

    def refuse(self, user: str, method: str) -> str | None:
        """Why this call must wait, or None: then it counts."""
        kind, most = self._rates.of(method)
        if not most:
            return None
        now = self._clock()
        calls = self._calls.setdefault((user, kind), deque())
        while calls and calls[0] <= now - WINDOW_SECONDS:
            calls.popleft()
        if len(calls) >= most:
            operation = method.rpartition("/")[2]
            return (f"{user} has made {most} {kind} calls within a minute: {operation} can be tried again in "
                    f"{calls[0] + WINDOW_SECONDS - now:.0f} s")
        calls.append(now)
        if len(self._calls) > MAX_USERS:
            del self._calls[next(iter(self._calls))]
        return None
