"""What a pattern declares about itself: the slots that drivers fill, and the interfaces they need there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotDeclaration:
    """A driver in the slot must have all `required` interfaces; it may have the `optional` ones, whose methods answer
    UNIMPLEMENTED otherwise. A slot that is `optional_slot` may stay empty."""

    name: str
    doc: str
    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    optional_slot: bool = False


@dataclass(frozen=True, slots=True)
class PatternDeclaration:
    """Made once, in the pattern's folder. `interfaces` are those it offers to callers."""

    name: str
    version: str
    doc: str
    slots: tuple[SlotDeclaration, ...]
    interfaces: frozenset[str]

    def slot(self, name: str) -> SlotDeclaration | None:
        return next((slot for slot in self.slots if slot.name == name), None)
