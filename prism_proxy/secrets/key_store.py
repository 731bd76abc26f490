"""The keys that namespaces use, in memory: fetched once, refreshed in the background, kept through short outages.

    absent --fetch--> fresh --0.8 ttl, fetch ok--> fresh
                       |--ttl, no fetch--> due --fetch ok--> fresh
                                      |--provider away--> stale (grace) --grace over--> refused
                                      |--missing, denied--> refused

`ring` fetches and is awaited when a namespace is activated; `current` is what every message asks, and never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prism_proxy.crypto.keyring import KeyRing
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.secrets import key_document
from prism_proxy.secrets.contract import (
    SecretDeniedError,
    SecretError,
    SecretMissingError,
    SecretProvider,
    SecretUnavailableError,
)
from prism_proxy.secrets.reference import KeyReference
from prism_runtime.tasks import cancel

FETCH_SECONDS = 10.0
RETRY_SECONDS = 5.0  # between fetches of a reference that are due, or that failed
AHEAD = 0.8  # of its time to live is what passes before a key is fetched again, so that none is due while it is used
RENEWAL_SECONDS = 1.0  # between fetches because a message names a version that is not known


@dataclass(slots=True)
class _Entry:
    """Times are monotonic seconds; `answered` is when the last fetch that has ended began."""

    reference: KeyReference
    key_type: str
    ring: KeyRing | None = None
    error: PrismError | None = None
    fetched: float = 0.0
    tried: float = float("-inf")
    answered: float = float("-inf")
    task: asyncio.Task[None] | None = None
    renewal: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None


class KeyStore:
    """`providers` by their configured names. A key is fetched again before it is `ttl` seconds old; when its provider
    does not answer, it serves for `grace` seconds more. `on_event(event, reference)` hears fetched, failed, stale."""

    def __init__(self, providers: Mapping[str, SecretProvider], *, ttl: float, grace: float,
                 on_event: Callable[[str, str], None] = lambda event, reference: None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._providers = providers
        self._ttl, self._grace = ttl, grace
        self._on_event = on_event
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self.stale_uses = 0

    async def ring(self, text: str, key_type: str) -> KeyRing:
        """The key versions of a reference, fetched unless they are fresh. PrismError: KEY_NOT_FOUND, KEY_DENIED
        (FAILED_PRECONDITION), KEY_PROVIDER_UNAVAILABLE (UNAVAILABLE)."""
        entry = self._entry(text, key_type)
        if entry.ring is None or self._age(entry) >= self._ttl:
            await asyncio.shield(self._fetch_again(entry))  # all who ask meanwhile share one fetch
        return self.current(text, key_type)

    def current(self, text: str, key_type: str) -> KeyRing:
        """The key versions as known. Starts a refresh when one is due. PrismError as `ring`."""
        entry = self._entries.get(text)
        if entry is None:
            entry = self._entry(text, key_type)
        age = self._age(entry)
        if entry.ring is None or age >= self._ttl:
            self._refresh_soon(entry)
            if entry.ring is None or age >= self._ttl + self._grace:
                raise entry.error or self._unavailable(entry, "its key was not fetched yet")
            self.stale_uses += 1
            self._on_event("stale", entry.reference.base)
        return entry.ring

    def good_for(self, text: str) -> float:
        """For how many seconds a key may be used when nothing is fetched."""
        entry = self._entries.get(text)
        return self._ttl + self._grace - self._age(entry) if entry is not None and entry.ring is not None else 0.0

    async def renew(self, text: str, key_type: str) -> None:
        """Fetch a key because something names a version of it that is not known: a fetch that begins now, or as soon as
        the rate allows, answers all who ask. PrismError when there is no answer, so that the version may exist."""
        entry, asked = self._entry(text, key_type), self._clock()
        while entry.answered < asked:
            if entry.renewal is None or entry.renewal.done():
                entry.renewal = asyncio.get_running_loop().create_task(self._renew(entry))
            await asyncio.shield(entry.renewal)
        if entry.error is not None:
            raise entry.error

    async def _renew(self, entry: _Entry) -> None:
        await asyncio.sleep(max(0.0, entry.tried + RENEWAL_SECONDS - self._clock()))
        await self._fetch(entry)

    async def close(self) -> None:
        """Forget all keys and close the providers."""
        for entry in self._entries.values():
            if entry.timer is not None:
                entry.timer.cancel()
        await cancel([task for entry in self._entries.values() for task in (entry.task, entry.renewal)])
        self._entries.clear()
        await asyncio.gather(*(provider.close() for provider in self._providers.values()))

    def _entry(self, text: str, key_type: str) -> _Entry:
        entry = self._entries.get(text)
        if entry is None:
            reference = KeyReference.parse(text)
            if reference.provider not in self._providers:
                known = ", ".join(sorted(self._providers)) or "none"
                raise PrismError(
                    StatusCode.FAILED_PRECONDITION, "KEY_PROVIDER_UNKNOWN",
                    f"key reference {text!r} names provider {reference.provider!r}: configured in "
                    f"proxy.secrets.providers are {known}")
            entry = self._entries[text] = _Entry(reference, key_type)
        return entry

    def _age(self, entry: _Entry) -> float:
        return self._clock() - entry.fetched

    def _refresh_soon(self, entry: _Entry) -> None:
        if self._clock() - entry.tried >= RETRY_SECONDS:
            entry.tried = self._clock()
            self._fetch_again(entry)

    async def _fetch(self, entry: _Entry) -> None:
        """Of two fetches at once the answer of the later one counts, whichever comes first."""
        began = entry.tried = self._clock()
        provider = self._providers[entry.reference.provider]
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                data = await provider.fetch(entry.reference.path)
            ring = key_document.decode(data, entry.reference.base, entry.key_type)
            if began < entry.answered:
                return
            if entry.ring is None or not _same(entry.ring, ring):
                entry.ring = ring  # senders begin a new epoch when the object changes
            entry.error, entry.fetched = None, self._clock()
            self._on_event("fetched", entry.reference.base)
        except (SecretMissingError, ValueError) as error:
            self._refuse(entry, self._failed(entry, "KEY_NOT_FOUND", str(error)))
        except SecretDeniedError as error:
            self._refuse(entry, self._failed(entry, "KEY_DENIED", str(error)))
        except (SecretUnavailableError, TimeoutError) as error:
            entry.error = self._unavailable(
                entry, str(error) if isinstance(error, SecretError) else f"no answer within {FETCH_SECONDS:g} s")
            self._on_event("failed", entry.reference.base)
        entry.answered = began
        self._plan(entry)

    def _plan(self, entry: _Entry) -> None:
        """Fetch it again before it is due, or soon where that failed."""
        if entry.timer is not None:
            entry.timer.cancel()
        wait = self._ttl * AHEAD if entry.error is None else min(RETRY_SECONDS, self._ttl * (1 - AHEAD))
        entry.timer = asyncio.get_running_loop().call_later(wait, self._fetch_again, entry)

    def _fetch_again(self, entry: _Entry) -> asyncio.Task[None]:
        if entry.task is None or entry.task.done():
            entry.task = asyncio.get_running_loop().create_task(self._fetch(entry))
        return entry.task

    def _refuse(self, entry: _Entry, error: PrismError) -> None:
        """The provider says no: what is cached serves no longer than its time to live."""
        entry.error = error
        if self._age(entry) >= self._ttl:
            entry.ring = None
        self._on_event("failed", entry.reference.base)

    def _failed(self, entry: _Entry, reason: str, problem: str) -> PrismError:
        return PrismError(StatusCode.FAILED_PRECONDITION, reason,
                          f"key {entry.reference.base} of provider {entry.reference.provider}: {problem}",
                          {"key": entry.reference.base})

    def _unavailable(self, entry: _Entry, problem: str) -> PrismError:
        return PrismError(StatusCode.UNAVAILABLE, "KEY_PROVIDER_UNAVAILABLE",
                          f"key {entry.reference.base}: provider {entry.reference.provider} is unavailable: {problem}",
                          {"key": entry.reference.base, "outcome": "not_executed"}, retry_after=RETRY_SECONDS)


def _same(one: KeyRing, other: KeyRing) -> bool:
    return one.versions == other.versions
