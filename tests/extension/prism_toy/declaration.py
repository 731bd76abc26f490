"""What the package declares. Imports no code that serves calls."""

from __future__ import annotations

from dataclasses import dataclass

from prism_proxy.contracts.pattern import ModelDeclaration, PatternDeclaration, SlotDeclaration
from prism_proxy.contracts.steps import Place, StepDeclaration
from prism_runtime.settings import check, setting

BASIC = "counter_basic"


@dataclass(frozen=True, slots=True)
class CounterOptions:
    """Options of counters."""

    limit: int = setting("No counter grows above it.", 1000, minimum=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """Options of the ledger pattern."""

    title: str = setting("What the names of counters begin with in the book.", "count:")


@dataclass(frozen=True, slots=True)
class StampOptions:
    """Stamps what is stored."""

    enabled: bool = setting("Stamp values.", False)
    text: str = setting("The stamp.", "toy")


COUNTER = ModelDeclaration(
    "counter", "Counters by name.", "prism_toy.model:CounterModel", CounterOptions,
    {BASIC: "prism_toy.servicer:CounterBasicServicer"}, stubs=("toy.interfaces.counter.counter_basic_pb2",),
    native=True)  # drivers may have native handlers of its interfaces

LEDGER = PatternDeclaration(
    "ledger", "1.0", "Counters whose values are also written into a book.", (
        SlotDeclaration("counts", "Where counters are kept.", frozenset({BASIC})),
        SlotDeclaration("book", "Where values are written by name.",
                        alternatives=(frozenset({"keyvalue_basic"}), frozenset({"document_basic"}))),
        SlotDeclaration("copy", "Where they are written a second time.", frozenset({"keyvalue_basic"}),
                        optional_slot=True),
    ), frozenset({BASIC}), "prism_toy.pattern:Ledger", LedgerOptions)

STAMP = StepDeclaration("stamp", "Stamps what is stored.", "prism_toy.step:StampStep", StampOptions,
                        Place.COMPRESS - 50)
