"""What NATS's errors mean to a caller, in one table. Nothing a server says is quoted but its codes and subjects' names.

A connection lost after a message left leaves a doubt.
"""

from __future__ import annotations

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied
from prism_proxy.errors import PrismError, StatusCode

RETRY_AFTER_S = 0.5


class NoResponders(Exception):  # noqa: N818 - an answer rather than a mistake
    """Nobody listens where a request was sent: JetStream is off, or has no leader now."""


class NoAnswer(Exception):  # noqa: N818 - an event rather than a mistake
    """The server did not answer a request in time. It may have done what it was asked for."""


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
    return None


def _unavailable(error: Exception, message: str, phase: str, outcome: str, *, transient: bool = False) -> PrismError:
    return _made(error, StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", message, phase, outcome, transient=transient)


def _made(
    error: Exception, code: StatusCode, reason: str, message: str, phase: str, outcome: str, *, transient: bool = False
) -> PrismError:
    made = PrismError(code, reason, message, {"phase": phase, "outcome": outcome},
                      RETRY_AFTER_S if transient else None)
    made.__cause__ = error
    return made
