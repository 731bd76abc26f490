"""The copy of one namespace at a target, as its source makes and proves it: contents, what changed, and the comparison.

    contents --> compared, part by part, while calls go on --> calls wait: what changed here, and what changed there

Every record is compared after its last change: within its part, or when it was put again. A part that differs is looked
at key by key: those that differ must be among what `changes` has still to tell, and so be put again. What is left for
the time in which calls wait depends therefore on how much is written, and not on how much there is.
"""

from __future__ import annotations

import asyncio

from prism_proxy._native.keyvalue.record_digest import sum_of
from prism_proxy.contracts.movable import Digest, Outgoing, Span
from prism_proxy.membership.migration.target_client import MoveError, TargetClient

NEAR_SECONDS = 10.0  # what expires sooner is left out of the proof
MAX_ROUNDS = 10_000  # of changes before calls wait: who writes faster than that is not caught up with
FEW_RECORDS = 500  # that may be left to copy while calls wait
TEND_SECONDS = 0.1  # between two looks at what changed, or as long as one takes
MAX_DOUBTFUL = 100_000  # keys that differed and have not been put again


class Copy:
    """In this order: `contents`, `compare`, `catch_up` as often as wanted, `prove`. They raise MoveError, also once the
    move is `over`, and errors of the driver."""

    def __init__(self, name: str, outgoing: Outgoing, target: TargetClient) -> None:
        self.outgoing = outgoing
        self.over = False
        self._name = name
        self._target = target
        self._doubtful: set[bytes] = set()
        self._tend_at = 0.0

    async def contents(self) -> None:
        """Everything, and what changed meanwhile: less has to be remembered so."""
        after: bytes | None = None
        while True:
            records, after = await self.outgoing.page(after)
            self._check()
            await self._target.put(self._name, records)
            await self._tend()
            if after is None:
                return

    async def compare(self) -> None:
        """All keys, whatever changes meanwhile."""
        after: bytes | None = None
        while True:
            await self._tend()
            horizon = self.outgoing.horizon(NEAR_SECONDS)
            ours, until = await self.outgoing.digest(Span(after), horizon)
            part = Span(after, until)
            theirs = await self._target.digest(self._name, part, horizon)
            if ours != theirs:
                if theirs.records > ours.records + MAX_DOUBTFUL:
                    self._same(ours, theirs)
                await self._doubt(part, horizon)
            if until is None:
                return
            after = until

    async def catch_up(self) -> None:
        """Put what changed, until little is left."""
        for _ in range(MAX_ROUNDS):
            if await self._put_changes() < FEW_RECORDS:
                return

    async def prove(self) -> None:
        """When nobody writes any more: MoveError unless the target has the same."""
        while await self._put_changes():
            pass
        if self._doubtful:
            raise MoveError(f"the copy of namespace {self._name!r} differs in {len(self._doubtful)} keys")
        horizon = self.outgoing.horizon(NEAR_SECONDS)
        while True:
            keys, theirs = await self._target.unexpected_keys(self._name, horizon)
            if not keys:
                return
            self._same(await self.outgoing.digest_of(keys, horizon), theirs)

    async def _doubt(self, part: Span, horizon: int) -> None:
        """Note the keys of a part in which the sides differ."""
        ours = await self.outgoing.hashes(part, horizon)
        theirs = await self._target.hashes(self._name, part, horizon)
        self._doubtful.update(key for key, _ in ours.items() ^ theirs.items())
        if len(self._doubtful) > MAX_DOUBTFUL:
            raise MoveError(f"the copy of namespace {self._name!r} differs in more than {MAX_DOUBTFUL} keys")

    async def _tend(self) -> None:
        """Put what changed, now and then: a source that is busy tells it late, and the copy goes on meanwhile."""
        now = asyncio.get_running_loop().time
        began = now()
        if began >= self._tend_at:
            await self._put_changes()
            self._tend_at = now() + max(TEND_SECONDS, now() - began)

    async def _put_changes(self) -> int:
        """Some of what changed, compared; how many keys."""
        horizon = self.outgoing.horizon(NEAR_SECONDS)
        records = await self.outgoing.changes()
        self._check()
        if records:
            theirs = await self._target.put_proven(self._name, records, horizon)
            self._same(Digest(*sum_of(records, horizon)), theirs)
            self._doubtful.difference_update(key for key, _, _ in records)
        return len(records)

    def _same(self, ours: Digest, theirs: Digest) -> None:
        if ours != theirs:
            raise MoveError(f"the copy of namespace {self._name!r} differs: {theirs.records} records there, "
                            f"{ours.records} here")

    def _check(self) -> None:
        if self.over:
            raise MoveError("the move was abandoned")
