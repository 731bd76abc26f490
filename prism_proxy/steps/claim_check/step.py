"""The claim check step of one namespace."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

from prism_proxy.claim_check import keys
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.object_stores.contract import LifecycleRule
from prism_proxy.slots.slot import Slot
from prism_proxy.steps.claim_check.cleanup import Cleanup
from prism_proxy.steps.claim_check.declaration import OBJECT_STORE
from prism_proxy.steps.claim_check.figures import Figures
from prism_proxy.steps.claim_check.messages import ClaimMessages
from prism_proxy.steps.claim_check.object_keys import ObjectKeys
from prism_proxy.steps.claim_check.objects import ClaimStore
from prism_proxy.steps.claim_check.options import DAY, ClaimCheckOptions
from prism_proxy.steps.claim_check.payloads import Payloads
from prism_proxy.steps.claim_check.streams import PayloadStreams
from prism_proxy.steps.claim_check.sweeper import Sweeper
from prism_proxy.steps.resources import StepResources
from prism_proxy.telemetry.metrics import Metric
from prism_runtime import log

RETRY_S, RETRY_MAX_S = 1.0, 60.0


class ClaimCheckStep:
    """`messages` pass it; values of KeyValue do not."""

    values = None

    def __init__(
        self, namespace: str, options: ClaimCheckOptions, resources: StepResources, *, assigned: bool,
        slots: Mapping[str, Slot[Any]],
    ) -> None:
        self._namespace = namespace
        self._options = options
        self._figures = resources.lasting("claim_check", namespace, lambda: Figures(namespace))
        self._store = ClaimStore(slots[OBJECT_STORE], options)
        self._cleanup = Cleanup(namespace, self._store, self._figures, options.ttl.retention_after_read)
        self.payloads = Payloads(namespace, self._store, options, self._figures, self._cleanup.delete)
        self.messages = ClaimMessages(self.payloads, self._cleanup)
        self.streams = PayloadStreams(self.payloads)
        self.sweeper = Sweeper(namespace, self._store, options, self._figures)
        self._preparing: asyncio.Task[None] | None = None

    def join(self, steps: Mapping[str, Any]) -> None:
        """Objects are encrypted where messages are, and say which schema they follow."""
        self.payloads.declaring = next((step for step in steps.values() if hasattr(step, "schema")), None)
        cipher = getattr(steps.get("encryption"), "cipher", None)
        if cipher is not None:
            self.payloads.object_keys = ObjectKeys(self._namespace, cipher)

    async def open(self) -> None:
        """The bucket is there, with what its objects' lives need. PrismError where it is `required` and is not."""
        try:
            await self._prepare()
        except PrismError as error:
            if self._options.required:
                raise PrismError(
                    StatusCode.FAILED_PRECONDITION, "CLAIM_STORE_REFUSED",
                    f"namespace {self._namespace!r} requires its object store, whose bucket {self._options.bucket!r} "
                    f"cannot be used: {error.message}", {"namespace": self._namespace}) from error
            log.get("prism.claim_check").warning("a namespace waits for its object store", namespace=self._namespace,
                                                 bucket=self._options.bucket, error=error.message)
            self._preparing = asyncio.get_running_loop().create_task(self._prepare_later())
        self.sweeper.start()

    async def _prepare(self) -> None:
        managed = await self._store.prepare(self.rules())
        if not managed:
            log.get("prism.claim_check").info(
                "the bucket existed and claim_check.manage_lifecycle is not set: only the proxy's sweeps collect",
                namespace=self._namespace, bucket=self._options.bucket)

    def rules(self) -> tuple[LifecycleRule, ...]:
        """The lifecycle of the bucket is what collects when no proxy runs: in whole days, rounded up."""
        ttl = self._options.ttl
        name = keys.part(self._namespace)
        return (LifecycleRule(f"expire-claims-{name}", keys.prefix(self._namespace), _days(ttl.max_age)),
                LifecycleRule(f"expire-dead-claims-{name}", keys.dead_prefix(self._namespace), _days(ttl.dead_letters)))

    async def _prepare_later(self) -> None:
        delay = RETRY_S
        while True:
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_MAX_S)
            try:
                await self._prepare()
            except PrismError:
                continue
            return

    def metrics(self) -> Iterable[Metric]:
        return self._figures.metrics()

    async def close(self) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
        await self.sweeper.close()
        await self.messages.close()
        await self._cleanup.close()


def _days(seconds: float) -> int:
    return max(1, math.ceil(seconds / DAY))
