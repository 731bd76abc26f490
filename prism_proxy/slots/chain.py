"""The steps of one namespace, composed once when its route is made."""

from __future__ import annotations

from collections.abc import Sequence

from prism_proxy.contracts.steps import Step, ValueStep


class Chain:
    """`steps` stand in the order in which something written passes them."""

    def __init__(self, steps: Sequence[Step] = ()) -> None:
        self.steps = tuple(steps)
        self.values: tuple[ValueStep, ...] = tuple(step.values for step in steps if step.values is not None)

    async def open(self) -> None:
        """PrismError when a step cannot work as configured."""
        for step in self.steps:
            await step.open()

    def seal(self, key: bytes, value: bytes) -> bytes:
        for step in self.values:
            value = step.seal(key, value)
        return value

    def unseal(self, key: bytes, stored: bytes) -> bytes:
        for step in reversed(self.values):
            stored = step.open(key, stored)
        return stored


EMPTY = Chain()
