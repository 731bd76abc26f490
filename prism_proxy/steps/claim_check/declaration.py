"""What the claim check step declares. Imports no code that stores anything."""

from __future__ import annotations

from prism_proxy.contracts.pattern import SlotDeclaration
from prism_proxy.contracts.steps import Place, StepDeclaration
from prism_proxy.steps.claim_check.options import ClaimCheckOptions, disagree, unfit

OBJECT_STORE = "object_store"

DECLARATION = StepDeclaration(
    "claim_check", "Puts large payloads into an object store.", "prism_proxy.steps.claim_check.step:ClaimCheckStep",
    ClaimCheckOptions, Place.CLAIM_CHECK,
    slots=(SlotDeclaration(OBJECT_STORE, "Where large payloads are.", frozenset({"storage_object"})),), check=unfit,
    agree=disagree,
    interfaces=frozenset({"payload"}))
