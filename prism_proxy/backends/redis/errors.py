"""What Redis's errors mean to a caller, in one table. Nothing a server says is quoted: it may repeat keys and values.

An error reply says that the command was not executed. A connection lost after the command left leaves a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from prism_proxy._native.redis.resp import ConnectionLost, PipelineFull, RespError
from prism_proxy.backends.redis.commands import NotReplicated
from prism_proxy.errors import PrismError, StatusCode

RETRY_AFTER_S = 0.5
BACKEND = "redis"
VALUE_TOO_LARGE, REPLY_TOO_LARGE = "VALUETOOLARGE", "REPLYTOOLARGE"  # kinds of RespError, as a connection makes them


class _Meaning(NamedTuple):
    code: StatusCode
    reason: str
    message: str
    transient: bool = False


_UNAVAILABLE = StatusCode.UNAVAILABLE
_PRECONDITION = StatusCode.FAILED_PRECONDITION
_FULL = _Meaning(StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL",
                 "Redis is full: delete keys, raise its maxmemory or change its eviction policy")
_CREDENTIALS = _Meaning(_UNAVAILABLE, "BACKEND_AUTH_FAILED",
                        "Redis refused the credentials of this namespace: correct username and password")
_CLUSTER_DOWN = _Meaning(_UNAVAILABLE, "BACKEND_UNAVAILABLE", "the Redis cluster does not serve this key now", True)
_BUSY = _Meaning(_UNAVAILABLE, "BACKEND_BUSY", "Redis runs a long script of another client", True)
_MEANINGS = {
    "READONLY": _Meaning(_UNAVAILABLE, "BACKEND_READ_ONLY", "this Redis is a replica now: its primary is looked for",
                         True),
    "LOADING": _Meaning(_UNAVAILABLE, "BACKEND_LOADING", "Redis is loading its data", True),
    "MASTERDOWN": _Meaning(_UNAVAILABLE, "BACKEND_UNAVAILABLE", "this replica of Redis has lost its primary", True),
    "NOREPLICAS": _Meaning(_UNAVAILABLE, "BACKEND_UNAVAILABLE", "Redis has too few replicas to accept writes", True),
    "MISCONF": _Meaning(_UNAVAILABLE, "BACKEND_CANNOT_PERSIST",
                        "Redis cannot write its snapshots and refuses writes: look at its disk", True),
    "CLUSTERDOWN": _CLUSTER_DOWN,
    "TRYAGAIN": _CLUSTER_DOWN,
    "MOVED": _CLUSTER_DOWN,
    "ASK": _CLUSTER_DOWN,
    "BUSY": _BUSY,
    "UNKILLABLE": _BUSY,
    "NOSCRIPT": _Meaning(_UNAVAILABLE, "BACKEND_BUSY", "Redis forgot a script while it was run", True),
    "OOM": _FULL,
    "NOSPACE": _FULL,
    "WRONGTYPE": _Meaning(_PRECONDITION, "WRONG_TYPE", "the key holds a Redis structure that is no plain value: "
                          "another program wrote it"),
    "CROSSSLOT": _Meaning(_PRECONDITION, "CROSS_SLOT", "the keys of one transaction must be in one slot of the Redis "
                          "cluster: give them a common {hash tag}"),
    "NOAUTH": _CREDENTIALS,
    "WRONGPASS": _CREDENTIALS,
    "NOPERM": _Meaning(_PRECONDITION, "BACKEND_PERMISSION",
                       "the ACL user of this namespace may not run this command on this key: grant it"),
}
_IN_A_SCRIPT = re.compile(
    r"ERR Error running script \(call to f_[0-9a-f]+\): (?:@user_script: ?\d+: )+-?([A-Z]+) ")
_OTHER = _Meaning(StatusCode.INTERNAL, "BACKEND_ERROR", "Redis refused the command")


def meaning(error: Exception) -> PrismError | None:
    """The caller's error; None when the error shows a defect of ours."""
    if isinstance(error, RespError):
        if error.kind in (VALUE_TOO_LARGE, REPLY_TOO_LARGE):
            return _left_out(str(error))
        kind = _kind(error)
        return _made(error, _MEANINGS.get(kind, _OTHER), "execute", "not_executed", {"redis_error": kind})
    if isinstance(error, ConnectionLost):
        if error.sent:
            return _made(error, _Meaning(_UNAVAILABLE, "BACKEND_UNAVAILABLE",
                                         "the connection to Redis was lost before it answered"), "await", "unknown")
        return _made(error, _Meaning(_UNAVAILABLE, "BACKEND_UNAVAILABLE",
                                     "there is no connection to Redis; it is tried again all the time", True),
                     "connect", "not_executed")
    if isinstance(error, NotReplicated):
        return _made(error, _Meaning(
            _UNAVAILABLE, "NOT_REPLICATED", "Redis has stored it, and too few replicas have it yet: see wait_replicas"),
            "execute", "unknown")
    if isinstance(error, PipelineFull):
        return _made(error, _Meaning(_UNAVAILABLE, "POOL_EXHAUSTED",
                                     "too many commands wait for Redis's answer: slow down", True),
                     "admit", "not_executed", {"pool_state": str(error)})
    return None


