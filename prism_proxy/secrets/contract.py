"""What a secret provider is, and how it fails: missing, denied and unreachable are different things."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class SecretError(Exception):
    """A secret could not be had. The text names the problem, never the secret."""


class SecretMissingError(SecretError):
    """The provider answered: there is no such secret, or it is no key."""


class SecretDeniedError(SecretError):
    """The provider answered: this process may not read it."""


class SecretUnavailableError(SecretError):
    """The provider did not answer."""


class SecretProvider(Protocol):
    """Fetches the bytes of secrets. Nothing is kept: the cache is `KeyStore`'s."""

    @property
    def type(self) -> str: ...

    async def fetch(self, path: str) -> bytes:
        """The secret at a path, at most a few seconds after the call. SecretMissingError, SecretDeniedError,
        SecretUnavailableError."""
        ...

    async def close(self) -> None: ...


class Lease(NamedTuple):
    """Credentials that the provider made for whoever asked, good for so many seconds; 0 = until they are changed."""

    data: bytes
    id: str = ""
    seconds: float = 0.0


@runtime_checkable
class LeasingProvider(Protocol):
    """A provider that makes credentials: each call of `lease` gives new ones."""

    async def lease(self, path: str) -> Lease:
        """Errors as `SecretProvider.fetch`."""
        ...

    async def renew(self, lease_id: str) -> float:
        """How many seconds it goes on from now. SecretError."""
        ...
