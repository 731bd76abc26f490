"""Rewrites the values of a store so that all are encrypted under the version that encrypts now.

    each value --current--> left
               --older version--> opened, sealed, replaced if it is still what was read
               --plaintext--> sealed, where the namespace does not require encryption; else left, for it may be injected

It keeps no state: begun again it reads what is done already, and leaves it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from prism_proxy.errors import PrismError
from prism_proxy.steps.encrypt.values import EncryptedValues, parse

PAGE = 256
ATTEMPTS = 8  # at a value that others write meanwhile


class RewritableStore(Protocol):
    """What a driver offers for this."""

    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> Any: ...

    async def get(self, key: bytes) -> bytes | None: ...

    async def replace(self, key: bytes, expected: bytes, value: bytes) -> bool: ...


@dataclass(slots=True)
class Rewritten:
    """How many values there were of each kind. `failed` counts by reason what did not open or could not be sealed."""

    seen: int = 0
    current: int = 0
    rewritten: int = 0
    encrypted: int = 0
    plaintext: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        """Values that are not as they should be."""
        return self.plaintext + self.failed.total()


class Rewriter:
    """`dry_run` counts and changes nothing: what it would rewrite counts as rewritten."""

    def __init__(self, store: RewritableStore, values: EncryptedValues, *, dry_run: bool = False) -> None:
        self._store = store
        self._values = values
        self._dry_run = dry_run
        self.result = Rewritten()

    async def run(self, on_page: Callable[[Rewritten], None] = lambda result: None) -> Rewritten:
        """Every value once. PrismError when the store fails."""
        cursor: bytes | None = None
        while True:
            page = await self._store.scan(b"", cursor, PAGE, values=True)
            await asyncio.gather(*(self._one(key, stored) for key, stored in page.items if stored is not None))
            on_page(self.result)
            cursor = page.cursor
            if cursor is None:
                return self.result

    async def _one(self, key: bytes, stored: bytes) -> None:
        self.result.seen += 1
        for _ in range(ATTEMPTS):
            if self._values.is_current(stored):
                self.result.current += 1
                return
            plaintext = parse(stored) is None
            if plaintext and self._values.required:
                self.result.plaintext += 1
                return
            if await self._replaced(key, stored):
                self.result.encrypted += plaintext
                self.result.rewritten += not plaintext
                return
            found = await self._store.get(key)
            if found is None or found == stored:  # deleted; or it failed, and is counted
                return
            stored = found
        self.result.failed["CHANGES_TOO_OFTEN"] += 1

    async def _replaced(self, key: bytes, stored: bytes) -> bool:
        try:
            sealed = self._values.seal(key, self._values.open(key, stored))
        except PrismError as error:
            self.result.failed[error.reason] += 1
            return False
        return self._dry_run or await self._store.replace(key, stored, sealed)
