"""Collects objects that nothing refers to, and only those of which that is proven.

    pending, older than grace_period + upload_timeout    its message was never acknowledged
    older than what its tags say                         it was settled, or expired
    older than max_age + grace_period                    its claim is not honoured any more, whatever its tags say
    an unfinished upload, older than the first           nobody goes on with it

Nothing is deleted that is younger than grace_period. Brokers are not asked: what they hold may refer to an object for
no longer than max_age. Several proxies may sweep one bucket at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from prism_proxy.claim_check import keys
from prism_proxy.errors import PrismError
from prism_proxy.object_stores.contract import PENDING_TAG, ObjectInfo
from prism_proxy.object_stores.transfer import expiry
from prism_proxy.steps.claim_check.figures import Figures
from prism_proxy.steps.claim_check.objects import ClaimStore
from prism_proxy.steps.claim_check.options import ClaimCheckOptions
from prism_runtime import log

BATCH = 500
MOST_KNOWN = 200_000  # objects whose end is remembered between two sweeps
LISTED = 1000  # keys that a report names


@dataclass(slots=True)
class Report:
    """What a sweep found; `keys` are those that it deleted, or would have, as many as a report names."""

    examined: int = 0
    orphans: int = 0
    expired: int = 0
    uploads: int = 0
    failed: int = 0
    keys: list[str] = field(default_factory=list)

    def name(self, key: str) -> None:
        if len(self.keys) < LISTED:
            self.keys.append(key)


class Sweeper:
    """Of one namespace."""

    def __init__(self, namespace: str, store: ClaimStore, options: ClaimCheckOptions, figures: Figures,
                 now: Callable[[], float] = time.time) -> None:
        self._namespace = namespace
        self._store = store
        self._options = options
        self._figures = figures
        self._now = now
        self._known: dict[str, float] = {}  # when acknowledged objects end, by key
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._options.sweep_interval and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._options.sweep_interval * random.uniform(0.5, 1.5))
            try:
                report = await self.sweep()
            except PrismError as error:
                log.get("prism.claim_check").warning("a sweep ended early", namespace=self._namespace,
                                                     error=error.message)
                continue
            if report.keys or report.failed:
                log.get("prism.claim_check").info(
                    "a sweep collected objects", namespace=self._namespace, orphans=report.orphans,
                    expired=report.expired, uploads=report.uploads, failed=report.failed)

    async def sweep(self, *, dry_run: bool = False) -> Report:
        """One look at all objects of the namespace. PrismError when the store cannot be listed."""
        report = Report()
        ttl = self._options.ttl
        for prefix, longest in ((keys.prefix(self._namespace), ttl.max_age),
                                (keys.dead_prefix(self._namespace), ttl.dead_letters)):
            batch: list[str] = []
            async for found in self._objects(prefix):
                report.examined += 1
                if await self._is_garbage(found, longest, report):
                    report.name(found.key)
                    batch.append(found.key)
                if len(batch) >= BATCH:
                    await self._delete(batch, report, dry_run=dry_run)
                    batch = []
            await self._delete(batch, report, dry_run=dry_run)
        await self._abort_uploads(report, dry_run=dry_run)
        return report

    async def _objects(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        token: str | None = None
        while True:
            page = await self._store.page(prefix, token)
            for found in page.objects:
                yield found
            token = page.token
            if token is None:
                return

    async def _is_garbage(self, found: ObjectInfo, longest: float, report: Report) -> bool:
        now, ttl = self._now(), self._options.ttl
        age = now - found.last_modified
        if age <= ttl.grace_period:
            return False
        if age > longest + ttl.grace_period:
            report.expired += 1
            return True
        ends = self._known.get(found.key)
        if ends is None:
            try:
                tags = await self._store.tags(found.key)
            except PrismError as error:
                report.failed += error.reason != "OBJECT_NOT_FOUND"
                return False
            if PENDING_TAG in tags:
                orphan = age > ttl.grace_period + self._options.upload_timeout
                report.orphans += orphan
                return orphan
            ends = expiry(tags) or found.last_modified + longest
            if len(self._known) < MOST_KNOWN:
                self._known[found.key] = ends
        if ends > now:
            return False
        self._known.pop(found.key, None)
        report.expired += 1
        return True

    async def _delete(self, batch: list[str], report: Report, *, dry_run: bool) -> None:
        if not batch or dry_run:
            return
        try:
            failed = await self._store.delete(batch)
        except PrismError:
            failed = dict.fromkeys(batch, "")
        report.failed += len(failed)
        self._figures.delete_failures += len(failed)
        self._figures.orphans += len(batch) - len(failed)

    async def _abort_uploads(self, report: Report, *, dry_run: bool) -> None:
        oldest = self._now() - self._options.ttl.grace_period - self._options.upload_timeout
        for found in await self._store.uploads(keys.prefix(self._namespace)):
            if found.initiated >= oldest:
                continue
            report.uploads += 1
            report.name(found.key)
            if not dry_run:
                try:
                    await self._store.abort_upload(found)
                    self._figures.aborted += 1
                except PrismError:
                    report.failed += 1
