"""What a driver's error means to a slot: whose fault it is, whether the call may be repeated, what callers are told.

A driver's `classify` says by the code whether the call failed, by `outcome` whether the command may have taken effect,
and by the phase who failed it: `admit` is the driver's own queue, `execute` an error that the backend itself answered,
which proves that it is there; anything else, or no phase, is the backend's failure. Nothing here looks at reasons or
products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.slots.operation import Effect, Operation

NOT_EXECUTED = "not_executed"
UNKNOWN = "unknown"
_OF_THE_BACKEND = frozenset({StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED})
_NOT_LOST = ("admit", "execute")


def backend_failed(error: PrismError) -> bool:
    """Whether the backend is at fault, rather than the caller, a full store, or the driver's own queue. One that
    refuses the call by an answer is not: it may refuse writes, and serve reads.

    A caller's own deadline ends its call by cancellation, so DEADLINE_EXCEEDED is a driver's word on its backend.
    """
    return error.code in _OF_THE_BACKEND and error.metadata.get("phase") not in _NOT_LOST


def transient(error: PrismError) -> bool:
    """Whether the driver may be about to look for a better connection, as after the answer of a replica."""
    return error.code in _OF_THE_BACKEND and error.metadata.get("phase") != "admit"


def repeatable(error: PrismError, operation: Operation, *, writes: bool) -> bool:
    """Whether the call may be made again. `writes`: also those that may have been executed, where that is harmless."""
    if not operation.repeated or error.code not in _OF_THE_BACKEND:
        return False
    return (operation.effect is Effect.READ or error.metadata.get("outcome") == NOT_EXECUTED
            or (writes and operation.effect is Effect.IDEMPOTENT))


def with_context(error: PrismError, where: Mapping[str, str], operation: str, attempt: int) -> PrismError:
    """The error with its place: namespace, backend, slot, operation, phase and attempt."""
    return dataclasses.replace(error, metadata={
        **where, "operation": operation, "phase": "execute", "attempt": str(attempt), **error.metadata})


def finalize(error: PrismError, operation: Operation, retry_after: float) -> PrismError:
    """The last error of a call: it says whether the command took effect, and RetryInfo only where repeating is safe.

    A read leaves no doubt; of a write that the driver says nothing about, it is unknown.
    """
    if error.code not in _OF_THE_BACKEND:
        return error
    outcome = NOT_EXECUTED if operation.effect is Effect.READ else error.metadata.get("outcome", UNKNOWN)
    after = None if outcome == UNKNOWN else error.retry_after if error.retry_after is not None else retry_after
    return dataclasses.replace(error, metadata={**error.metadata, "outcome": outcome}, retry_after=after)
