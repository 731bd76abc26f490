"""What namespaces of a process share: keys and credentials that they name. Made when the first one asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from prism_proxy.schema.options import SchemasOptions
from prism_proxy.secrets.options import SecretsOptions
from prism_runtime import log

if TYPE_CHECKING:  # most proxies encrypt nothing, and do not load a crypto library
    from prism_proxy.secrets.contract import SecretProvider
    from prism_proxy.secrets.credentials import CredentialStore
    from prism_proxy.secrets.key_store import KeyStore


LastingT = TypeVar("LastingT")


class StepResources:
    """`secrets` and `schemas` are settings of the process, which no namespace can change. `on_new_credentials` is
    called when credentials of a backend are replaced."""

    def __init__(self, secrets: SecretsOptions | None = None, environment: Mapping[str, str] | None = None,
                 schemas: SchemasOptions | None = None) -> None:
        self.secrets = secrets or SecretsOptions()
        self.schemas = schemas or SchemasOptions()
        self._environment = os.environ if environment is None else environment
        self._lasting: dict[tuple[str, str], Any] = {}
        self.on_new_credentials: Callable[[], None] = lambda: None

    def lasting(self, step: str, name: str, make: Callable[[], LastingT]) -> LastingT:
        """What a step keeps under a name for as long as the process lives, whatever configurations come and go."""
        found: LastingT
        if (step, name) in self._lasting:
            found = self._lasting[step, name]
        else:
            found = self._lasting[step, name] = make()
        return found

    @cached_property
    def providers(self) -> dict[str, SecretProvider]:
        """By the names that references have."""
        from prism_proxy.secrets.providers.registry import make_providers

        return make_providers(self.secrets, self._environment)

    @cached_property
    def credentials(self) -> CredentialStore:
        """Credentials of backends."""
        from prism_proxy.secrets.credentials import CredentialStore

        return CredentialStore(self.providers, ttl=self.secrets.cache_ttl, grace=self.secrets.grace_period,
                               on_change=lambda: self.on_new_credentials())

    @property
    def has_credentials(self) -> bool:
        """Whether a namespace asked for credentials yet."""
        return "credentials" in self.__dict__

    @cached_property
    def keys(self) -> KeyStore:
        """The key store. From now on the process leaves no core file and cannot be traced by its own user, unless the
        settings allow it."""
        from prism_proxy._native.runtime.process import forbid_dumps
        from prism_proxy.secrets.key_store import KeyStore

        if not self.secrets.allow_core_dumps:
            forbid_dumps()
        return KeyStore(self.providers, ttl=self.secrets.cache_ttl,
                        grace=self.secrets.grace_period, on_event=_report)

    async def close(self) -> None:
        """Forget all keys and credentials, and close the providers."""
        if self.has_credentials:
            await self.credentials.close()
        if "keys" in self.__dict__:
            await self.keys.close()
        for provider in self.__dict__.get("providers", {}).values():
            await provider.close()


def _report(event: str, reference: str) -> None:
    if event == "fetched":
        log.get("prism.secrets").info("a key was fetched", key=reference)
    elif event == "failed":
        log.get("prism.secrets").warning("a key could not be fetched", key=reference)
