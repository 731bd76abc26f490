"""The states of the process, and which may follow which.

    STARTING --> RUNNING --> DRAINING --> STOPPING --> STOPPED
        |                                     ^
        +-------------------------------------+   (a start that fails)
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class State(Enum):
    """`ready` states serve calls."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"


_NEXT = {
    State.STARTING: {State.RUNNING, State.STOPPING},
    State.RUNNING: {State.DRAINING},
    State.DRAINING: {State.STOPPING},
    State.STOPPING: {State.STOPPED},
    State.STOPPED: set(),
}


class Lifecycle:
    """Holds the state; `on_change(old, new)` is told of every transition."""

    def __init__(self, on_change: Callable[[State, State], None] = lambda old, new: None) -> None:
        self.state = State.STARTING
        self._on_change = on_change

    def enter(self, state: State) -> None:
        """Move on. RuntimeError for a transition the diagram does not have."""
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"the proxy cannot go from {self.state.value} to {state.value}")
        old, self.state = self.state, state
        self._on_change(old, state)
