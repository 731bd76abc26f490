"""Serves the interfaces of one driver, each by the data model it belongs to.

It decides nothing about calls: what they mean is the models' matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from prism_proxy import standard
from prism_proxy.contracts.driver import HealthReport
from prism_proxy.interfaces.catalogue import interface
from prism_proxy.patterns.primitives.declaration import STORE
from prism_proxy.slots.composition import Composition, Part
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Metric


class Primitives(Part):
    """`only` restricts it to some interfaces, for patterns that are a part of it."""

    only: Collection[str] | None = None

    def __init__(self, composition: Composition, previous: Primitives | None = None) -> None:
        self._slot = composition.slots[STORE]
        declared = self._slot.driver.declaration.interfaces
        offered = [found for name in sorted(declared) if self.only is None or name in self.only
                   if (found := interface(name)) is not None]
        self._models: dict[str, Any] = {
            model: _model(model, self._slot, composition, previous) for model in {found.model for found in offered}}
        self._implementations = {found.name: self._models[found.model] for found in offered}

    def native_slot(self, interface: str) -> Slot[Any] | None:
        """None where the model's options have rules that native handlers do not know."""
        model = self._implementations.get(interface)
        return self._slot if model is not None and model.native else None

    def implementation(self, interface: str) -> Any:
        return self._implementations.get(interface)

    def model(self, name: str) -> Any:
        """The object of a data model, None where the driver has none of its interfaces."""
        return self._models.get(name)

    async def open(self) -> None:
        for model in self._models.values():
            await model.open()

    async def drain(self, deadline_s: float) -> None:
        await asyncio.gather(*(model.drain(deadline_s) for model in self._models.values()))

    async def close(self) -> None:
        await asyncio.gather(*(model.close() for model in self._models.values()))

    def health(self) -> HealthReport | None:
        """The worst of what the models say."""
        return max(self._reports(), key=lambda report: report.status.value, default=None)

    def metrics(self) -> Iterable[Metric]:
        for model in self._models.values():
            yield from model.metrics()

    def _reports(self) -> Iterator[HealthReport]:
        for model in self._models.values():
            report = model.health()
            if report is not None:
                yield report


def _model(name: str, slot: Slot[Any], composition: Composition, previous: Primitives | None) -> Any:
    declared = standard.model(name)
    options = composition.options.get(name)
    return standard.load(declared.factory)(
        slot, options if options is not None else declared.options(), composition.surroundings,
        previous.model(name) if previous is not None else None)
