"""Counters whose values are also written into a book."""

from __future__ import annotations

from typing import Any

from prism_proxy import standard
from prism_proxy.slots.composition import Composition, Part
from prism_proxy.slots.operation import Caller
from prism_toy.declaration import BASIC, CounterOptions, LedgerOptions
from prism_toy.model import CounterModel


class Ledger(Part):
    def __init__(self, composition: Composition, previous: Ledger | None = None) -> None:
        options: LedgerOptions = composition.options.get("ledger") or LedgerOptions()
        self._title = options.title
        self._counters = CounterModel(composition.slots["counts"],
                                      composition.options.get("counter") or CounterOptions())
        keyvalue = standard.model("keyvalue")
        make = standard.load(keyvalue.factory)
        self._books: list[Any] = [make(composition.slots[name], keyvalue.options())
                                  for name in ("book", "copy") if name in composition.slots]
        self.watch = self._counters.watch
        self.value = self._counters.value

    def implementation(self, interface: str) -> Ledger | None:
        return self if interface == BASIC else None

    async def add(self, name: str, by: int, caller: Caller | None = None) -> int:
        value = await self._counters.add(name, by, caller)
        for book in self._books:
            await book.set(self._title + name, str(value).encode(), caller)
        return value
