"""Serves the interfaces of one driver, each by the data model it belongs to.

It decides nothing about calls: what they mean is the models' matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from prism_proxy import standard
from prism_proxy.contracts.driver import HealthReport
from prism_proxy.interfaces.catalogue import interface
from prism_proxy.patterns.primitives.declaration import OBJECT_STORE, STORE
from prism_proxy.slots.composition import Composition, Part
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Metric


class Primitives(Part):
    """`only` restricts it to some interfaces, for patterns that are a part of it."""

    only: Collection[str] | None = None

    def __init__(self, composition: Composition, previous: Primitives | None = None) -> None:
        self._composition = composition
        self._offered: dict[str, str] = {}
        self._slots: dict[str, Slot[Any]] = {}
        for slot in _in_order(composition.slots):
            self._offer(slot, slot.driver.declaration.interfaces)
        self._offer(composition.slots[STORE], composition.surroundings.chain.interfaces)
        self._models: dict[str, Any] = {}
        before = previous.models if previous is not None else {}
        for name in sorted(set(self._offered.values())):
            if name in before or name not in standard.MODELS:  # a third party's may have something to open
                self._make(name, before.get(name))

    def _offer(self, slot: Slot[Any], declared: Collection[str]) -> None:
        """These interfaces over a slot, except models that an earlier slot has."""
        found = {known.name: known.model for name in sorted(declared) if self.only is None or name in self.only
                 if (known := interface(name)) is not None and known.model not in self._slots}
        self._offered |= found
        self._slots |= dict.fromkeys(found.values(), slot)

    @property
    def models(self) -> Mapping[str, Any]:
        """The objects of the data models that were used so far: those built in are made at their first use."""
        return self._models

    def native_slot(self, interface: str) -> Slot[Any] | None:
        """None where the model's options have rules that native handlers do not know."""
        model = self._offered.get(interface)
        if model is None or not (standard.model(model).native or standard.model(model).native_later):
            return None
        return self._slots[model] if self.implementation(interface).native else None

    def offers(self, interface: str) -> bool:
        return interface in self._offered

    def implementation(self, interface: str) -> Any:
        model = self._offered.get(interface)
        if model is None:
            return None
        return self._models[model] if model in self._models else self._make(model, None)

    def _make(self, name: str, previous: Any) -> Any:
        declared = standard.model(name)
        options = self._composition.options.get(name)
        made = self._models[name] = standard.load(declared.factory)(
            self._slots[name], options if options is not None else declared.options(),
            replace(self._composition.surroundings, implementation=self.implementation), previous)
        return made

    async def open(self) -> None:
        for model in self._models.values():
            await model.open()

    async def drain(self, deadline_s: float) -> None:
        await asyncio.gather(*(model.drain(deadline_s) for model in self._models.values()))

    async def close(self) -> None:
        await asyncio.gather(*(model.close() for model in self._models.values()))

    def health(self) -> HealthReport | None:
        """The worst of what the models say, with the details of all."""
        reports = list(self._reports())
        if not reports:
            return None
        worst = max(reports, key=lambda report: report.status.value)
        return replace(worst, details={key: text for report in reports for key, text in report.details.items()})

    def metrics(self) -> Iterable[Metric]:
        for model in self._models.values():
            yield from model.metrics()

    def _reports(self) -> Iterator[HealthReport]:
        for model in self._models.values():
            report = model.health()
            if report is not None:
                yield report


def _in_order(slots: Mapping[str, Slot[Any]]) -> list[Slot[Any]]:
    """The store comes first. Slots that steps have of their own are theirs alone."""
    return [slots[name] for name in (STORE, OBJECT_STORE) if name in slots]
