"""How often the keys of a namespace are used, and the audit of it.

Uses are counted per key and told once a minute. What is rare or wrong is told singly: the first use of a key, a payload
that does not open, plaintext where there must be none, a bound that comes near. What is wrong is told at most
`MOST_SINGLY` times a minute, and counted beyond that. No line holds a payload or key material.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from prism_proxy.envelope.parts import Encryption
from prism_proxy.errors import PrismError
from prism_proxy.telemetry.metrics import Metric, Sample
from prism_runtime import log

AUDIT = "prism.audit"
MINUTE = 60.0
MOST_SINGLY = 100
SEAL, OPEN = "seal", "open"


class Usage:
    """One per namespace, for as long as the process lives. Counts come from the loop and from threads."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._uses: Counter[tuple[str, str]] = Counter()
        self._told: Counter[tuple[str, str]] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._near: set[str] = set()
        self._singly = 0
        self._unspoken = 0
        self._sources: list[Callable[[], list[tuple[int, int, str]]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = False

    def begin(self) -> None:
        """Called on the loop that tells the counts."""
        self._loop = asyncio.get_running_loop()

    def count_also(self, source: Callable[[], list[tuple[int, int, str]]]) -> None:
        """`source` gives what native code did since it was asked last: (sealed, opened, key id)."""
        self._sources.append(source)

    def count_no_more(self, source: Callable[[], list[tuple[int, int, str]]]) -> None:
        self._collect()
        self._sources = [each for each in self._sources if each != source]

    def sealed(self, key_id: str) -> None:
        self._count((SEAL, key_id))

    def opened(self, key_id: str) -> None:
        self._count((OPEN, key_id))

    def refused(self, error: PrismError) -> None:
        """Something was not sealed."""
        self._failures[SEAL, error.reason] += 1
        self._wrong("encryption was refused", reason=error.reason, key=error.metadata.get("key_id", ""))

    def failed(self, found: Encryption, error: PrismError, message_id: str) -> None:
        """Something did not open."""
        self._failures[OPEN, error.reason] += 1
        self._wrong("a payload does not open", reason=error.reason, key=found.key_id[:256],
                    algorithm=found.algorithm[:64], message_id=message_id)

    def plaintext(self, message_id: str, *, refused: bool) -> None:
        """Plaintext was found where something encrypted is expected."""
        reason = "ENC_PLAINTEXT_REFUSED" if refused else "ENC_PLAINTEXT_SERVED"
        self._failures[OPEN, reason] += 1
        if refused:
            self._wrong("plaintext was refused", reason=reason, message_id=message_id)

    def near_bound(self, key_id: str) -> None:
        """Told once a process, whatever configurations come and go."""
        if key_id in self._near:
            return
        self._near.add(key_id)
        self._single("a key nears the number of messages that it may encrypt: rotate it", key=key_id)

    def rotation_due(self, key_id: str, age_s: float) -> None:
        self._single("a new version of a key is due: rotate it", key=key_id, age_days=round(age_s / 86_400, 1))

    @property
    def plaintext_found(self) -> int:
        return self._failures[OPEN, "ENC_PLAINTEXT_REFUSED"] + self._failures[OPEN, "ENC_PLAINTEXT_SERVED"]

    def metrics(self) -> Iterable[Metric]:
        self._collect()
        label = ("namespace", self._namespace)
        yield Metric("prism_encryption_key_uses_total", "counter", "Payloads sealed and opened, by key version.", [
            Sample((label, ("key", key), ("operation", operation)), float(count))
            for (operation, key), count in list(self._uses.items())])
        yield Metric("prism_encryption_failures_total", "counter",
                     "Payloads that were not sealed or did not open, and plaintext found, by reason.", [
                         Sample((label, ("operation", operation), ("reason", reason)), float(count))
                         for (operation, reason), count in list(self._failures.items())])

    def tell(self) -> None:
        """Audit what was counted since the last time."""
        self._due = False
        if self._collect():
            self._tell_soon()  # native code does not tell when it begins
        counts, told = dict(self._uses), self._told
        for (operation, key), count in counts.items():
            if count > told[operation, key]:
                log.get(AUDIT).info("uses of a key", namespace=self._namespace, key=key, operation=operation,
                                    count=count - told[operation, key])
        self._told = Counter(counts)
        if self._unspoken:
            log.get(AUDIT).warning("more was wrong than is told singly", namespace=self._namespace,
                                   count=self._unspoken)
        self._singly = self._unspoken = 0

    def _collect(self) -> bool:
        """Whether native code did something since."""
        found = [use for source in self._sources for use in source()]
        for sealed, opened, key_id in found:
            self._uses[SEAL, key_id] += sealed
            self._uses[OPEN, key_id] += opened
        return bool(found)

    def _count(self, use: tuple[str, str]) -> None:
        self._uses[use] += 1
        if self._uses[use] == 1:
            log.get(AUDIT).info("first use of a key", namespace=self._namespace, key=use[1], operation=use[0])
        if not self._due:
            self._tell_soon()

    def _wrong(self, event: str, **fields: str) -> None:
        if self._singly < MOST_SINGLY:
            self._singly += 1
            self._single(event, **fields)
        else:
            self._unspoken += 1
        if not self._due:
            self._tell_soon()

    def _single(self, event: str, **fields: Any) -> None:
        log.get(AUDIT).warning(event, namespace=self._namespace, **fields)

    def _tell_soon(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            self._due = True
            loop.call_soon_threadsafe(lambda: loop.call_later(MINUTE, self.tell))
