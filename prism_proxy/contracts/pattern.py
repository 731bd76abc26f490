"""What patterns, data models and slots declare about themselves. Declarations import no code that serves calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SlotDeclaration:
    """A driver in the slot must have all `required` interfaces, and all of one of the `alternatives` where there are
    any; it may have the `optional` ones, whose methods answer UNIMPLEMENTED otherwise. A slot that is `optional_slot`
    may stay empty."""

    name: str
    doc: str
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    alternatives: tuple[frozenset[str], ...] = ()
    optional_slot: bool = False

    def lacks(self, interfaces: Collection[str]) -> str | None:
        """What a driver with these interfaces lacks, as words that follow "implement"; None when it fits."""
        missing = self.required.difference(interfaces)
        if missing:
            return _listed(missing)
        if self.alternatives and not any(choice.issubset(interfaces) for choice in self.alternatives):
            return "any of " + "; ".join(_listed(choice, " with ") for choice in self.alternatives)
        return None


@dataclass(frozen=True, slots=True)
class PatternDeclaration:
    """Made once, in the pattern's folder.

    `interfaces` are those it offers to callers; None: those of its drivers' that it says it offers. `factory` is
    MODULE:CLASS of a `slots.composition.PatternFactory`, `options` the settings class of the group with the pattern's
    name.
    """

    name: str
    version: str
    doc: str
    slots: tuple[SlotDeclaration, ...]
    interfaces: frozenset[str] | None
    factory: str
    options: type[Any] | None = None

    def slot(self, name: str) -> SlotDeclaration | None:
        return next((slot for slot in self.slots if slot.name == name), None)


@dataclass(frozen=True, slots=True)
class ModelDeclaration:
    """Made once, in the model's folder. `factory` is MODULE:CLASS of a `slots.composition.ModelFactory`, `options` the
    settings class of the group with the model's name, `groups` of those that models share; `servicers` has MODULE:CLASS
    by interface. `stubs` are the modules with the messages of a third party's interfaces; ours are known."""

    name: str
    doc: str
    factory: str
    options: type[Any]
    servicers: Mapping[str, str] = field(default_factory=dict)
    native: bool = False  # there are native handlers, which ask its objects whether they may serve
    native_later: bool = False  # as `native`, but not asked before a first call: many namespaces never use the model
    stubs: tuple[str, ...] = ()
    groups: Mapping[str, type[Any]] = field(default_factory=dict)


def _listed(names: Collection[str], separator: str = ", ") -> str:
    return separator.join(sorted(names))
