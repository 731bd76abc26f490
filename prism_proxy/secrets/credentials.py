"""Credentials of backends by reference: fetched once, renewed or fetched again in the background.

    none --fetch--> held --static: cache_ttl, dynamic: half of the lease--> fetched again, or renewed
                     |--provider away, until cache_ttl or the lease and grace_period are over--> none

`on_change` hears of a value that replaces another one: whoever uses it connects anew and lets the old connections end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prism_proxy.secrets.contract import Lease, LeasingProvider, SecretError, SecretProvider, SecretUnavailableError
from prism_runtime import log
from prism_runtime.tasks import cancel

FETCH_SECONDS = 10.0
RETRY_SECONDS = 5.0
NO_LEASE = Lease(b"")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a backend asks for. Nothing of it is shown."""

    username: str = field(repr=False)
    password: str = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Credentials:
        """Of JSON {"username": …, "password": …}; a text that is no JSON object is a password. ValueError."""
        text = data.decode("utf-8").strip()
        if not text.startswith("{"):
            return cls("", text)
        found = json.loads(text)
        username, password = found.get("username", ""), found.get("password", found.get("api_key", ""))
        if not isinstance(username, str) or not isinstance(password, str) or not password:
            raise ValueError("it has no password")
        return cls(username, password)


@dataclass(slots=True)
class _Held:
    """`until` on the monotonic clock."""

    credentials: Credentials | None = None
    lease: Lease = NO_LEASE
    until: float = 0.0
    error: SecretError | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)  # the first fetch has ended
    task: asyncio.Task[None] | None = None


class CredentialStore:
    """`providers` by their configured names; `ttl` and `grace` in seconds, as the settings say."""

    def __init__(self, providers: Mapping[str, SecretProvider], *, ttl: float, grace: float,
                 on_change: Callable[[], None], clock: Callable[[], float] = time.monotonic,
                 sleep: Callable[[float], object] = asyncio.sleep) -> None:
        self._providers = providers
        self._ttl, self._grace = ttl, grace
        self._on_change = on_change
        self._clock = clock
        self._sleep = sleep
        self._held: dict[tuple[str, str], _Held] = {}
        self.fetches = self.renewals = self.failures = 0

    async def get(self, provider: str, path: str) -> Credentials | None:
        """The credentials; None while their provider does not answer: `on_change` tells when it does.
        SecretMissingError, SecretDeniedError."""
        held = self._held.get((provider, path))
        if held is None:
            held = self._held[provider, path] = _Held()
            held.task = asyncio.get_running_loop().create_task(self._keep(provider, path, held))
        await held.asked.wait()  # all who ask meanwhile share one fetch, and one who gives up does not end it
        if held.credentials is None and held.error is not None and not isinstance(held.error, SecretUnavailableError):
            error = held.error
            await self.forget([(provider, path)])
            raise error
        return held.credentials

    def held(self) -> set[tuple[str, str]]:
        """Provider and path of all that are renewed."""
        return set(self._held)

    async def keep_only(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Forget all others."""
        await self.forget(self._held.keys() - set(wanted))

    async def forget(self, which: Iterable[tuple[str, str]]) -> None:
        gone = [self._held.pop(each) for each in list(which) if each in self._held]
        await cancel([held.task for held in gone if held.task is not asyncio.current_task()])

    async def close(self) -> None:
        await self.forget(list(self._held))

    async def _keep(self, provider: str, path: str, held: _Held) -> None:
        try:
            await self._fetch(provider, path, held)
        finally:
            held.asked.set()
        while True:
            await self._sleep(self._wait(held))  # type: ignore[misc]
            before = held.credentials
            if not await self._renewed(provider, held):
                await self._fetch(provider, path, held)
            if held.credentials != before:
                self._on_change()

    def _wait(self, held: _Held) -> float:
        if held.error is not None:
            return RETRY_SECONDS
        return held.lease.seconds / 2 if held.lease.seconds else self._ttl

    async def _renewed(self, provider: str, held: _Held) -> bool:
        """Whether the lease goes on with the same credentials."""
        source = self._providers[provider]
        if held.error is not None or not held.lease.id or not isinstance(source, LeasingProvider):
            return False
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                seconds = await source.renew(held.lease.id)
        except (SecretError, TimeoutError) as error:
            log.get("prism.secrets").warning("a lease was not renewed: new credentials are fetched", provider=provider,
                                             lease=held.lease.id, reason=str(error))
            return False
        self.renewals += 1
        held.lease = Lease(b"", held.lease.id, seconds)
        held.until = self._clock() + seconds
        return seconds > 0

    async def _fetch(self, provider: str, path: str, held: _Held) -> None:
        source = self._providers[provider]
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                lease = (await source.lease(path) if isinstance(source, LeasingProvider)
                         else Lease(await source.fetch(path)))
            held.credentials = Credentials.parse(lease.data)
        except (SecretError, TimeoutError, ValueError) as error:
            self._failed(provider, path, held, error)
            return
        self.fetches += 1
        held.error = None
        held.lease = Lease(b"", lease.id, lease.seconds)
        held.until = self._clock() + (lease.seconds or self._ttl)

    def _failed(self, provider: str, path: str, held: _Held, error: Exception) -> None:
        self.failures += 1
        if isinstance(error, SecretError):
            held.error = error
        elif isinstance(error, TimeoutError):
            held.error = SecretUnavailableError(f"no answer within {FETCH_SECONDS:g} s")
        else:
            held.error = SecretUnavailableError("it is no JSON object with username and password")
        over = held.credentials is not None and self._clock() >= held.until + self._grace
        if over:
            held.credentials = None
        log.get("prism.secrets").warning(
            "credentials could not be fetched" if not over else "credentials are over and could not be replaced",
            provider=provider, path=path, reason=str(held.error))