def value_too_large(size: int, most: int, outcome: str = "not_executed") -> PrismError:
    """Of one key: it is not read, or not stored because it could not be read."""
    return PrismError(
        StatusCode.RESOURCE_EXHAUSTED, "VALUE_TOO_LARGE",
        f"the value has {size} bytes, and max_value_bytes of the namespace's Redis is {most}: raise it, or store less "
        "under the key", {"phase": "execute", "outcome": outcome, "size": str(size), "max_value_bytes": str(most)})


def check_value(value: bytes | None, most: int) -> bytes | None:
    """The value, which may be stored or was read. RESOURCE_EXHAUSTED when it is too large."""
    if value is not None and len(value) > most:
        raise value_too_large(len(value), most)
    return value


def _left_out(text: str) -> PrismError:
    kind, size, most = text.split()
    if kind == VALUE_TOO_LARGE:
        return value_too_large(int(size), int(most))
    return PrismError(StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE",
                      f"the values asked for together are more than {most} bytes: ask for fewer keys",
                      {"phase": "execute", "outcome": "not_executed"})


def _made(
    error: Exception, found: _Meaning, phase: str, outcome: str, more: dict[str, str] | None = None
) -> PrismError:
    made = PrismError(found.code, found.reason, found.message, {"phase": phase, "outcome": outcome, **(more or {})},
                      RETRY_AFTER_S if found.transient else None)
    made.__cause__ = error
    return made


def _kind(error: RespError) -> str:
    """One of the words that Redis has for errors. What failed within a script is wrapped by servers before 7.0."""
    if error.kind in _MEANINGS:
        return error.kind
    wrapped = _IN_A_SCRIPT.match(str(error))
    if wrapped is not None and wrapped[1] in _MEANINGS:
        return wrapped[1]
    return "ERR" if error.kind == "ERR" else "other"


def native_errors(namespace: str) -> dict[str, Callable[..., Exception]]:
    """What native handlers answer for commands that must not be repeated: `unknown(operation)` after a lost connection,
    `expired(operation, writes)` at the deadline, `too_large(operation, text)` for a value that was left out."""

    def where(operation: str, outcome: str) -> dict[str, str]:
        return {"namespace": namespace, "backend": BACKEND, "slot": "store", "operation": operation, "phase": "await",
                "attempt": "1", "outcome": outcome}

    def unknown(operation: str) -> PrismError:
        return PrismError(_UNAVAILABLE, "BACKEND_UNAVAILABLE", "the connection to Redis was lost before it answered",
                          where(operation, "unknown"))

    def expired(operation: str, writes: bool) -> PrismError:
        return PrismError(StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED",
                          "Redis did not answer before the deadline of the call",
                          where(operation, "unknown" if writes else "not_executed"))

    def too_large(operation: str, text: bytes) -> PrismError:
        found = _left_out(text.decode())
        return PrismError(found.code, found.reason, found.message, {
            **where(operation, "not_executed"), **found.metadata})

    return {"unknown": unknown, "expired": expired, "too_large": too_large}
