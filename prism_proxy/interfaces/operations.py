"""Methods of the catalogue as the operations of a slot."""

from __future__ import annotations

from prism_proxy.interfaces.catalogue import interface
from prism_proxy.interfaces.interface import IDEMPOTENT, READ
from prism_proxy.slots.operation import Effect, Operation

_EFFECTS = {READ: Effect.READ, IDEMPOTENT: Effect.IDEMPOTENT}


def operation(
    interface_name: str, method: str, *, effect: Effect | None = None, bulk: bool = False, repeated: bool = True
) -> Operation:
    """The operation of a method, with the effect that the contract states unless another one is given: that of the
    method's part at the backend. KeyError for a method that the interface does not have."""
    found = interface(interface_name)
    effects = {item.name: item.effect for item in found.methods} if found is not None else {}
    return Operation(method, effect or _EFFECTS.get(effects[method], Effect.NON_IDEMPOTENT), bulk, repeated)
