"""With `-n N` most tests run in N processes of pytest-xdist, then the heavy ones in two of them, and at last the serial
ones in one.

One session does all of it, so that servers are started once for each process and one summary ends the run. The
controller knows tests by their ids only; a process therefore marks the ids of heavy and serial tests while it announces
what it collected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pytest

from tests.lanes.markers import company

try:
    from xdist.scheduler import LoadScheduling
    from xdist.workermanage import WorkerController
except ImportError:  # one process then, which needs no scheduler
    LoadScheduling = None

MARKS = ("", "@heavy", "@serial")  # by `company`
WIDTHS = {"@heavy": 2, "@serial": 1}  # how many processes run them

if LoadScheduling is not None:

    class NarrowingLanes(LoadScheduling):  # type: ignore[misc]
        """Gives out by load what may run together. When no more of that waits, the processes that the next kind has no
        use for end, and the others go on when they have ended."""

        def schedule(self) -> None:
            super().schedule()
            self._check_all()

        def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
            if node.shutting_down:
                return
            width = WIDTHS.get(self._mark(), len(self.nodes))
            staying = [other for other in self.nodes if not other.shutting_down][:width]
            if not self.pending or node not in staying:
                node.shutdown()
            elif len(self.nodes) <= width:
                self._fill(node, duration, width)

        def remove_node(self, node: WorkerController) -> str | None:
            crashed: str | None = super().remove_node(node)
            self._waiting.clear()  # its tests wait again
            self._check_all()
            return crashed

        def _check_all(self) -> None:
            if self.collection is not None:
                for node in self.nodes:
                    self.check_schedule(node)

        def _fill(self, node: WorkerController, duration: float, width: int) -> None:
            """As the base does, but counted by those that may run now: at their end they go out by twos."""
            share, held = self._of_this_kind() // width, len(self.node2pending[node])
            if held < max(2, share // 4) and (duration < 0.1 or held < 2):
                self._send_tests(node, max(2, share // 2) - held)

        def _send_tests(self, node: WorkerController, num: int) -> None:
            number = min(num, self._of_this_kind())
            self._waiting[self._mark()] -= number
            super()._send_tests(node, number)

        def _mark(self) -> str:
            """Of the test that is given out next."""
            return self._mark_of(self.pending[0]) if self.pending else ""

        def _mark_of(self, index: int) -> str:
            assert self.collection is not None
            return next((mark for mark in WIDTHS if self.collection[index].endswith(mark)), "")

        def _of_this_kind(self) -> int:
            """How many of the tests that wait may run together with the next one; a kind comes whole."""
            if not self._waiting:
                self._waiting.update(self._mark_of(index) for index in self.pending)
            return self._waiting[self._mark()]

        @cached_property
        def _waiting(self) -> Counter[str]:
            """By their marks."""
            return Counter()

    def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> NarrowingLanes:
        return NarrowingLanes(config, log)


@dataclass(frozen=True)
class Announced:
    """Stands for a heavy or serial test while the ids are announced."""

    nodeid: str


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    collected = session.items
    if hasattr(session.config, "workerinput"):
        session.items = [Announced(item.nodeid + MARKS[company(item)]) if company(item) else item for item in collected]
    try:
        yield
    finally:
        session.items = collected
