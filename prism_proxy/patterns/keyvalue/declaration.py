"""What the keyvalue pattern is: its slot, its interfaces, its options. Imports no code that serves calls."""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.contracts.keyvalue import ALL, BASIC
from prism_proxy.contracts.pattern import PatternDeclaration, SlotDeclaration
from prism_proxy.settings import check, setting

REQUIRED = frozenset({BASIC})  # of the driver in the slot; the other interfaces are refused call by call
DECLARATION = PatternDeclaration(
    "keyvalue", "1.0", "Values by key: the operations of one store, under one set of rules.",
    (SlotDeclaration("store", "Where keys and values are kept.", REQUIRED, ALL - REQUIRED),), ALL)


@dataclass(frozen=True, slots=True)
class KeyValueOptions:
    """Options of the keyvalue pattern."""

    narrow_keys: bool = setting("Allow only letters, digits, ':', '_' and '-' in keys.", False)

    def __post_init__(self) -> None:
        check(self)
