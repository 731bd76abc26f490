"""What becomes of a delivered message: it passes the namespace's steps, is rejected for good, or has to wait."""

from __future__ import annotations

import asyncio

from prism_proxy.contracts.steps import StepFailure
from prism_proxy.models.framing import Framing, Opened
from prism_proxy.telemetry.metrics import Metric, Sample
from prism_runtime import log

RETRY_S, RETRY_MAX_S = 0.2, 30.0  # between two attempts at a step whose means are away


class Receipts:
    """Of one model in one namespace. `paused` says why nothing is delivered now; empty when it is."""

    def __init__(self, framing: Framing, namespace: str, model: str, previous: Receipts | None = None) -> None:
        self._framing = framing
        self._namespace, self._model = namespace, model
        self.rejected: int = previous.rejected if previous is not None else 0
        self.paused = ""

    async def passed(self, opened: Opened, inline_bytes: int = -1) -> Opened | None:
        """The message with its final payload, or a reference to it where it is larger than `inline_bytes`; None when it
        never opens: counted and logged. It waits while what a step needs is away."""
        delay = RETRY_S
        while opened.passing is not None:
            try:
                await self._framing.consume(opened, inline_bytes)
            except StepFailure as failure:
                if not failure.temporary:
                    self.reject(opened.topic, f"{failure.step}: {failure.error.reason}")
                    return None
                self.paused = f"deliveries wait for {failure.step}: {failure.error.reason}"
                await asyncio.sleep(delay)
                delay = min(delay * 2, RETRY_MAX_S)
            else:
                self.paused = ""
        return opened

    def metrics(self) -> Metric:
        return Metric(f"prism_{self._model}_rejected_total", "counter",
                      "Messages that did not open, so that nobody got them.",
                      [Sample((("namespace", self._namespace),), float(self.rejected))])

    def reject(self, name: str, reason: str) -> None:
        self.rejected += 1
        log.get("prism.messaging").warning("a message does not open and is not delivered", namespace=self._namespace,
                                           model=self._model, name=name, reason=reason)


