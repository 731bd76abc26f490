"""Requests of the supervisor that workers answer: numbered, asked of many at once, awaited for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from prism_proxy.processes.worker_process import WorkerProcess


class Broadcast:
    """`answered` and `gone` must be called for each answer and each end of a worker."""

    def __init__(self) -> None:
        self._asked: dict[tuple[int, int], asyncio.Future[str | None]] = {}
        self._number = 0

    async def ask(
        self, make: Callable[[int], Any], processes: Sequence[WorkerProcess], limit_s: float
    ) -> tuple[list[str], list[WorkerProcess]]:
        """Send `make(number)` to workers; the problems they name, and who did not answer in time.

        A worker that ends meanwhile counts as having answered.
        """
        self._number += 1
        number, loop = self._number, asyncio.get_running_loop()
        answers = {process: loop.create_future() for process in processes}
        self._asked |= {(process.worker, number): answer for process, answer in answers.items()}
        try:
            for process in processes:
                process.send(make(number))
            if answers:
                await asyncio.wait(answers.values(), timeout=limit_s)
        finally:
            for process in processes:
                del self._asked[process.worker, number]
        problems = [answer.result() for answer in answers.values() if answer.done()]
        return [text for text in problems if text], [process for process in processes if not answers[process].done()]

    def answered(self, worker: int, number: int, problem: str | None = None) -> None:
        answer = self._asked.get((worker, number))
        if answer is not None and not answer.done():
            answer.set_result(problem)

    def gone(self, worker: int) -> None:
        for (asked, _), answer in self._asked.items():
            if asked == worker and not answer.done():
                answer.set_result(None)
