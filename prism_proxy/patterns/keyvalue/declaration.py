"""What the keyvalue pattern declares. Imports no code that serves calls."""

from __future__ import annotations

from prism_proxy.contracts.pattern import PatternDeclaration, SlotDeclaration
from prism_proxy.models.keyvalue.contract import ALL, BASIC
from prism_proxy.patterns.primitives.declaration import STORE

REQUIRED = frozenset({BASIC})  # of the driver in the slot; the other interfaces are refused call by call
DECLARATION = PatternDeclaration(
    "keyvalue", "1.0", "Values by key: the operations of one store, under one set of rules.",
    (SlotDeclaration(STORE, "Where keys and values are kept.", REQUIRED, ALL - REQUIRED),), ALL,
    "prism_proxy.patterns.keyvalue.pattern:KeyValuePattern")
