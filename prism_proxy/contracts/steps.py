"""What stands between a data model and its slot: the steps of a namespace's chain.

The order is that of `standard.STEPS` when something is written, and the reverse when it is read. An empty chain is the
slot itself: a model without steps calls its driver and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class StepDeclaration:
    """Made once, in the step's folder. `name` is the group of options that switches it on, `options` its settings class
    with a field `enabled`, `factory` MODULE:CLASS of a `StepFactory`."""

    name: str
    doc: str
    factory: str
    options: type[Any]


class ValueStep(Protocol):
    """A step that changes what a KeyValue store holds."""

    def seal(self, key: bytes, value: bytes) -> bytes:
        """What is stored for a value. PrismError refuses the write."""
        ...

    def open(self, key: bytes, stored: bytes) -> bytes:
        """The value of what is stored. PrismError: the value cannot be served."""
        ...


class Step(Protocol):
    """One per namespace and configuration."""

    @property
    def values(self) -> ValueStep | None:
        """None when it leaves values as they are."""
        ...

    async def open(self) -> None:
        """Fetch what it needs. PrismError: the namespace cannot be activated."""
        ...
