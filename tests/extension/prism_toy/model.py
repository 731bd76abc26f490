"""What operations on counters mean, over one slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from prism_proxy.errors import invalid
from prism_proxy.interfaces.operations import operation
from prism_proxy.slots.composition import Part, Surroundings
from prism_proxy.slots.operation import Caller
from prism_proxy.slots.slot import Slot
from prism_toy.declaration import BASIC, CounterOptions

ADD = operation(BASIC, "Add")
VALUE = operation(BASIC, "Value")


class CounterModel(Part):
    native = True  # it adds no rules that a native handler would have to know

    def __init__(self, slot: Slot[Any], options: CounterOptions, surroundings: Surroundings = Surroundings(),
                 previous: CounterModel | None = None) -> None:
        self._slot = slot
        self._options = options

    async def add(self, name: str, by: int, caller: Caller | None = None) -> int:
        if not name:
            raise invalid("name", "name must not be empty", constraint="at least one character")
        return await self._slot.call(ADD, caller, self._slot.driver.add, name, by, self._options.limit)

    async def value(self, name: str, caller: Caller | None = None) -> int:
        return await self._slot.call(VALUE, caller, self._slot.driver.value, name)

    def watch(self, name: str) -> AsyncIterator[int]:
        found: AsyncIterator[int] = self._slot.driver.watch(name)
        return found
