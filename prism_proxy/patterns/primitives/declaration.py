"""What the primitives pattern declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import PatternDeclaration, SlotDeclaration

STORE = "store"
OBJECT_STORE = "object_store"
DECLARATION = PatternDeclaration(
    "primitives", "1.0", "Every interface that the driver of one store declares.",
    (SlotDeclaration(STORE, "Where the data are kept."),
     SlotDeclaration(OBJECT_STORE, "Where objects and large payloads are kept, beside the store.",
                     frozenset({"storage_object"}), optional_slot=True)),
    None, "prism_proxy.patterns.primitives.pattern:Primitives")
