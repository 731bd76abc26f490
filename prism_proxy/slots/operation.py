"""What a slot must know of the operation it runs, and of the caller it runs it for.

Patterns declare their operations once, as constants; nothing is looked up by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


class Effect(Enum):
    """What running an operation twice would do."""

    READ = auto()  # nothing: it may be repeated whatever became of it
    IDEMPOTENT = auto()  # the same state and answer, unless others wrote in between: repeated where that is opted for
    NON_IDEMPOTENT = auto()  # another answer: repeated only if it was certainly not executed


@dataclass(frozen=True, slots=True)
class Operation:
    """`bulk` work yields to the rest when the backend is nearly full; without `repeated` its first failure stands."""

    name: str
    effect: Effect
    bulk: bool = False
    repeated: bool = True


class Caller(Protocol):
    """For whom an operation runs: the context of a gRPC servicer is one."""

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        ...
