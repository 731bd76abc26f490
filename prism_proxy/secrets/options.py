"""The settings under `proxy.secrets`: which providers there are. Namespaces name a provider and never configure one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

from prism_proxy.secrets.contract import SecretProvider
from prism_runtime.settings import setting

TYPES = {  # type of provider -> module and settings class; one that nobody configures is not imported
    "aws": "aws.options:AwsOptions",
    "env": "env:EnvOptions",
    "file": "file:FileOptions",
    "kubernetes": "kubernetes:KubernetesOptions",
    "vault": "vault.options:VaultOptions",
}


@dataclass(frozen=True, slots=True)
class GrantOptions:
    """What namespaces that an admin assigns may use of a provider."""

    namespaces: str = setting("Names of namespaces, with * as a wildcard.")
    paths: str = setting("Paths of secrets, with * as a wildcard.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderOptions(ABC):
    """One secret provider: what every type has. Each type has a class of its own, with `type` as a setting."""

    type: str
    allow: tuple[GrantOptions, ...] = setting(
        "What namespaces assigned by an admin may use; those of the proxy's own file may use everything.", ())

    @classmethod
    def variants(cls) -> dict[str, Any]:
        """The settings classes by their type. Imports them: called where providers are configured."""
        found = {}
        for name, place in TYPES.items():
            module, _, attribute = place.partition(":")
            found[name] = getattr(import_module(f"prism_proxy.secrets.providers.{module}"), attribute)
        return found

    @abstractmethod
    def make(self, environment: Mapping[str, str]) -> SecretProvider:
        """The provider; nothing is opened yet."""


@dataclass(frozen=True, slots=True)
class SecretsOptions:
    """Where keys come from."""

    providers: Mapping[str, ProviderOptions] = setting("Secret providers by name, each with its `type`.", factory=dict)
    cache_ttl: float = setting("How long a key is used before it is fetched again.", 86400.0, minimum=1, unit="s")
    allow_core_dumps: bool = setting("Let core files be written of a process that holds keys.", False)
    grace_period: float = setting(
        "How much longer a key is used when its provider does not answer.", 0.0, minimum=0, unit="s")


@dataclass(frozen=True, slots=True)
class AuthOptions:
    """Where a slot's backend credentials come from."""

    provider: str = setting("A secret provider of the proxy.")
    path: str = setting("The path of the credentials there.")

    def allowed(self, namespace: str, provider: ProviderOptions) -> bool:
        """Whether a namespace that an admin assigns may use them."""
        return any(fnmatchcase(namespace, grant.namespaces) and fnmatchcase(self.path, grant.paths)
                   for grant in provider.allow)
