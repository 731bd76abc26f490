"""The values of a namespace whose chain changes them, such as by encryption. Imports no step.

Small values pass on the loop; a large one would hold it for too long and passes in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prism_proxy.errors import PrismError
from prism_proxy.slots.chain import Chain

OFFLOAD_BYTES = 1024 * 1024  # about 0.3 ms of encryption


class ValueChain:
    """`chain` has steps for values."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    @property
    def native(self) -> bool:
        """Whether native handlers can do this."""
        return self._chain.has_native_values

    @property
    def inspects(self) -> bool:
        """Whether a step wants to see stored values when its namespace is activated."""
        return any(hasattr(step, "inspect") for step in self._chain.values)

    def inspect(self, stored: Sequence[bytes]) -> None:
        for step in self._chain.values:
            inspect = getattr(step, "inspect", None)
            if inspect is not None:
                inspect(stored)

    async def seal(self, key: bytes, value: bytes) -> bytes:
        """What is stored. PrismError refuses the write."""
        if len(value) > OFFLOAD_BYTES:
            return await asyncio.to_thread(self._chain.seal, key, value)
        return self._chain.seal(key, value)

    async def unseal(self, key: bytes, stored: bytes) -> bytes:
        """The value. PrismError when it cannot be served."""
        try:
            return await self._unsealed(key, stored)
        except PrismError as error:
            if not await self._chain.renew(error):
                raise
        return await self._unsealed(key, stored)

    async def _unsealed(self, key: bytes, stored: bytes) -> bytes:
        if len(stored) > OFFLOAD_BYTES:
            return await asyncio.to_thread(self._chain.unseal, key, stored)
        return self._chain.unseal(key, stored)

    async def result(self, key: bytes, stored: bytes | PrismError | None) -> bytes | PrismError | None:
        """The item of a batch: a value that cannot be served costs its item only."""
        try:
            return await self.unseal(key, stored) if isinstance(stored, bytes) else stored
        except PrismError as error:
            return error
