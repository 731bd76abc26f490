"""What NATS's errors mean to a caller, in one table. Nothing a server says is quoted but its codes and subjects' names.

A connection lost after a message left leaves a doubt.
"""

from __future__ import annotations

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied
from prism_proxy.errors import PrismError, StatusCode
from prism_runtime import log

RETRY_AFTER_S = 0.5


class NoResponders(Exception):  # noqa: N818 - an answer rather than a mistake
    """Nobody listens where a request was sent: JetStream is off, or has no leader now."""


class NoAnswer(Exception):  # noqa: N818 - an event rather than a mistake
    """The server did not answer a request in time. It may have done what it was asked for."""


class ApiError(Exception):
    """JetStream refused a request. `code` is like HTTP's, `number` is its own."""

    def __init__(self, code: int, number: int, description: str) -> None:
        super().__init__(f"{description} ({code}, {number})")
        self.code = code
        self.number = number
        self.description = description


_FULL = frozenset({10023, 10028, 10047, 10077, 10122})  # of the account, the server, or a stream that discards new ones
_OFF = frozenset({10039, 10076})


def meaning(error: Exception) -> PrismError | None:
    """The caller's error; None when the error shows a defect of ours."""
    if isinstance(error, NatsClosed):
        if error.sent:
            return _unavailable(error, "the connection to NATS was lost before it answered", "await", "unknown")
        return _unavailable(error, "there is no connection to NATS; it is tried again all the time", "connect",
                            "not_executed", transient=True)
    if isinstance(error, NatsDenied):
        return _made(error, StatusCode.FAILED_PRECONDITION, "BACKEND_PERMISSION",
                     "the NATS user of this namespace has no permission for this subject: grant it", "execute",
                     "not_executed")
    if isinstance(error, NoResponders):
        return _unavailable(error, "JetStream does not answer: it is switched off for this account, or has no leader "
                            "now", "execute", "not_executed", transient=True)
    if isinstance(error, NoAnswer):
        return _unavailable(error, "JetStream did not answer in time", "await", "unknown")
    if isinstance(error, ApiError):
        return _refused(error)
    return None


def _refused(error: ApiError) -> PrismError:
    if error.number in _FULL:
        return _made(error, StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL",
                     "JetStream is full: raise the limits of the account or the stream, or shorten its retention",
                     "execute", "not_executed")
    if error.number in _OFF:
        return _made(error, StatusCode.FAILED_PRECONDITION, "JETSTREAM_DISABLED",
                     "JetStream is off for this account: switch it on at the server, or set jetstream to false",
                     "execute", "not_executed")
    if error.code == 503 or error.code == 408:
        return _unavailable(error, f"JetStream cannot serve this now: {error.description}", "execute", "unknown")
    return _made(error, StatusCode.INTERNAL, "BACKEND_ERROR", f"JetStream refused the request: {error}", "execute",
                 "not_executed")


def ended(error: Exception, what: str) -> PrismError:
    """What a reader or member ends with for good. A defect of ours is logged, as nobody else sees it."""
    if isinstance(error, PrismError):
        return error
    found = meaning(error)
    if found is None:
        log.get("prism.nats").error(f"{what} ended by a defect", exc_info=error)
        found = _made(error, StatusCode.INTERNAL, "INTERNAL", f"{what} ended by a defect: see the proxy's log", "await",
                      "unknown")
    return found


def _unavailable(error: Exception, message: str, phase: str, outcome: str, *, transient: bool = False) -> PrismError:
    return _made(error, StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", message, phase, outcome, transient=transient)


def _made(
    error: Exception, code: StatusCode, reason: str, message: str, phase: str, outcome: str, *, transient: bool = False
) -> PrismError:
    made = PrismError(code, reason, message, {"phase": phase, "outcome": outcome},
                      RETRY_AFTER_S if transient else None)
    made.__cause__ = error
    return made
