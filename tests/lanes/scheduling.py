"""With `-n N` the tests run in N processes of pytest-xdist, and then, in one of them alone, those marked serial.

One session does both, so that servers are started once for each process and one summary ends the run. The controller
knows tests by their ids only; a process therefore marks the ids of serial tests while it announces what it collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lanes.markers import is_serial

try:
    from xdist.scheduler import LoadScheduling
    from xdist.workermanage import WorkerController
except ImportError:  # one process then, which needs no scheduler
    LoadScheduling = None

MARK = "@serial"

if LoadScheduling is not None:

    class SerialLast(LoadScheduling):  # type: ignore[misc]
        """Distributes by load what may run in parallel; when that has ended, one process gets the rest."""

        def schedule(self) -> None:
            super().schedule()
            self._check_all()

        def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
            if node.shutting_down:
                return
            if self._parallel() or not self.pending:
                super().check_schedule(node, duration)
            elif node is not self._last():
                node.shutdown()
            elif len(self.nodes) == 1:
                super()._send_tests(node, len(self.pending))
                node.shutdown()

        def remove_node(self, node: WorkerController) -> str | None:
            crashed: str | None = super().remove_node(node)
            self._check_all()
            return crashed

        def _check_all(self) -> None:
            if self.collection is not None:
                for node in self.nodes:
                    self.check_schedule(node)

        def _send_tests(self, node: WorkerController, num: int) -> None:
            super()._send_tests(node, min(num, self._parallel()))

        def _parallel(self) -> int:
            """How many of the tests that wait may run beside others. They come first."""
            assert self.collection is not None
            collection = self.collection
            return next((number for number, index in enumerate(self.pending) if collection[index].endswith(MARK)),
                        len(self.pending))

        def _last(self) -> WorkerController | None:
            return next((node for node in self.nodes if not node.shutting_down), None)

    def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> SerialLast:
        return SerialLast(config, log)


@dataclass(frozen=True)
class Announced:
    """Stands for a serial test while the ids are announced."""

    nodeid: str


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    collected = session.items
    if hasattr(session.config, "workerinput"):
        session.items = [Announced(item.nodeid + MARK) if is_serial(item) else item for item in collected]
    try:
        yield
    finally:
        session.items = collected
