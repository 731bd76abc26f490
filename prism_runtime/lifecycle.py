"""The states of the process, and which may follow which.

    STARTING --> RUNNING --> DRAINING --> STOPPING --> STOPPED
        |                                     ^
        +-------------------------------------+   (a start that fails)
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Protocol

from prism_runtime import log

EXIT_CLEAN, EXIT_ERROR, EXIT_FORCED = 0, 1, 2
COLLECT_AFTER = 10_000  # objects that were made and not freed; Python's 700 are three moments of a busy servicer


class StartError(RuntimeError):
    """The process cannot start; the message says what to change."""


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


def spare_collector() -> None:
    """To be called once the process serves. What is there now stays, so the garbage collector need not look at it ever
    again; and calls leave little that only it can free. In a servicer that sheds, it took a sixth of the time."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


class Lifecycle:
    """Holds the state; `on_change(old, new)` gets every transition."""

    def __init__(self, on_change: Callable[[State, State], None] = lambda old, new: None) -> None:
        self.state = State.STARTING
        self._on_change = on_change

    def enter(self, state: State) -> None:
        """Move on. RuntimeError for a transition the diagram does not have."""
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"the proxy cannot go from {self.state.value} to {state.value}")
        old, self.state = self.state, state
        self._on_change(old, state)


class StopRequest:
    """What ends the process: the first request drains it, the second one ends it at once."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.force = asyncio.Event()

    def __call__(self) -> None:
        (self.force if self.drain.is_set() else self.drain).set()

    def on_signals(self) -> None:
        """SIGTERM and SIGINT ask from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self)


class Closable(Protocol):
    """What is drained and closed at the end of the process."""

    async def drain(self, deadline_s: float) -> None: ...

    async def close(self) -> None: ...


async def close_all(parts: Iterable[Closable], deadline_s: float) -> list[BaseException]:
    """Drain and close all parts at the same time; what went wrong. A part that fails stops no other."""

    async def close(part: Closable) -> None:
        try:
            await part.drain(deadline_s)
        finally:
            await part.close()

    results = await asyncio.gather(*(close(part) for part in parts), return_exceptions=True)
    return [result for result in results if result is not None]


def end_after(seconds: float) -> None:
    """The last resort, from a thread: nothing that hangs, the loop included, may keep the process alive."""

    def end() -> None:
        log.get("prism.proxy").error("forced end: something did not stop in time", seconds=seconds)
        log.drain()
        os._exit(EXIT_FORCED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
